// SPDX-License-Identifier: Apache-2.0
// What operations say that they read and write: in few words where their lists touch, and no row more or
// less.
#include "core/program/rank_program.hpp"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "tests/support/dice.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

/// (buffer, row, whether it is written)
using Rows = std::set<std::tuple<std::int32_t, std::int64_t, bool>>;

void add_rows(Rows& rows, const Access& access) {
  for (std::int64_t row = access.row; row < access.row + access.row_count; ++row) {
    rows.insert({access.buffer, row, access.write});
  }
}

Rows accessed_rows(const Operation& op) {
  std::vector<Access> accesses;
  append_accesses({}, op, accesses);
  Rows rows;
  for (const Access& access : accesses) add_rows(rows, access);
  return rows;
}

AttentionBlock random_block(test::Dice& dice) {
  AttentionBlock block;
  block.query_source = dice.small(0, 1);
  block.key_source = dice.small(0, 1);
  block.query_begin = dice.number(0, 40);
  block.query_count = dice.number(1, 9);
  block.key_begin = dice.number(0, 40);
  block.key_count = dice.number(1, 9);
  return block;
}

TEST(Accesses, OfAttentionAreTheRowsOfItsBlocks) {
  const std::vector<QueryBuffers> queries{{0, 1, 2, 3, 4, 5}, {10, 11, 12, 13, 14, 15}};
  const std::vector<KeyBuffers> keys{{6, 7}, {16, 17}};
  for (int i = 0; i < (small_scale() ? 100 : 1000); ++i) {
    test::Dice dice(5, {i});
    std::vector<AttentionBlock> blocks;
    for (std::int32_t more = dice.small(0, 12); more > 0; --more) blocks.push_back(random_block(dice));
    Rows forward, backward;
    for (const AttentionBlock& block : blocks) {
      const QueryBuffers& query = queries[static_cast<std::size_t>(block.query_source)];
      const KeyBuffers& key = keys[static_cast<std::size_t>(block.key_source)];
      const auto of_query = [&](Rows& rows, std::int32_t buffer, bool write) {
        add_rows(rows, {buffer, block.query_begin, block.query_count, write});
      };
      const auto of_key = [&](Rows& rows, std::int32_t buffer, bool write) {
        add_rows(rows, {buffer, block.key_begin, block.key_count, write});
      };
      for (Rows* rows : {&forward, &backward}) of_query(*rows, query.q, false), of_key(*rows, key.kv, false);
      for (const std::int32_t buffer : {query.out, query.lse}) of_query(forward, buffer, true);
      for (const std::int32_t buffer : {query.lse, query.d_o, query.delta}) of_query(backward, buffer, false);
      of_query(backward, query.dq, true);
      of_key(backward, key.dkv, true);
    }
    ASSERT_EQ(accessed_rows(Attention{queries, keys, blocks, true}), forward) << i;
    ASSERT_EQ(accessed_rows(AttentionBackward{queries, keys, blocks}), backward) << i;
  }
}

TEST(Accesses, OfAMergeAreTheRowsOfItsRanges) {
  for (int i = 0; i < (small_scale() ? 100 : 1000); ++i) {
    test::Dice dice(6, {i});
    MergePartials merge{0, 1, {}};
    Rows expected;
    for (std::int32_t more = dice.small(0, 8); more > 0; --more) {
      MergeRange range{dice.number(0, 40), dice.number(1, 9), {0, 1}, {}};
      for (const std::int32_t buffer : {0, 1}) add_rows(expected, {buffer, range.row, range.row_count, true});
      for (std::int32_t parts = dice.small(0, 3); parts > 0; --parts) {
        const std::int32_t out = 2 * dice.small(1, 3);
        range.parts.push_back({out, out + 1, dice.number(0, 40)});
        const std::int64_t row = range.parts.back().row;
        for (const std::int32_t buffer : {out, out + 1}) {
          add_rows(expected, {buffer, row, range.row_count, false});
        }
      }
      merge.ranges.push_back(range);
    }
    ASSERT_EQ(accessed_rows(merge), expected) << i;
  }
}

TEST(Accesses, OfBlocksThatTouchAreOneForEachRole) {
  AttentionBackward attention{{{0, 1, 2, 3, 4, 5}}, {{6, 7}}, {}};
  for (std::int64_t document = 0; document < 1000; ++document) {
    AttentionBlock block;
    block.query_begin = block.key_begin = 64 * document;
    block.query_count = block.key_count = 64;
    attention.blocks.push_back(block);
  }
  std::vector<Access> accesses;
  append_accesses({}, attention, accesses);
  EXPECT_EQ(accesses.size(), 7U);
}

}  // namespace
}  // namespace strata
