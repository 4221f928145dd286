// SPDX-License-Identifier: Apache-2.0
// Statistics are exact and their texts are fixed. Shown by hand on a few lengths, on a genuine index whose
// figures were computed independently, and by properties on random lists.
#include "traces/lengths/length_statistics.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <sstream>

#include "tests/traces/lengths/made_files.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {
namespace {

using Lengths = std::vector<std::int64_t>;

std::size_t longest_line(const std::string& text) {
  std::istringstream lines(text);
  std::size_t longest = 0;
  for (std::string line; std::getline(lines, line);) longest = std::max(longest, line.size());
  return longest;
}

TEST(LengthStatistics, OfFourLengthsAreWhatOneCountsByHand) {
  const LengthStatistics s = length_statistics(Lengths{8, 1, 3, 5000});
  EXPECT_EQ(s.documents, 4);
  EXPECT_EQ(s.tokens, 5012);
  EXPECT_TRUE(s.work == 64 + 1 + 9 + 25'000'000);
  EXPECT_EQ(s.shortest, 1);
  EXPECT_EQ(s.longest, 5000);
  EXPECT_EQ(s.p50, 3) << "two of four do not exceed 3";
  EXPECT_EQ(s.p90, 5000);
  EXPECT_EQ(s.top_documents, 1);
  EXPECT_TRUE(s.top_work == 25'000'000);
  EXPECT_EQ(s.bands[0].documents, 3);
  EXPECT_EQ(s.bands[0].tokens, 12);
  EXPECT_EQ(s.bands[2].documents, 1);
  EXPECT_EQ(s.bands[2].from, 4097);
  ASSERT_EQ(s.octaves.size(), 13U) << "1 to 4096";
  EXPECT_EQ(s.octaves[1].from, 2);
  EXPECT_EQ(s.octaves[1].to, 3);
  EXPECT_EQ(s.octaves[1].documents, 1);
  EXPECT_EQ(s.octaves[3].tokens, 8);
}

TEST(LengthStatistics, TheLargestLengthsDoNotOverflow) {
  const Lengths lengths(10, 2147483647);
  const LengthStatistics s = length_statistics(lengths);
  const auto square = static_cast<SquaredTokens>(2147483647) * 2147483647;
  EXPECT_TRUE(s.work == 10 * square);
  EXPECT_DOUBLE_EQ(s.top_work_share(), 0.1);
}

TEST(LengthStatistics, OneDocumentOfOneTokenIsNotNamedAsSeveral) {
  EXPECT_NE(to_text(length_statistics(Lengths{1})).find("the longest 1 % (1 document) hold 100.0 %"),
            std::string::npos);
  EXPECT_EQ(to_text(preview_packing(Lengths{1, 1}, 1)).find("packs 2 of up to 1 token   pieces"), 0U);
}

TEST(LengthStatistics, OfAGenuineIndexAreTheKnownOnes) {
  const LengthSource source =
      read_length_source(std::filesystem::path(test::sample_path("codeparrot_content_document.idx")));
  const LengthStatistics s = length_statistics(source.lengths);
  EXPECT_EQ(s.documents, 20'000);
  EXPECT_EQ(s.tokens, 52'102'208);
  EXPECT_EQ(s.shortest, 180);
  EXPECT_EQ(s.longest, 175'926);
  EXPECT_EQ(s.p50, 1203);
  EXPECT_NEAR(s.top_work_share(), 0.59, 0.005);
  EXPECT_EQ(to_text(s),
            "documents 20,000   tokens 52,102,208\n"
            "shortest 180   longest 175,926   mean 2,605.1\n"
            "p50 1,203   p90 5,596   p99 21,031   p99.9 60,186\n"
            "the longest 1 % (200 documents) hold 59.0 % of the attention work (sum of squares)\n"
            "tokens                     documents   documents      tokens        work\n"
            "1 to 1K                        8,908      44.5 %      10.0 %       0.5 %\n"
            "1,025 to 4K                    8,020      40.1 %      32.1 %       6.3 %\n"
            "4,097 to 8K                    1,910       9.6 %      20.7 %       9.8 %\n"
            "8,193 to 32K                   1,071       5.4 %      28.1 %      35.6 %\n"
            "32,769 to 128K                    90       0.5 %       8.8 %      43.0 %\n"
            "over 128K                          1       0.0 %       0.3 %       4.8 %\n");
}

TEST(LengthStatistics, RecordedPacksHaveTheKnownImbalance) {
  const LengthSource source =
      read_length_source(std::filesystem::path(test::sample_path("codeparrot_128k_all.jsonl")));
  const PackingPreview p = packing_of(source.batches);
  EXPECT_EQ(p.packs, 781);
  EXPECT_EQ(p.pack_tokens, 131'072);
  EXPECT_EQ(p.fewest_pieces, 1);
  EXPECT_EQ(p.most_pieces, 86);
  EXPECT_EQ(p.longest_piece_p50, 19'159);
  EXPECT_EQ(p.longest_piece_p90, 42'793);
  EXPECT_EQ(p.longest_piece, 131'072);
  ASSERT_EQ(p.imbalance.size(), 2U);
  EXPECT_EQ(p.imbalance[0].groups, 97);
  EXPECT_NEAR(p.imbalance[0].mean, 2.4, 0.05);
  EXPECT_NEAR(p.imbalance[0].worst, 5.0, 0.05);
  EXPECT_NEAR(p.imbalance[1].mean, 4.5, 0.05);
  EXPECT_NEAR(p.imbalance[1].worst, 8.9, 0.05);
  EXPECT_EQ(to_text(p),
            "packs 781 of up to 131,072 tokens   pieces per pack 1 to 86, mean 51.2\n"
            "longest piece of a pack: p50 19,159   p90 42,793   max 131,072\n"
            "attention work: heaviest pack 50.6 times the lightest\n"
            "of 8 packs side by side the heaviest has 2.39 times the mean work (worst 5.04)\n"
            "of 32 packs side by side the heaviest has 4.53 times the mean work (worst 8.91)\n");
}

TEST(PackingPreview, CutsDocumentsWhereAPackIsFull) {
  const PackingPreview p = preview_packing(Lengths{4, 4, 15, 2}, 6);  // 4 2 | 2 4 | 6 | 5 1, and 1 left
  EXPECT_EQ(p.packs, 4);
  EXPECT_EQ(p.pieces, 7);
  EXPECT_EQ(p.cut_documents, 3);
  EXPECT_EQ(p.leftover_tokens, 1);
  EXPECT_EQ(p.fewest_pieces, 1);
  EXPECT_EQ(p.most_pieces, 2);
  EXPECT_TRUE(p.lightest_work == 20);
  EXPECT_TRUE(p.heaviest_work == 36);
  EXPECT_EQ(p.longest_piece_p50, 4);
  EXPECT_EQ(p.longest_piece, 6);
}

TEST(PackingPreview, TooFewTokensMakeOneShortPack) {
  const PackingPreview p = preview_packing(Lengths{4, 4}, 100);
  EXPECT_EQ(p.packs, 1);
  EXPECT_EQ(p.pack_tokens, 8);
  EXPECT_EQ(p.leftover_tokens, 0);
}

TEST(PackingPreview, ImbalanceIsHeaviestOverMeanInWholeGroups) {
  Lengths lengths(8, 1);
  lengths.push_back(1);
  Batch batch;
  batch.fixed_packs = true;
  for (int i = 0; i < 7; ++i) batch.packs.push_back({1});
  batch.packs.push_back({3});
  batch.packs.push_back({100});
  const PackingPreview p = packing_of(std::vector<Batch>{batch});
  EXPECT_EQ(p.imbalance[0], (GroupImbalance{8, 1, 9.0 / 2, 9.0 / 2})) << "seven of 1 and one of 9: mean 2";
  EXPECT_EQ(p.imbalance[1], (GroupImbalance{32, 0, 0, 0}));
}

TEST(LengthHistogram, HasALinePerOctaveWithBarsScaledToTheLargest) {
  EXPECT_EQ(
      histogram_text(length_statistics(Lengths{1, 1, 1, 5})),
      "tokens from  documents                   tokens                      attention work\n"
      "          1    75.0 % ##################   37.5 % ###########          10.7 % ##\n"
      "          2     0.0 %                       0.0 %                       0.0 %\n"
      "          4    25.0 % ######               62.5 % ##################   89.3 % ##################\n");
}

Lengths any_lengths() {
  return *rc::gen::nonEmpty(rc::gen::container<Lengths>(
      rc::gen::oneOf(rc::gen::inRange<std::int64_t>(1, 100), rc::gen::inRange<std::int64_t>(1, 2'000'000),
                     rc::gen::inRange<std::int64_t>(2'147'000'000, 2'147'483'648))));
}

RC_GTEST_PROP(LengthStatisticsProperty, NothingIsLostBetweenBandsOctavesAndPacks, ()) {
  const Lengths lengths = any_lengths();
  const LengthStatistics s = length_statistics(lengths);
  for (const auto* parts : {&s.bands, &s.octaves}) {
    std::int64_t documents = 0, tokens = 0;
    SquaredTokens work = 0;
    for (const LengthBand& part : *parts) {
      documents += part.documents;
      tokens += part.tokens;
      work += part.work;
    }
    RC_ASSERT(documents == std::ssize(lengths));
    RC_ASSERT(tokens == std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}));
    RC_ASSERT(work == s.work);
  }
  RC_ASSERT(s.top_work <= s.work);
  const std::int64_t pack = *rc::gen::inRange<std::int64_t>(100'000, 3'000'000);
  const PackingPreview p = preview_packing(lengths, pack);
  if (s.tokens >= pack) {
    RC_ASSERT(p.packs * pack + p.leftover_tokens == s.tokens);
    RC_ASSERT(p.leftover_tokens < pack);
  }
}

RC_GTEST_PROP(LengthStatisticsProperty, TheOrderOfDocumentsDoesNotMatterAndLinesFit, ()) {
  Lengths lengths = any_lengths();
  const std::string text = to_text(length_statistics(lengths)),
                    bars = histogram_text(length_statistics(lengths));
  RC_ASSERT(longest_line(text) <= 100U);
  RC_ASSERT(longest_line(bars) <= 100U);
  RC_ASSERT(longest_line(to_text(preview_packing(lengths, 131'072))) <= 100U);
  std::reverse(lengths.begin(), lengths.end());
  RC_ASSERT(to_text(length_statistics(lengths)) == text);
  RC_ASSERT(histogram_text(length_statistics(lengths)) == bars);
}

}  // namespace
}  // namespace strata
