// SPDX-License-Identifier: Apache-2.0
// Advances all ranks' programs in a fixed order under rendezvous rules: an Exchange completes only when every
// peer it names has posted the matching one. The walk exists once; verifier and tests give it a visitor.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/program/rank_program.hpp"

namespace strata {

enum class LaneOrder : std::uint8_t { concurrent, serialised };

/// An instruction that could not run, when the walk stops early.
struct StuckInstruction {
  std::int32_t rank = 0;
  std::int32_t instruction = 0;
};

/// One pass of a program as the walk sees it: when an instruction may start, and with whom it exchanges. It
/// is a thousandth of the program, so a verifier need not keep all ranks' programs.
struct PassOutline {
  struct Item {
    std::int32_t stream = 0;
    std::int32_t step = -1, lane = -1;  ///< of an exchange; -1 for other instructions
    std::uint32_t waits_end = 0;        ///< in `waits`; the item's begin is the end of the one before
    std::uint32_t peers_end = 0;        ///< in `peers`
  };
  std::int32_t lane_count = 1;
  std::vector<Item> items;          ///< [instruction]
  std::vector<std::int32_t> waits;  ///< earlier instructions
  std::vector<std::int32_t> peers;  ///< every peer once per exchange; -1 stands for those that do not exist
};

/// The instructions of one pass of one of `rank_count` programs.
PassOutline outline_of(const RankProgram& program, Pass pass, std::size_t rank_count);

/// Calls `visit(rank, instruction)` once per instruction, in an order that respects streams, wait_for and
/// rendezvous: rounds over the ranks, each doing all that it can. O(instructions + waits + peers *
/// log(exchanges of a rank)). The programs must be well formed (streams, waits and buffers in range). Returns
/// the instructions at which ranks are stuck; empty when every program finished.
std::vector<StuckInstruction> walk_programs(const std::vector<RankProgram>& programs, Pass pass,
                                            LaneOrder lanes,
                                            const std::function<void(std::int32_t, std::int32_t)>& visit);
/// The same over outlines, [rank].
std::vector<StuckInstruction> walk_outlines(const std::vector<const PassOutline*>& outlines, LaneOrder lanes,
                                            const std::function<void(std::int32_t, std::int32_t)>& visit);

}  // namespace strata
