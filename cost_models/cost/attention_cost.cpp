// SPDX-License-Identifier: Apache-2.0
#include "cost_models/cost/attention_cost.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/check.hpp"

namespace strata {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

BlockShape block_shape(const AttentionBlock& block) {
  STRATA_CHECK(block.key_stride == 1, "an attention block has key stride {}; only 1 is costed",
               block.key_stride);
  BlockShape shape;
  const std::int64_t queries = block.query_count, keys = block.key_count;
  const std::int64_t pairs = block.pairs();
  // Keys seen by the first and by the last row are seen by all; likewise rows that see the first and the last
  // key.
  const std::int64_t common_keys = std::max<std::int64_t>(
      0, std::min(keys - 1, block.hi) - std::max<std::int64_t>(0, block.lo + queries - 1) + 1);
  const std::int64_t whole_rows = std::max<std::int64_t>(
      0, std::min(queries - 1, -block.lo) - std::max<std::int64_t>(0, keys - 1 - block.hi) + 1);
  std::int64_t edge_rows = queries;
  if (queries * common_keys >= whole_rows * keys) {
    shape.full_queries = queries;
    shape.full_keys = common_keys;
  } else {
    shape.full_queries = whole_rows;
    shape.full_keys = keys;
    edge_rows = queries - whole_rows;
  }
  shape.full_pairs = shape.full_queries * shape.full_keys;
  shape.edge_pairs = pairs - shape.full_pairs;
  if (shape.edge_pairs > 0) {
    shape.edge_length = std::min(edge_rows, divide_up(2 * shape.edge_pairs, edge_rows));
  }
  return shape;
}

InstructionCost attention_cost(const std::vector<AttentionBlock>& blocks, bool merge, Pass pass,
                               ElementType type, const ModelShape& model, const CostProfile& profile) {
  InstructionCost cost{.scales_with_speed = true};
  if (blocks.empty()) return cost;
  const AttentionTableChoice choice =
      find_attention_table(profile, pass, type, model.head_dim, model.value_head_dim);
  const AttentionTable& table = *choice.table;
  double work = 0, outside = 0;
  std::int64_t items = 0, merged_rows = 0;
  for (const AttentionBlock& block : blocks) {
    const BlockShape shape = block_shape(block);
    double time = 0, time_outside = 0;
    const auto charge = [&](std::int64_t pairs, Lookup lookup) {
      const double part = static_cast<double>(pairs * block.heads.count()) * lookup.value * choice.scale;
      time += part;
      if (lookup.extrapolated) time_outside += part;
    };
    if (shape.full_pairs > 0) {
      charge(shape.full_pairs, full_ns_per_pair(table, shape.full_queries, shape.full_keys));
    }
    if (shape.edge_pairs > 0) charge(shape.edge_pairs, diagonal_ns_per_pair(table, shape.edge_length));
    std::int64_t tiles = divide_up(block.query_count, table.tile_rows);
    if (pass == Pass::backward) tiles += divide_up(block.key_count, table.tile_rows);
    tiles *= model.kv_heads_of(block.heads).count();
    items += tiles;
    time += static_cast<double>(tiles) * table.tile_ns;
    merged_rows += block.query_count * block.heads.count();
    work += time;
    outside += choice.extrapolated ? time : time_outside;
  }
  if (merge && pass == Pass::forward) {
    // f32 output and LSE of every row, read and written.
    const auto bytes = static_cast<double>(merged_rows * (model.value_head_dim + 1) * 4 * 2);
    work += bytes / profile.merge.bytes_per_second * 1e9;
  }
  cost.work_ns = whole_ns(work + table.launch_ns);
  cost.extrapolated_ns = whole_ns(std::floor(outside));
  cost.parallelism = std::max<std::int64_t>(1, items);
  return cost;
}

}  // namespace strata
