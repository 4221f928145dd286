// SPDX-License-Identifier: Apache-2.0
// Shows that the GPU's lists stand for exactly the pairs of their blocks, in both directions, by expanding
// them by brute force; that every output row and head has one writer; and that what 32 bits cannot hold is
// refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <stdexcept>

#include "kernels/cuda/attention_grid.hpp"
#include "kernels/cuda/attention_lists.hpp"
#include "tests/kernels/block_pairs.hpp"

namespace strata::kernels {
namespace {

using test::Pairs;
using test::pairs_of_blocks;
using test::random_blocks;
using test::Writers;

struct Expanded {
  Pairs pairs;
  Writers writers;
  std::vector<std::int64_t> costs;  // by tile
};

/// What a kernel does with one pair of rows: (query row, key row) of a tile and a segment, for its heads.
void expand_rows(const AttentionLists& lists, std::int32_t group, const DeviceTile& tile,
                 Expanded& expanded) {
  const bool by_key = lists.kind == WorkKind::grad_kv;
  for (std::int32_t s = tile.segment_begin; s < tile.segment_end; ++s) {
    const DeviceSegment& segment = lists.segments[static_cast<std::size_t>(s)];
    const std::int32_t head_begin = by_key ? std::max(segment.head_begin, tile.head * group) : tile.head;
    const std::int32_t head_end =
        by_key ? std::min(segment.head_begin + segment.head_count, (tile.head + 1) * group) : tile.head + 1;
    for (std::int32_t own = 0; own < tile.count; ++own) {
      for (std::int32_t other = 0; other < segment.count; ++other) {
        const std::int32_t distance = by_key ? own * segment.stride - other : other * segment.stride - own;
        if (distance < segment.lo || distance > segment.hi) continue;
        for (std::int32_t h = head_begin; h < head_end; ++h) {
          ++expanded.costs.back();
          if (by_key) {
            ++expanded.pairs[{segment.source, segment.row + other, h, tile.source, tile.row + own}];
          } else {
            ++expanded.pairs[{tile.source, tile.row + own, h, segment.source, segment.row + other}];
          }
        }
      }
    }
  }
}

Expanded expand(const AttentionLists& lists, std::int32_t group) {
  Expanded expanded;
  for (const DeviceTile& tile : lists.tiles) {
    EXPECT_GE(tile.count, 1);
    EXPECT_LE(tile.count, lists.tile_rows);
    for (std::int32_t r = 0; r < tile.count; ++r) ++expanded.writers[{tile.source, tile.row + r, tile.head}];
    expanded.costs.push_back(0);
    expand_rows(lists, group, tile, expanded);
  }
  return expanded;
}

TEST(AttentionLists, StandForExactlyThePairsOfTheirBlocksWithOneWriterForEveryRow) {
  std::mt19937 generator(11);
  for (int round = 0; round < 40; ++round) {
    AttentionShape shape;
    shape.element = Element::f16;
    shape.kv_heads = 1 + round % 3;
    shape.query_heads = shape.kv_heads * (1 + round % 4);
    const std::vector<AttentionBlock> blocks = random_blocks(generator, shape.query_heads, {150, 40, 40});
    const Pairs expected = pairs_of_blocks(blocks);
    Writers query_rows, key_rows;
    for (const AttentionBlock& b : blocks) {
      for (std::int32_t h = b.head_begin; h < b.head_end; ++h) {
        for (std::int64_t i = 0; i < b.query_count; ++i)
          query_rows[{b.query_source, b.query_begin + i, h}] = 1;
        for (std::int64_t j = 0; j < b.key_count; ++j)
          key_rows[{b.key_source, b.key_begin + j, h / shape.group()}] = 1;
      }
    }
    for (const WorkKind kind : {WorkKind::forward, WorkKind::grad_q, WorkKind::grad_kv}) {
      for (const std::int32_t tile_rows : {16, 64, 128}) {
        const AttentionLists lists = build_attention_lists(shape, blocks, kind, tile_rows);
        const Expanded expanded = expand(lists, shape.group());
        EXPECT_EQ(expanded.pairs, expected) << round;
        EXPECT_EQ(expanded.writers, kind == WorkKind::grad_kv ? key_rows : query_rows) << round;
        EXPECT_TRUE(std::is_sorted(expanded.costs.rbegin(), expanded.costs.rend())) << round;
        EXPECT_EQ(lists.pairs, static_cast<std::int64_t>(expected.size()));
      }
    }
  }
}

TEST(AttentionLists, ShareSegmentsAmongTheHeads) {
  AttentionShape shape;
  shape.query_heads = 8;
  shape.kv_heads = 2;
  AttentionBlock block;
  block.query_count = block.key_count = 1000;
  block.head_end = 8;
  block.hi = 0;
  const AttentionLists lists = build_attention_lists(shape, {&block, 1}, WorkKind::forward, 128);
  EXPECT_EQ(lists.tiles.size(), 64U);
  EXPECT_EQ(lists.segments.size(), 8U);
  EXPECT_EQ(lists.pairs, 8 * 500500);
}

TEST(AttentionLists, SkipKeysThatNoRowOfATileSees) {
  AttentionShape shape;
  AttentionBlock block;
  block.query_count = block.key_count = 4096;
  block.head_end = 1;
  block.hi = 0;
  block.lo = -255;  // a window of 256
  const AttentionLists lists = build_attention_lists(shape, {&block, 1}, WorkKind::forward, 128);
  for (const DeviceTile& tile : lists.tiles) {
    ASSERT_EQ(tile.segment_end - tile.segment_begin, 1);
    const DeviceSegment& segment = lists.segments[static_cast<std::size_t>(tile.segment_begin)];
    EXPECT_EQ(segment.row, std::max(0, tile.row - 255));
    EXPECT_EQ(segment.row + segment.count, tile.row + 128);
  }
}

TEST(AttentionGrid, HasABlockForEveryTileThatFitsAfterTheLeaversHaveLeft) {
  EXPECT_EQ((AttentionGrid{132, 2, 0}.blocks(10'000)), 264);
  EXPECT_EQ((AttentionGrid{132, 2, 0}.blocks(7)), 7);
  EXPECT_EQ((AttentionGrid{132, 2, 8}.blocks(10'000)), 264);
  EXPECT_EQ((AttentionGrid{132, 2, 8}.first_left()), 124);
  for (const std::int32_t resident : {1, 2, 3}) {
    for (const std::int32_t left : {0, 1, 8, 19}) {
      const AttentionGrid grid{20, resident, left};
      for (std::int32_t tiles = 1; tiles < 70; ++tiles) {
        const std::int32_t staying = grid.blocks(tiles) - grid.most_leavers();
        EXPECT_EQ(staying, std::min(tiles, (20 - left) * resident));
        EXPECT_LE(grid.blocks(tiles), 20 * resident);
      }
    }
  }
}

TEST(AttentionLists, RefuseRowsAndDistancesBeyond32Bits) {
  AttentionShape shape;
  AttentionBlock block;
  block.query_count = block.key_count = 10;
  block.head_end = 1;
  EXPECT_EQ(build_attention_lists(shape, {&block, 1}, WorkKind::forward, 128).pairs, 100);
  block.key_begin = std::int64_t{1} << 29;
  EXPECT_THROW(build_attention_lists(shape, {&block, 1}, WorkKind::forward, 128), std::invalid_argument);
  EXPECT_THROW(build_attention_lists(shape, {&block, 1}, WorkKind::grad_kv, 128), std::invalid_argument);
  block.key_begin = 0;
  block.key_stride = std::int64_t{1} << 27;
  EXPECT_THROW(build_attention_lists(shape, {&block, 1}, WorkKind::forward, 128), std::invalid_argument);
  block.key_stride = 1;
  block.head_end = 2;
  EXPECT_THROW(build_attention_lists(shape, {&block, 1}, WorkKind::forward, 128), std::invalid_argument);
}

}  // namespace
}  // namespace strata::kernels
