// SPDX-License-Identifier: Apache-2.0
// Offsets, starts, positions and document numbers of one pack say the same documents, with fill and without;
// what contradicts itself is refused, and a list that could be lengths or offsets is never guessed.
#include "traces/lengths/document_lists.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "core/base/check.hpp"
#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

using Numbers = std::vector<std::int64_t>;

std::string offsets_error(const Numbers& offsets) {
  return test::input_error([&] { documents_of_offsets(offsets, true, "cu"); });
}
std::string positions_error(const Numbers& positions) {
  return test::input_error([&] { documents_of_positions(positions, false, "pos"); });
}
std::string numbers_error(const Numbers& numbers, bool zero_pads) {
  return test::input_error([&] { documents_of_numbers(numbers, zero_pads, "ids"); });
}
std::string doubt(const Numbers& values, bool named = false) {
  try {
    refuse_doubtful_lengths(values, named, "data");
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(DocumentLists, SayTheSameOfRandomPacks) {
  std::mt19937 random(8);
  for (int round = 0; round < 300; ++round) {
    Numbers documents(1 + random() % 9), offsets{0}, starts, positions, numbers;
    for (std::int64_t& tokens : documents) tokens = 1 + static_cast<std::int64_t>(random() % 20);
    documents.back() = std::max<std::int64_t>(documents.back(), 2);  // one-token tails look like padding
    for (std::size_t i = 0; i < documents.size(); ++i) {
      starts.push_back(offsets.back());
      offsets.push_back(offsets.back() + documents[i]);
      for (std::int64_t p = 0; p < documents[i]; ++p) positions.push_back(p);
      numbers.insert(numbers.end(), static_cast<std::size_t>(documents[i]), static_cast<std::int64_t>(i) + 1);
    }
    const std::int64_t tokens = offsets.back();
    EXPECT_EQ(documents_of_offsets(offsets, true, "").documents, documents);
    EXPECT_EQ(documents_of_starts(starts, tokens, "").documents, documents);
    EXPECT_EQ(documents_of_positions(positions, false, "").documents, documents);
    EXPECT_EQ(documents_of_numbers(numbers, true, "").documents, documents);
    const std::size_t fill = random() % 5;
    Numbers repeated = offsets, marked = offsets, padded = numbers, lengths = documents;
    repeated.insert(repeated.end(), fill, tokens);
    marked.insert(marked.end(), fill, random() % 2 == 0 ? -1 : -1000);
    padded.insert(padded.end(), fill, 0);
    lengths.insert(lengths.end(), fill, -1000);
    EXPECT_EQ(documents_of_offsets(repeated, true, "").documents, documents);
    EXPECT_EQ(documents_of_offsets(marked, true, "").documents, documents);
    EXPECT_EQ(documents_of_lengths(lengths, "").documents, documents);
    const DocumentList with_padding = documents_of_numbers(padded, true, "");
    EXPECT_EQ(with_padding.documents, documents);
    EXPECT_EQ(with_padding.padding, static_cast<std::int64_t>(fill));
  }
}

TEST(DocumentLists, OffsetsBeginWithZeroAndDoNotFall) {
  EXPECT_EQ(
      offsets_error({5, 9}),
      "cu: found offsets from 5, expected offsets that begin with 0 and end with the tokens of the pack");
  EXPECT_EQ(offsets_error({0, 9, 7}),
            "cu[2]: found offset 7 after 9, expected offsets from 0 that do not fall");
  EXPECT_EQ(documents_of_offsets(Numbers{9, 17}, false, "").documents, (Numbers{9, 8}));
  EXPECT_EQ(documents_of_offsets(Numbers{0, 4, 4, 7}, true, "").documents, (Numbers{4, 0, 3}))
      << "an empty document inside is kept for the caller to count";
}

TEST(DocumentLists, PositionsFollowOrRestart) {
  EXPECT_EQ(documents_of_positions(Numbers{57, 58, 0, 1}, false, "").documents, (Numbers{2, 2}))
      << "a pack may begin inside a document";
  EXPECT_EQ(documents_of_positions(Numbers{1, 2, 1, 2, 3}, false, "").documents, (Numbers{2, 3}));
  EXPECT_EQ(positions_error({0, 1, 3}), "pos[2]: found position 3 after 1, expected 2, or a restart at 0");
  EXPECT_EQ(
      positions_error({0, 1, 0, 0}),
      "pos: found 2 positions of 0 at the end, expected no padding, or a key that tells it from documents "
      "of one token: attention_mask or lengths");
  EXPECT_EQ(documents_of_positions(Numbers{0, 1, 0, 0}, true, "").documents, (Numbers{2, 1, 1}));
}

TEST(DocumentLists, NumbersKeepTheTokensOfADocumentTogether) {
  EXPECT_EQ(documents_of_numbers(Numbers{0, 0, 1, 1}, false, "").documents, (Numbers{2, 2}));
  EXPECT_EQ(documents_of_numbers(Numbers{0, 0, 1, 1}, true, "").documents, (Numbers{2})) << "left padding";
  EXPECT_EQ(
      numbers_error({1, 2, 1}, true),
      "ids[2]: found document 1 again, after document 2, expected the tokens of a document side by side");
  EXPECT_EQ(numbers_error({1, 0, 1}, true),
            "ids[2]: found document 1 behind padding, expected padding at the begin or the end of the row");
  EXPECT_EQ(
      numbers_error({0, 1, 0}, false),
      "ids[2]: found document 0 again, after document 1, expected the tokens of a document side by side");
}

TEST(DocumentLists, ZerosBeforeTheFirstDocumentHaveTwoReadings) {
  const auto readings = zero_readings(Numbers{0, 0, 0, 1, 1, 2, 2, 2});
  ASSERT_TRUE(readings.has_value());
  EXPECT_EQ(readings->counted_from_zero, (Numbers{3, 2, 3}));
  EXPECT_EQ(readings->zero_pads, (Numbers{2, 3}));
  EXPECT_EQ(zero_readings(Numbers{-1, 0, 0, 1})->begin, 1U) << "behind padding that says so";
  EXPECT_FALSE(zero_readings(Numbers{1, 1, 0}).has_value());
  EXPECT_FALSE(zero_readings(Numbers{-1, -1}).has_value());
}

TEST(DocumentLists, StartsLieWithinTheRow) {
  EXPECT_EQ(documents_of_starts(Numbers{0}, 5, "").documents, Numbers{5});
  EXPECT_NE(test::input_error([] { documents_of_starts(Numbers{0, 7}, 5, "starts"); }), "");
  EXPECT_NE(test::input_error([] { documents_of_starts(Numbers{2, 3}, 5, "starts"); }), "");
}

TEST(DocumentLists, ListsThatCouldBeOffsetsOrPositionsAreDoubtful) {
  EXPECT_EQ(
      doubt({9, 17, 25, 37, 45, 57}),
      "data: found 6 numbers that rise strictly, which may be lengths (190 tokens) or offsets (57 tokens), "
      "expected --lengths-are lengths, offsets or positions, which says how to read them");
  EXPECT_NE(doubt({0, 9, 17}), "");
  EXPECT_NE(doubt({0, 9, 17}, true), "") << "a key of lengths does not hold what begins with 0 and rises";
  EXPECT_NE(doubt({1, 2, 3, 1, 2}), "");
  EXPECT_NE(doubt({0, 1, 2, 0, 1}), "");
  EXPECT_EQ(doubt({3, 5}), "") << "two lengths that rise say nothing";
  EXPECT_EQ(doubt({3, 5, 9}), "");
  EXPECT_EQ(doubt({5, 9, 9, 12, 20}), "") << "sorted lengths with a tie are no offsets of documents";
  EXPECT_EQ(doubt({1, 1, 1, 1}), "") << "both readings give the same documents";
  EXPECT_EQ(doubt({9, 17, 25, 37}, true), "") << "the key says what they are";
}

TEST(DocumentLists, OffsetsOfRandomPacksAreNeverTakenForLengths) {
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    Numbers offsets{0};
    const std::size_t documents = 2 + random() % 30;
    while (offsets.size() <= documents)
      offsets.push_back(offsets.back() + 1 + static_cast<std::int64_t>(random() % 500));
    EXPECT_NE(doubt(offsets), "");
    EXPECT_NE(doubt(offsets, true), "");
    offsets.erase(offsets.begin());
    EXPECT_EQ(doubt(offsets).empty(), offsets.size() < 4);
  }
}

}  // namespace
}  // namespace strata
