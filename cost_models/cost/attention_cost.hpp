// SPDX-License-Identifier: Apache-2.0
// The time of an attention launch over a list of blocks:
//   launch_ns + sum over blocks of (items * tile_ns + heads * (full * full_ns + edge * diagonal_ns))
// A block's allowed pairs split into a rectangle without masked pairs (`full`) and the rest (`edge`), and
// each part is charged at the measured time per pair for its lengths. Tables and units: cost_profile.hpp.
#pragma once

#include <cstdint>
#include <vector>

#include "cost_models/cost/instruction_cost.hpp"

namespace strata {

/// Allowed pairs of one head of a block, split into the larger of (all rows x the keys that every row sees)
/// and (the rows that see every key x all keys), and what is left.
struct BlockShape {
  std::int64_t full_pairs = 0, full_queries = 0, full_keys = 0;
  std::int64_t edge_pairs = 0;
  std::int64_t edge_length = 0;  ///< min(r, 2 * edge_pairs / r), r = rows left: n for an n x n triangle
  bool operator==(const BlockShape&) const = default;
};
BlockShape block_shape(const AttentionBlock& block);

/// `merge`: the launch also reads and writes f32 running values, charged like profile.merge. Query-side rows
/// are counted once per block.
InstructionCost attention_cost(const std::vector<AttentionBlock>& blocks, bool merge, Pass pass,
                               ElementType type, const ModelShape& model, const CostProfile& profile);

}  // namespace strata
