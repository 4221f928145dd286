// SPDX-License-Identifier: Apache-2.0
// Shows the band geometry right by brute force: exhaustively for small sizes, bounds on both sides and key
// strides.
#include "kernels/band.hpp"

#include <gtest/gtest.h>

#include "kernels/attention_types.hpp"

namespace strata::kernels {
namespace {

bool sees(const AttentionBlock& b, std::int64_t i, std::int64_t j) {
  return b.lo <= j * b.key_stride - i && j * b.key_stride - i <= b.hi;
}

/// Calls visit(block) for every block of up to 6 x 6 rows, bounds from -7 to 13 and strides 1 to 3.
template <class Visit>
void for_each_small_block(const Visit& visit) {
  AttentionBlock block;
  for (block.query_count = 0; block.query_count <= 6; ++block.query_count) {
    for (block.key_count = 0; block.key_count <= 6; ++block.key_count) {
      for (block.key_stride = 1; block.key_stride <= 3; ++block.key_stride) {
        for (block.lo = -7; block.lo <= 13; ++block.lo) {
          for (block.hi = block.lo - 1; block.hi <= 13; ++block.hi) visit(block);
        }
      }
    }
  }
}

TEST(AllowedPairs, EqualsTheBruteForceCountForEverySmallBlock) {
  for_each_small_block([](const AttentionBlock& block) {
    std::int64_t pairs = 0;
    for (std::int64_t i = 0; i < block.query_count; ++i) {
      for (std::int64_t j = 0; j < block.key_count; ++j) pairs += sees(block, i, j) ? 1 : 0;
    }
    ASSERT_EQ(allowed_pairs(block), pairs) << block.query_count << "x" << block.key_count << " [" << block.lo
                                           << "," << block.hi << "] stride " << block.key_stride;
  });
}

TEST(AllowedPairs, HandlesUnboundedBandsAndLongDocuments) {
  AttentionBlock block;
  block.query_count = block.key_count = 1'000'000;
  EXPECT_EQ(allowed_pairs(block), 1'000'000'000'000);
  block.hi = 0;
  EXPECT_EQ(allowed_pairs(block), 1'000'000LL * 1'000'001 / 2);
  block.lo = -99;  // a window of 100
  EXPECT_EQ(allowed_pairs(block), 1'000'000LL * 100 - 99 * 100 / 2);
}

TEST(Band, RangesOfAnyAndAllEqualBruteForceForEverySmallBlock) {
  for_each_small_block([](const AttentionBlock& block) {
    const Band band{block.lo, block.hi, block.key_stride};
    for (std::int64_t first = 0; first < block.query_count; ++first) {
      for (std::int64_t last = first; last < block.query_count; ++last) {
        const RowRange any = band.keys_seen_by_any(first, last).clipped(0, block.key_count);
        const RowRange all = band.keys_seen_by_all(first, last).clipped(0, block.key_count);
        for (std::int64_t j = 0; j < block.key_count; ++j) {
          bool some = false;
          bool every = true;
          for (std::int64_t i = first; i <= last; ++i) {
            some = some || sees(block, i, j);
            every = every && sees(block, i, j);
          }
          ASSERT_TRUE(!some || (j >= any.begin && j < any.end));
          ASSERT_EQ(every, j >= all.begin && j < all.end);
          ASSERT_TRUE(first != last || some == (j >= any.begin && j < any.end));
        }
      }
    }
    for (std::int64_t first = 0; first < block.key_count; ++first) {
      for (std::int64_t last = first; last < block.key_count; ++last) {
        const RowRange any = band.queries_seeing_any(first, last).clipped(0, block.query_count);
        const RowRange all = band.queries_seeing_all(first, last).clipped(0, block.query_count);
        for (std::int64_t i = 0; i < block.query_count; ++i) {
          bool some = false;
          bool every = true;
          for (std::int64_t j = first; j <= last; ++j) {
            some = some || sees(block, i, j);
            every = every && sees(block, i, j);
          }
          ASSERT_TRUE(!some || (i >= any.begin && i < any.end));
          ASSERT_EQ(every, i >= all.begin && i < all.end);
          ASSERT_TRUE(first != last || some == (i >= any.begin && i < any.end));
        }
      }
    }
  });
}

}  // namespace
}  // namespace strata::kernels
