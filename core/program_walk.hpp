// SPDX-License-Identifier: Apache-2.0
// Advances all ranks' programs in a fixed order under rendezvous rules: an Exchange completes only when every
// peer it names has posted the matching one. The walk exists once; verifier and tests give it a visitor.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/rank_program.hpp"

namespace strata {

enum class LaneOrder : std::uint8_t { concurrent, serialised };

/// An instruction that could not run, when the walk stops early.
struct StuckInstruction {
  std::int32_t rank = 0;
  std::int32_t instruction = 0;
};

/// Calls `visit(rank, instruction)` once per instruction, in an order that respects streams, wait_for and
/// rendezvous. The programs must be well formed (streams, waits and buffers in range). Returns the
/// instructions at which ranks are stuck; empty when every program finished.
std::vector<StuckInstruction> walk_programs(const std::vector<RankProgram>& programs, Pass pass,
                                            LaneOrder lanes,
                                            const std::function<void(std::int32_t, std::int32_t)>& visit);

}  // namespace strata
