// SPDX-License-Identifier: Apache-2.0
// Each placement gives every token to one rank (the interpreter of strategies_test checks that) and balances
// what it promises: tokens, causal area, or whole documents.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "core/problem/mask.hpp"
#include "planner/realise/placement.hpp"
#include "tests/planner/realise/random_waves.hpp"

namespace strata::testing {
namespace {

std::int64_t spread_of_tokens(const SequenceLayout& layout) {
  std::int64_t low = std::numeric_limits<std::int64_t>::max();
  std::int64_t high = 0;
  for (std::int32_t rank = 0; rank < layout.rank_count(); ++rank) {
    low = std::min(low, layout.token_count(rank));
    high = std::max(high, layout.token_count(rank));
  }
  return high - low;
}

TEST(Placement, GivesRanksTokenCountsThatDifferByAtMostOne) {
  RandomWaves waves(11);
  for (int i = 0; i < 2000; ++i) {
    const WaveRequest request = waves.next();
    EXPECT_LE(spread_of_tokens(place_contiguous(request)), 1) << i;
    EXPECT_LE(spread_of_tokens(place_zigzag(request)), 1) << i;
    EXPECT_LE(spread_of_tokens(place_per_document(request)), 1) << i;
  }
}

TEST(ContiguousPlacement, LeavesTheLastRanksEmptyWhenTokensRunOut) {
  const SequenceLayout layout = place_contiguous(wave_of({2, 1}, 5));
  EXPECT_EQ(layout.spans[0], (std::vector<TokenSpan>{{0, 0, 1}}));
  EXPECT_EQ(layout.spans[1], (std::vector<TokenSpan>{{0, 1, 2}}));
  EXPECT_EQ(layout.spans[2], (std::vector<TokenSpan>{{1, 0, 1}}));
  EXPECT_TRUE(layout.spans[3].empty());
  EXPECT_TRUE(layout.spans[4].empty());
}

TEST(ZigzagPlacement, PairsTheFirstChunkWithTheLast) {
  const SequenceLayout layout = place_zigzag(wave_of({5, 11}, 2));
  EXPECT_EQ(layout.spans[0], (std::vector<TokenSpan>{{0, 0, 4}, {1, 7, 11}}));
  EXPECT_EQ(layout.spans[1], (std::vector<TokenSpan>{{0, 4, 5}, {1, 0, 7}}));
}

TEST(ZigzagPlacement, GivesEveryRankTheSameCausalAreaOfOneDocument) {
  const WaveRequest request = wave_of({std::int64_t{16} * 1000}, 8);
  const SequenceLayout layout = place_zigzag(request);
  const TokenSpan whole{0, 0, 16000};
  std::int64_t first = -1;
  for (const auto& spans : layout.spans) {
    std::int64_t pairs = 0;
    for (const TokenSpan& span : spans) pairs += pair_count(Mask{}, span, whole);
    if (first < 0) first = pairs;
    EXPECT_EQ(pairs, first);
  }
}

TEST(PerDocumentPlacement, MatchesZigzagWhenTheChunksAreEqual) {
  const WaveRequest request = wave_of({96}, 6);
  EXPECT_EQ(place_per_document(request), place_zigzag(request));
}

TEST(PerDocumentPlacement, DealsOneTokenDocumentsToDifferentRanks) {
  const SequenceLayout layout = place_per_document(wave_of({1, 1, 1, 1, 1}, 4));
  EXPECT_EQ(layout.spans[0], (std::vector<TokenSpan>{{0, 0, 1}, {4, 0, 1}}));
  EXPECT_EQ(layout.spans[1], (std::vector<TokenSpan>{{1, 0, 1}}));
  EXPECT_EQ(layout.spans[2], (std::vector<TokenSpan>{{2, 0, 1}}));
  EXPECT_EQ(layout.spans[3], (std::vector<TokenSpan>{{3, 0, 1}}));
}

TEST(PerDocumentPlacement, CutsEveryDocumentIntoChunksThatDifferByAtMostOneToken) {
  const WaveRequest request = wave_of({1001, 37, 500}, 8);
  for (const auto& spans : place_per_document(request).spans) {
    for (const TokenSpan& span : spans) {
      const std::int64_t share = request.lengths[static_cast<std::size_t>(span.document)] / 16;
      const bool joined = span.length() >= 2 * share && span.length() <= 2 * share + 2;  // chunks P-1 and P
      EXPECT_TRUE(joined || span.length() == share || span.length() == share + 1) << span.length();
    }
  }
}

TEST(WholeDocumentPlacement, PutsTheHeaviestDocumentsOnDifferentRanks) {
  const SequenceLayout layout = place_whole_document(wave_of({5, 100, 7, 90, 80, 6}, 3));
  EXPECT_EQ(layout.spans[0], (std::vector<TokenSpan>{{1, 0, 100}}));
  EXPECT_EQ(layout.spans[1], (std::vector<TokenSpan>{{3, 0, 90}}));
  EXPECT_EQ(layout.spans[2], (std::vector<TokenSpan>{{0, 0, 5}, {2, 0, 7}, {4, 0, 80}, {5, 0, 6}}));
}

TEST(WholeDocumentPlacement, StaysWithinTheGreedyGuaranteeOfTheMeanPlusTheHeaviestDocument) {
  RandomWaves waves(12);
  for (int i = 0; i < 500; ++i) {
    const WaveRequest request = waves.next();
    const Mask mask = request.model.mask();
    std::int64_t total = 0;
    std::int64_t heaviest = 0;
    for (const std::int64_t length : request.lengths) {
      total += document_pair_count(mask, length);
      heaviest = std::max(heaviest, document_pair_count(mask, length));
    }
    for (const auto& spans : place_whole_document(request).spans) {
      std::int64_t pairs = 0;
      for (const TokenSpan& span : spans) pairs += document_pair_count(mask, span.length());
      EXPECT_LE(pairs, total / request.rank_count + heaviest);
    }
  }
}

}  // namespace
}  // namespace strata::testing
