// SPDX-License-Identifier: Apache-2.0
// The places and waits of a program the long way: every buffer is compared with every earlier one, every
// instruction with every stream. What core/lowering computes must be equal to it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/lowering/arena.hpp"
#include "core/program/rank_program.hpp"

namespace strata::test {

/// What instruction `first` waits for because of the bytes that its buffers get: the latest instruction of
/// each stream, ascending by stream. Instructions on its own stream are listed, too.
struct Handover {
  std::int32_t first = 0;
  std::vector<detail::LastUse> former;
  bool operator==(const Handover&) const = default;
};

/// Sets the offsets of `lives`, which are sorted by `first`, and returns the bytes that they take together.
std::int64_t place_all_pairs(std::vector<detail::Lifetime>& lives);
/// The handovers among placed `lives`, sorted by `first`.
std::vector<Handover> hand_over_all_pairs(const std::vector<detail::Lifetime>& lives);

/// The program with places, arena and waits derived anew from its buffers and operations alone.
RankProgram placed_all_pairs(RankProgram program);

}  // namespace strata::test
