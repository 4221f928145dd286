// SPDX-License-Identifier: Apache-2.0
// The closed forms of pair counts against counting, exhaustively for small sizes.
#include "core/problem/mask.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "core/program/rank_program.hpp"

namespace strata {
namespace {

std::int64_t count_band(std::int64_t queries, std::int64_t keys, std::int64_t lo, std::int64_t hi) {
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < queries; ++i) {
    for (std::int64_t j = 0; j < keys; ++j) pairs += lo <= j - i && j - i <= hi ? 1 : 0;
  }
  return pairs;
}

TEST(BandPairCount, EqualsCountingForEverySmallBand) {
  for (std::int64_t queries = 0; queries <= 7; ++queries) {
    for (std::int64_t keys = 0; keys <= 7; ++keys) {
      for (std::int64_t lo = -9; lo <= 9; ++lo) {
        for (std::int64_t hi = -9; hi <= 9; ++hi) {
          ASSERT_EQ(band_pair_count(queries, keys, lo, hi), lo > hi ? 0 : count_band(queries, keys, lo, hi))
              << queries << " x " << keys << " band " << lo << ".." << hi;
        }
      }
    }
  }
}

TEST(BandPairCount, HandlesNoBounds) {
  EXPECT_EQ(band_pair_count(5, 7, -kUnbounded, kUnbounded), 35);
  EXPECT_EQ(band_pair_count(1 << 30, 1 << 30, -kUnbounded, 0),
            (std::int64_t{1} << 29) * ((std::int64_t{1} << 30) + 1));
}

TEST(Mask, PairsOfSpansEqualCounting) {
  for (const std::int64_t window : {0, 1, 2, 5}) {
    const Mask mask{window};
    for (std::int64_t q0 = 0; q0 < 6; ++q0) {
      for (std::int64_t q1 = q0; q1 < 9; ++q1) {
        for (std::int64_t k0 = 0; k0 < 6; ++k0) {
          for (std::int64_t k1 = k0; k1 < 9; ++k1) {
            std::int64_t pairs = 0;
            for (std::int64_t i = q0; i < q1; ++i) {
              for (std::int64_t j = k0; j < k1; ++j)
                pairs += j <= i && (window == 0 || j > i - window) ? 1 : 0;
            }
            ASSERT_EQ(pair_count(mask, {3, q0, q1}, {3, k0, k1}), pairs);
          }
        }
      }
    }
  }
  EXPECT_EQ(pair_count({}, {1, 0, 4}, {2, 0, 4}), 0) << "different documents never attend to each other";
}

TEST(Mask, SeenKeysAndSeeingQueriesAreTheTightIntervals) {
  constexpr std::int64_t kLength = 10;
  for (const std::int64_t window : {0, 1, 3}) {
    const Mask mask{window};
    for (std::int64_t begin = 0; begin < kLength; ++begin) {
      for (std::int64_t end = begin + 1; end <= kLength; ++end) {
        const TokenSpan span{0, begin, end};
        const TokenSpan keys = keys_seen_by(mask, span);
        const TokenSpan queries = queries_that_see(mask, span, kLength);
        for (std::int64_t token = 0; token < kLength; ++token) {
          const TokenSpan one{0, token, token + 1};
          EXPECT_EQ(contains(keys, one), pair_count(mask, span, one) > 0);
          EXPECT_EQ(contains(queries, one), pair_count(mask, one, span) > 0);
        }
      }
    }
  }
}

RC_GTEST_PROP(AttentionBlock, CountsThePairsOfBandsWithAnyKeyStride, ()) {
  AttentionBlock block;
  block.query_count = *rc::gen::inRange<std::int64_t>(0, 20);
  block.key_count = *rc::gen::inRange<std::int64_t>(0, 20);
  block.key_stride = *rc::gen::inRange<std::int64_t>(1, 6);
  const auto bound = [] {
    return *rc::gen::oneOf(rc::gen::inRange<std::int64_t>(-120, 120),
                           rc::gen::element(-kUnbounded, kUnbounded));
  };
  block.lo = bound();
  block.hi = bound();
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < block.query_count; ++i) {
    for (std::int64_t j = 0; j < block.key_count; ++j) {
      const std::int64_t distance = j * block.key_stride - i;
      pairs += block.lo <= distance && distance <= block.hi ? 1 : 0;
    }
  }
  RC_ASSERT(block.pairs() == pairs);
}

}  // namespace
}  // namespace strata
