// SPDX-License-Identifier: Apache-2.0
// Memory of a rank while a step runs. A wave is all layers forward, then all backward, so at the turning
// point a rank holds
//   peak = arena + (layers - 1) * retained
// where `arena` is what one layer's program needs (RankProgram::arena, both passes) and `retained` is what
// every other layer keeps for its backward: the persistent buffers of roles q, kv, o and lse, received rows
// included when the policy retains them. The step's peak is the largest wave's. Weights, optimiser state and
// the linear layers' activations are not counted.
#pragma once

#include <vector>

#include "core/model_shape.hpp"
#include "core/rank_program.hpp"

namespace strata {

/// Bytes that a layer of this rank keeps from its forward to its backward pass, each buffer aligned as in the
/// arena.
Bytes retained_bytes(const RankProgram& program);
Bytes rank_memory(const RankProgram& program, std::int32_t layers);

struct MemoryPeak {
  Bytes peak;   ///< largest rank_memory of any wave and rank
  Bytes arena;  ///< largest RankProgram::arena
  bool operator==(const MemoryPeak&) const = default;
};
MemoryPeak memory_peak(const std::vector<std::vector<RankProgram>>& waves, std::int32_t layers);

/// The least that `tokens` tokens on one rank can need under any schedule: their own q, kv, o and lse in all
/// layers.
Bytes least_token_memory(const ModelShape& model, std::int64_t tokens);

}  // namespace strata
