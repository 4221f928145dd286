// SPDX-License-Identifier: Apache-2.0
// The attention formula: how a band splits into a rectangle and an edge (against counting pair by pair), and
// what a launch of several blocks costs, worked out by hand.
#include "cost_models/cost/attention_cost.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/base/check.hpp"
#include "tests/cost_models/simulator/programs.hpp"

namespace strata {
namespace {

AttentionBlock block(std::int64_t queries, std::int64_t keys, std::int64_t lo, std::int64_t hi,
                     HeadRange heads = {0, 1}) {
  AttentionBlock made;
  made.query_count = queries;
  made.key_count = keys;
  made.lo = lo;
  made.hi = hi;
  made.heads = heads;
  return made;
}

TEST(BlockShape, AFullBlockHasNoEdge) {
  EXPECT_EQ(block_shape(block(5, 7, -kUnbounded, kUnbounded)), (BlockShape{35, 5, 7, 0, 0}));
}

TEST(BlockShape, ATriangleIsNearlyAllEdge) {
  // 8 rows: 36 pairs; key 0 is seen by all 8. The other 28 pairs: 2 x 28 / 8 = 7.
  EXPECT_EQ(block_shape(block(8, 8, -kUnbounded, 0)), (BlockShape{8, 8, 1, 28, 7}));
}

TEST(BlockShape, CausalRowsAfterTheirKeysAreARectangleAndATriangle) {
  // Rows 10..13 of a document against keys 0..13: j - i <= 10. Keys 0..10 are seen by all 4 rows; 3 + 2 + 1
  // remain.
  EXPECT_EQ(block_shape(block(4, 14, -kUnbounded, 10)), (BlockShape{44, 4, 11, 6, 3}));
}

TEST(BlockShape, ManyRowsAndFewKeysSplitByRows) {
  // 100 causal rows against the first 4 keys: rows 3..99 see all (97 x 4); 1 + 2 + 3 remain in 3 rows.
  EXPECT_EQ(block_shape(block(100, 4, -kUnbounded, 0)), (BlockShape{388, 97, 4, 6, 3}));
}

TEST(BlockShape, AWindowOverManyRowsIsAllEdge) {
  // 1000 rows, 8 keys each (fewer for the first 7): no key is seen by all. 2 x 7972 / 1000 = 15.9.
  EXPECT_EQ(block_shape(block(1000, 1000, -7, 0)), (BlockShape{0, 1000, 0, 7972, 16}));
}

TEST(BlockShape, RectangleAndEdgeAddUpToTheAllowedPairs) {
  rc::check([] {
    const auto queries = *rc::gen::inRange<std::int64_t>(1, 40);
    const auto keys = *rc::gen::inRange<std::int64_t>(1, 40);
    const auto lo = *rc::gen::inRange<std::int64_t>(-50, 50);
    const auto hi = lo + *rc::gen::inRange<std::int64_t>(0, 60);
    std::int64_t allowed = 0, common = 0, whole = 0;
    for (std::int64_t j = 0; j < keys; ++j) {
      bool all = true;
      for (std::int64_t i = 0; i < queries; ++i) {
        const bool ok = lo <= j - i && j - i <= hi;
        allowed += ok ? 1 : 0;
        all = all && ok;
      }
      common += all ? 1 : 0;
    }
    for (std::int64_t i = 0; i < queries; ++i) {
      bool all = true;
      for (std::int64_t j = 0; j < keys; ++j) all = all && lo <= j - i && j - i <= hi;
      whole += all ? 1 : 0;
    }
    const BlockShape shape = block_shape(block(queries, keys, lo, hi));
    RC_ASSERT(shape.full_pairs == std::max(queries * common, whole * keys));
    RC_ASSERT(shape.full_pairs + shape.edge_pairs == allowed);
    RC_ASSERT((shape.edge_length > 0) == (shape.edge_pairs > 0));
    RC_ASSERT(shape.edge_length <= queries);
  });
}

TEST(BlockShape, OtherKeyStridesAreRefused) {
  AttentionBlock strided = block(4, 4, 0, 0);
  strided.key_stride = 2;
  EXPECT_THROW(block_shape(strided), InternalError);
}

/// 2 ns per pair in rectangles, 3 on edges, launch 100, 7 per item of 4 rows.
CostProfile profile() {
  CostProfile made = unit_profile();
  for (AttentionTable& table : made.attention) {
    table.full.ns_per_pair = {2, 2, 2, 2};
    table.diagonal_ns_per_pair = {3, 3};
    table.launch_ns = 100;
    table.tile_ns = 7;
  }
  return made;
}

ModelShape grouped_model() {
  ModelShape model = unit_model();
  model.query_heads = 4;
  model.kv_heads = 2;
  return model;
}

TEST(AttentionCost, AddsLaunchItemsRectanglesAndEdges) {
  // Rows 10..13 x keys 0..13, 4 heads: 1 query tile x 2 KV heads = 2 items; 4 x (44 x 2 + 6 x 3) = 424; 2 x 7
  // = 14. 5 x 7 full, heads 1..2 (both KV heads): 2 tiles x 2 = 4 items, 28 ns; 2 x 35 x 2 = 140. With the
  // launch: 706.
  const std::vector<AttentionBlock> blocks = {block(4, 14, -kUnbounded, 10, {0, 4}),
                                              block(5, 7, -kUnbounded, kUnbounded, {1, 3})};
  const InstructionCost cost =
      attention_cost(blocks, false, Pass::forward, ElementType::f32, grouped_model(), profile());
  EXPECT_EQ(cost.work_ns, 100 + 424 + 14 + 140 + 28);
  EXPECT_EQ(cost.parallelism, 6);
  EXPECT_TRUE(cost.scales_with_speed);
  EXPECT_EQ(cost.extrapolated_ns, 0);
}

TEST(AttentionCost, BackwardHasItemsOfQueryAndOfKeyTiles) {
  // 5 x 7: 2 query tiles and 2 key tiles, 1 KV head.
  const InstructionCost cost = attention_cost({block(5, 7, -kUnbounded, kUnbounded)}, true, Pass::backward,
                                              ElementType::f32, unit_model(), profile());
  EXPECT_EQ(cost.parallelism, 4);
  EXPECT_EQ(cost.work_ns, 100 + 35 * 2 + 4 * 7);
}

TEST(AttentionCost, MergingReadsAndWritesRunningValues) {
  // 5 rows x (1 + 1) values x 4 bytes, read and written: 80 bytes at 1 byte/ns.
  const auto blocks = std::vector{block(5, 7, -kUnbounded, kUnbounded)};
  const auto cost = [&](bool merge) {
    return attention_cost(blocks, merge, Pass::forward, ElementType::f32, unit_model(), profile()).work_ns;
  };
  EXPECT_EQ(cost(true) - cost(false), 80);
}

TEST(AttentionCost, AMissingHeadDimIsScaledAndCountedAsExtrapolated) {
  ModelShape model = unit_model();
  model.head_dim = model.value_head_dim = 3;
  const InstructionCost cost = attention_cost({block(5, 7, -kUnbounded, kUnbounded)}, false, Pass::forward,
                                              ElementType::f32, model, profile());
  EXPECT_EQ(cost.work_ns, 100 + 3 * 35 * 2 + 2 * 7);
  EXPECT_EQ(cost.extrapolated_ns, 3 * 35 * 2 + 2 * 7);
}

TEST(AttentionCost, OnlyTheBlockOutsideTheGridIsExtrapolated) {
  CostProfile narrow = profile();
  narrow.attention[0].full.query_lengths = {1, 8};
  const std::vector<AttentionBlock> blocks = {block(8, 4, -kUnbounded, kUnbounded),
                                              block(9, 4, -kUnbounded, kUnbounded)};
  const InstructionCost cost =
      attention_cost(blocks, false, Pass::forward, ElementType::f32, unit_model(), narrow);
  EXPECT_EQ(cost.extrapolated_ns, 9 * 4 * 2);
}

TEST(AttentionCost, NothingCostsNothing) {
  EXPECT_EQ(attention_cost({}, true, Pass::forward, ElementType::f32, unit_model(), profile()).work_ns, 0);
}

}  // namespace
}  // namespace strata
