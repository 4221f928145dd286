// SPDX-License-Identifier: Apache-2.0
// Shows that compiling blocks into work lists loses, doubles and invents nothing: the pairs that the tiles
// stand for, expanded by brute force, are those of the blocks, and every output row and head has exactly one
// writer.
#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

#include "kernels/attention_work.hpp"
#include "tests/kernels/block_pairs.hpp"

namespace strata::kernels {
namespace {

using test::Pairs;
using test::pairs_of_blocks;
using test::random_blocks;
using test::Writers;

/// Expands the tiles of one kind and notes who writes what.
Pairs pairs_of_work(const AttentionWork& work, WorkKind kind, Writers& writers) {
  Pairs pairs;
  const std::int64_t group = work.shape.group();
  for (const WorkItem& item : work.items) {
    if (item.kind != kind) continue;
    std::int64_t cost = 0;
    for (std::int64_t t = item.tile_begin; t < item.tile_end; ++t) {
      const AttentionTile& tile = work.tiles[static_cast<std::size_t>(t)];
      const std::int64_t head_begin = kind == WorkKind::grad_kv ? tile.kv_head : tile.head_begin;
      const std::int64_t head_end =
          kind == WorkKind::grad_kv ? tile.kv_head + 1 : tile.head_begin + tile.head_count;
      for (std::int64_t row = tile.begin; row < tile.begin + tile.count; ++row) {
        for (std::int64_t h = head_begin; h < head_end; ++h) ++writers[{tile.source, row, h}];
      }
      for (std::int64_t s = tile.segment_begin; s < tile.segment_end; ++s) {
        const TileSegment& segment = work.segments[static_cast<std::size_t>(s)];
        for (std::int64_t own = 0; own < tile.count; ++own) {
          for (std::int64_t other = 0; other < segment.count; ++other) {
            const std::int64_t j = kind == WorkKind::grad_kv ? own : other;
            const std::int64_t i = kind == WorkKind::grad_kv ? other : own;
            const std::int64_t distance = j * segment.key_stride - i;
            if (distance < segment.lo || distance > segment.hi) continue;
            for (std::int64_t h = tile.kv_head * group; h < (tile.kv_head + 1) * group; ++h) {
              if (kind == WorkKind::grad_kv) {
                if (h < segment.head_begin || h >= segment.head_begin + segment.head_count) continue;
                ++pairs[{segment.source, segment.begin + other, h, tile.source, tile.begin + own}];
              } else {
                if (h < tile.head_begin || h >= tile.head_begin + tile.head_count) continue;
                ++pairs[{tile.source, tile.begin + own, h, segment.source, segment.begin + other}];
              }
              ++cost;
            }
          }
        }
      }
    }
    EXPECT_EQ(cost, item.pairs);
  }
  return pairs;
}

TEST(AttentionWork, StandsForExactlyThePairsOfItsBlocksInEveryDirection) {
  std::mt19937 generator(5);
  for (int round = 0; round < 60; ++round) {
    AttentionShape shape;
    shape.kv_heads = 1 + round % 3;
    shape.query_heads = shape.kv_heads * (1 + round % 4);
    const std::vector<AttentionBlock> blocks = random_blocks(generator, shape.query_heads, {250, 12, 20});
    const Pairs expected = pairs_of_blocks(blocks);
    const AttentionWork forward = build_forward_work(shape, blocks, OutputMode::write);
    const AttentionWork backward = build_backward_work(shape, blocks, OutputMode::write);
    Writers outputs, grad_q, grad_kv;
    EXPECT_EQ(pairs_of_work(forward, WorkKind::forward, outputs), expected) << round;
    EXPECT_EQ(pairs_of_work(backward, WorkKind::grad_q, grad_q), expected) << round;
    EXPECT_EQ(pairs_of_work(backward, WorkKind::grad_kv, grad_kv), expected) << round;
    for (const auto& [place, count] : expected) EXPECT_EQ(count, 1);
    for (const Writers* writers : {&outputs, &grad_q, &grad_kv}) {
      for (const auto& [place, count] : *writers) EXPECT_EQ(count, 1) << round;
    }
    // Rows are written whether or not they see a key, and only those that a block names.
    Writers named;
    for (const AttentionBlock& b : blocks) {
      for (std::int64_t i = 0; i < b.query_count; ++i) {
        for (std::int64_t h = b.head_begin; h < b.head_end; ++h)
          named[{b.query_source, b.query_begin + i, h}] = 1;
      }
    }
    EXPECT_EQ(outputs, named) << round;
    EXPECT_EQ(total_pairs(forward), static_cast<std::int64_t>(expected.size()));
    EXPECT_EQ(total_pairs(backward), static_cast<std::int64_t>(expected.size()));
  }
}

TEST(AttentionWork, OrdersItemsByDescendingCost) {
  AttentionShape shape;
  AttentionBlock block;
  block.query_count = block.key_count = 5000;
  block.head_end = 1;
  block.hi = 0;
  const AttentionWork work = build_forward_work(shape, {&block, 1}, OutputMode::write);
  const std::vector<std::int64_t> order = longest_first(work);
  ASSERT_EQ(order.size(), work.items.size());
  for (std::size_t i = 1; i < order.size(); ++i) {
    EXPECT_GE(work.items[static_cast<std::size_t>(order[i - 1])].pairs,
              work.items[static_cast<std::size_t>(order[i])].pairs);
  }
}

TEST(AttentionWork, BatchesTinyDocumentsIntoFewerItems) {
  AttentionShape shape;
  std::vector<AttentionBlock> blocks(1000);
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    blocks[b].query_begin = blocks[b].key_begin = static_cast<std::int64_t>(b);
    blocks[b].query_count = blocks[b].key_count = 1;
    blocks[b].head_end = 1;
  }
  const AttentionWork work = build_forward_work(shape, blocks, OutputMode::write);
  EXPECT_EQ(work.tiles.size(), 1000U);
  EXPECT_LE(item_count(work), 50);
  EXPECT_EQ(total_pairs(work), 1000);
}

TEST(AttentionWork, RejectsMalformedShapesAndBlocks) {
  AttentionShape shape;
  shape.query_heads = 3;
  shape.kv_heads = 2;
  EXPECT_THROW(build_forward_work(shape, {}, OutputMode::write), std::invalid_argument);
  shape.query_heads = 4;
  EXPECT_EQ(item_count(build_forward_work(shape, {}, OutputMode::write)), 0);
  AttentionBlock block;
  block.query_count = block.key_count = 1;
  block.head_end = 5;
  EXPECT_THROW(build_backward_work(shape, {&block, 1}, OutputMode::write), std::invalid_argument);
  block.head_end = 4;
  block.key_begin = -1;
  EXPECT_THROW(build_backward_work(shape, {&block, 1}, OutputMode::write), std::invalid_argument);
  block.key_begin = 0;
  block.key_stride = 0;
  EXPECT_THROW(build_backward_work(shape, {&block, 1}, OutputMode::write), std::invalid_argument);
}

}  // namespace
}  // namespace strata::kernels
