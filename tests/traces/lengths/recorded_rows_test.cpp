// SPDX-License-Identifier: Apache-2.0
// Rows as trainers record them: keys of one row agree or are refused, padding is counted, fillers are skipped
// with a note, and rows of one step come together.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <sstream>

#include "core/base/check.hpp"
#include "core/problem/batch_json.hpp"
#include "tests/core/json/bad_input.hpp"
#include "tests/traces/lengths/made_files.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {
namespace {

using Lengths = std::vector<std::int64_t>;
using Names = std::vector<std::string>;

LengthSource read(const std::string& text, const LengthOptions& options = {}) {
  std::istringstream in(text);
  return read_length_source(in, "data", options);
}
std::string error_of(const std::string& text, const LengthOptions& options = {}) {
  return test::input_error([&] { read(text, options); });
}
std::string list(const Lengths& numbers) { return fmt::format("[{}]", fmt::join(numbers, ",")); }

TEST(RecordedRows, AnyKeysThatAgreeGiveTheSamePack) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    Lengths documents(1 + random() % 6), offsets{0}, padded{0}, starts, positions, numbers, mask;
    for (std::int64_t& tokens : documents) tokens = 2 + static_cast<std::int64_t>(random() % 9);
    for (std::size_t i = 0; i < documents.size(); ++i) {
      starts.push_back(offsets.back());
      offsets.push_back(offsets.back() + documents[i]);
      padded.push_back(padded.back() + (documents[i] + 3) / 4 * 4);
      for (std::int64_t p = 0; p < documents[i]; ++p) positions.push_back(p);
      numbers.insert(numbers.end(), static_cast<std::size_t>(documents[i]), static_cast<std::int64_t>(i) + 1);
    }
    mask.assign(positions.size(), 1);
    const std::string ids = list(Lengths(positions.size(), 7));
    Names keys = {"\"seq_lengths\":" + list(documents),
                  "\"cu_seqlens_q\":" + list(offsets),
                  "\"position_ids\":" + list(positions),
                  "\"segment_ids\":" + list(numbers),
                  "\"attention_mask\":" + list(mask),
                  "\"loss_mask\":" + list(mask),
                  "\"input_ids\":" + ids,
                  "\"cu_seq_lens_k\":[" + list(offsets) + "]",
                  fmt::format("\"max_seqlen\":{}", *std::max_element(documents.begin(), documents.end()))};
    std::shuffle(keys.begin(), keys.end(), random);
    keys.resize(1 + random() % keys.size());
    keys.push_back("\"seqlens\":" + list(documents));
    std::shuffle(keys.begin(), keys.end(), random);
    const LengthSource source = read(fmt::format("{{{}}}", fmt::join(keys, ",")));
    EXPECT_EQ(source.batches, (std::vector<Batch>{{0, true, {documents}}}))
        << fmt::format("{}", fmt::join(keys, ","));
    EXPECT_EQ(source.padding_tokens, 0);
    EXPECT_EQ(source.used_keys.size(), keys.size()) << "every key of the row is used";
    const LengthSource twin =
        read(fmt::format("{{\"cu_seqlens\":{},\"cu_seqlens_padded\":{}}}", list(offsets), list(padded)));
    EXPECT_EQ(twin.lengths, documents);
    EXPECT_EQ(twin.padding_tokens, padded.back() - offsets.back());
  }
}

TEST(RecordedRows, KeysThatDisagreeAreRefusedNamingBoth) {
  EXPECT_EQ(error_of("{\"seq_lengths\":[5,3],\"cu_seqlens\":[0,4,8]}"),
            "data: line 1: cu_seqlens: found documents of 4, 4 tokens, expected documents of 5, 3 tokens, as "
            "seq_lengths says");
  EXPECT_EQ(
      error_of("{\"cu_seqlens_q\":[0,5,8],\"cu_seqlens_kv\":[0,4,8]}"),
      "data: line 1: cu_seqlens_kv: found documents of 4, 4 tokens, expected documents of 5, 3 tokens, as "
      "cu_seqlens_q says");
  EXPECT_EQ(error_of("{\"input_ids\":[1,2,3],\"seqlens\":[2,2]}"),
            "data: line 1: input_ids: found 3 tokens, expected the 4 that seqlens says");
  EXPECT_EQ(error_of("{\"cu_seqlens\":[0,5,8],\"max_seqlen\":4}"),
            "data: line 1: max_seqlen: found 4, expected at least the longest document, 5");
  EXPECT_EQ(error_of("{\"cu_seqlens\":[0,5,8],\"cu_seqlens_padded\":[0,4,8]}"),
            "data: line 1: cu_seqlens_padded: found 4 tokens with the padding of document 0, expected at "
            "least its 5");
  EXPECT_EQ(error_of("{\"input_ids\":[1,2,3],\"loss_mask\":[1]}"),
            "data: line 1: loss_mask: found a list of 1, expected 3, one for every token");
  EXPECT_NE(error_of("{\"input_ids\":[1,2,3,4],\"attention_mask\":[1,1,1,0],\"seqlens\":[4]}"), "");
}

TEST(RecordedRows, BordersThatLackTheirOtherHalfAreRefusedByName) {
  for (const char* row : {"{\"cu_seqlens_padded\":[0,8]}", "{\"padded_seqlens\":[8]}",
                          "{\"seq_start_id\":[0,3]}", "{\"input_ids\":[1,2],\"cu_seqlens_argmin\":1}"}) {
    const std::string error = error_of(row);
    const std::string key = error.substr(0, error.find(": found"));
    EXPECT_NE(key.find_first_of('_'), std::string::npos) << error;
  }
}

TEST(RecordedRows, FillAndSentinelsEndALists) {
  EXPECT_EQ(read("{\"cu_seqlens\":[0,6,10,-1,-1],\"cu_seqlens_argmin\":3,\"max_seqlen\":[6]}").lengths,
            (Lengths{6, 4}));
  EXPECT_EQ(read("{\"cu_seqlens\":[0,6,10,10,10]}").lengths, (Lengths{6, 4}));
  EXPECT_EQ(read("{\"seq_lens\":[6,4,-1000],\"seq_lens_padded\":[8,4,-1000]}").padding_tokens, 2);
  EXPECT_EQ(read("{\"cu_seqlens\":[0,8,12],\"cu_seqlens_unpadded\":[0,6,10]}").lengths, (Lengths{6, 4}))
      << "beside unpadded offsets the plain ones are padded";
  EXPECT_EQ(read("{\"seq_lengths\":[9,0,12,0,0]}").notes, Names{"3 documents of 0 tokens skipped"});
}

TEST(RecordedRows, PaddingIsCountedAndNotPlanned) {
  const LengthSource masked = read("{\"input_ids\":[1,2,3,4,5],\"attention_mask\":[1,1,1,0,0]}\n");
  EXPECT_EQ(masked.lengths, Lengths{3});
  EXPECT_EQ(masked.padding_tokens, 2);
  EXPECT_TRUE(masked.batches.empty()) << "one document a row is no pack";
  const LengthSource numbered = read("{\"input_ids\":[1,2,3,4,5],\"attention_mask\":[1,1,2,2,0]}\n");
  EXPECT_EQ(numbered.batches, (std::vector<Batch>{{0, true, {{2, 2}}}}));
  EXPECT_EQ(numbered.padding_tokens, 1);
  const LengthSource positions =
      read("{\"input_ids\":[1,2,3,4,5],\"position_ids\":[0,1,0,1,1],\"attention_mask\":[1,1,1,1,0]}\n");
  EXPECT_EQ(positions.lengths, (Lengths{2, 2}));
  EXPECT_EQ(positions.padding_tokens, 1);
  EXPECT_EQ(read("{\"seqlens\":[9,8],\"padded_seqlens\":[12,8]}").notes,
            (Names{"padding: 3 tokens, all in document 0",
                   "padding: second half of rank 0 of document 0 is all padding at cp 2, split zigzag at the "
                   "padded length"}));
  // Less than a fourth, and a length that two ranks do not split.
  EXPECT_EQ(read("{\"seqlens\":[10,8],\"padded_seqlens\":[12,8]}").notes,
            Names{"padding: 2 tokens, all in document 0"});
  EXPECT_EQ(read("{\"seqlens\":[5,8],\"padded_seqlens\":[10,8]}").notes,
            Names{"padding: 5 tokens, all in document 0"});
  EXPECT_EQ(
      read("{\"seqlens\":[6,8],\"padded_seqlens\":[8,12]}").notes,
      (Names{"padding: 6 tokens, in 2 documents",
             "padding: second half of rank 0 of 2 documents is all padding at cp 2, split zigzag at the "
             "padded length"}));
}

TEST(RecordedRows, NumbersThatBeginWithZeroAreADocumentOrPaddingButNotAGuess) {
  EXPECT_EQ(
      error_of("{\"segment_ids\":[0,0,0,1,1,2,2,2]}"),
      "data: line 1: segment_ids: found numbers that begin with 0, which may be a document (3 documents "
      "of 8 tokens) or padding (2 documents of 5 tokens), expected numbers from 1, or a key beside them "
      "that tells: attention_mask, position_ids or seqlens");
  for (const char* key : {"segment_id", "decoder_segment_ids", "inputs_segmentation"}) {
    for (const char* more :
         {"", ",\"position_ids\":[0,0,1]", ",\"position_ids\":[0,1,2]", ",\"attention_mask\":[0,0,1,1]"}) {
      const std::string row = fmt::format("{{\"{}\":[0,1,1]{}}}", key, more);
      EXPECT_NE(error_of(row).find("which may be a document"), std::string::npos) << row << error_of(row);
    }
  }
  EXPECT_NE(error_of("{\"segment_ids\":[0,0,1,1],\"position_ids\":[0,1,2,3]}").find("which may be"),
            std::string::npos)
      << "positions that go on through the pack tell nothing";
  EXPECT_NE(error_of("{\"segment_ids\":[0,0,1,1],\"seqlens\":[3,1]}").find("as seqlens says"),
            std::string::npos);
  EXPECT_EQ(read("{\"attention_mask\":[0,0,1,1,2]}").lengths, (Lengths{2, 1})) << "it pads with 0";
  EXPECT_EQ(error_of("{\"segment_ids\":[1,2,0],\"attention_mask\":[1,1,1]}"),
            "data: line 1: segment_ids: found padding in 1 of 3 tokens, expected the 0 of 3 that "
            "attention_mask marks");
}

TEST(RecordedRows, AMaskPositionsOrLengthsTellWhetherZeroIsADocument) {
  std::mt19937 random(12);
  for (int round = 0; round < 300; ++round) {
    Lengths documents(2 + random() % 4), numbers, arising, shifted;
    for (std::int64_t& tokens : documents) tokens = 2 + static_cast<std::int64_t>(random() % 5);
    for (std::size_t i = 0; i < documents.size(); ++i) {
      numbers.insert(numbers.end(), static_cast<std::size_t>(documents[i]), static_cast<std::int64_t>(i));
      // Positions of left padding are all 0, those of a document rise.
      for (std::int64_t p = 0; p < documents[i]; ++p) {
        arising.push_back(p);
        shifted.push_back(i == 0 ? 0 : p);
      }
    }
    Lengths ones(numbers.size(), 1), mask = ones;
    std::fill_n(mask.begin(), documents[0], 0);
    const Lengths padded(documents.begin() + 1, documents.end());
    const std::string ids = "{\"input_ids\":" + list(ones) + ",\"segment_ids\":" + list(numbers) + ",";
    for (const std::string& more : {"\"position_ids\":" + list(arising), "\"attention_mask\":" + list(ones),
                                    "\"seqlens\":" + list(documents)}) {
      EXPECT_EQ(read(ids + more + "}").lengths, documents) << ids << more;
      EXPECT_EQ(read(ids + more + "}").padding_tokens, 0);
    }
    for (const std::string& more : {"\"position_ids\":" + list(shifted), "\"attention_mask\":" + list(mask),
                                    "\"seqlens\":" + list(padded)}) {
      EXPECT_EQ(read(ids + more + "}").lengths, padded) << ids << more;
      EXPECT_EQ(read(ids + more + "}").padding_tokens, documents[0]);
    }
  }
  const LengthSource filled = read("{\"segment_ids\":[0,0,0,1,1,0],\"attention_mask\":[1,1,1,1,1,0]}");
  EXPECT_EQ(filled.lengths, (Lengths{3, 2}));
  EXPECT_EQ(filled.padding_tokens, 1);
}

TEST(RecordedRows, OneDocumentARowIsAPackWhereOtherRowsHoldSeveral) {
  const LengthSource source = read("{\"position_ids\":[0,1,2]}\n{\"position_ids\":[0,1,0]}\n");
  EXPECT_EQ(source.batches, (std::vector<Batch>{{0, true, {{3}}}, {1, true, {{2, 1}}}}));
  EXPECT_EQ(read("{\"position_ids\":[0,1,2]}\n{\"position_ids\":[0,1]}\n").batches, std::vector<Batch>{});
}

TEST(RecordedRows, RowsOfOneStepComeTogether) {
  const LengthSource packs =
      read("{\"batch\":4,\"seqlens\":[5]}\n{\"batch\":5,\"seqlens\":[6]}\n{\"batch\":4,\"seqlens\":[7]}\n");
  EXPECT_EQ(packs.batches, (std::vector<Batch>{{4, true, {{5}, {7}}}, {5, true, {{6}}}}));
  EXPECT_TRUE(packs.whole_steps);
  const LengthSource documents = read("step,length\n0,5\n0,6\n1,7\n");
  EXPECT_EQ(documents.batches, (std::vector<Batch>{{0, false, {{5, 6}}}, {1, false, {{7}}}}));
  EXPECT_NE(error_of("{\"batch\":0,\"seqlens\":[5]}\n{\"seqlens\":[5]}\n"), "");
}

TEST(RecordedRows, CopiesOfAHistogramCount) {
  EXPECT_EQ(read("length,count\n4,2\n7,0\n9,1\n").lengths, (Lengths{4, 4, 9}));
  EXPECT_EQ(read("{\"length\":4,\"count\":3}").lengths, (Lengths{4, 4, 4}));
  EXPECT_EQ(error_of("length,frequency\n4,0.5\n"),
            "data:2: found \"0.5\", expected frequency, an integer from 0 to 9223372036854775807");
  EXPECT_EQ(error_of("length,weight\n4,2\n"),
            "data:1: found the key \"weight\", shares, not numbers of documents: give counts, expected a key "
            "that is "
            "understood, or --ignore-keys weight");
  EXPECT_EQ(error_of("length,count\n4,200000000\n"),
            "data:2: found more than 33,554,432 documents, expected fewer");
}

TEST(RecordedRows, RowsOfOneDocumentKeepTheirOrderBesideThoseOfSeveral) {
  const LengthSource source = read(
      "{\"input_ids\":[1,2]}\n{\"input_ids\":[1,2,3],\"attention_mask\":[1,1,1]}\n"
      "{\"input_ids\":[1,2,3],\"attention_mask\":[1,2,2]}\n{\"input_ids\":[1]}\n");
  EXPECT_EQ(source.batches,
            (std::vector<Batch>{{0, true, {{2}}}, {1, true, {{3}}}, {2, true, {{1, 2}}}, {3, true, {{1}}}}));
  EXPECT_EQ(source.description, "JSON lines, input_ids (their number), 4 rows");
}

TEST(RecordedRows, ManyDifferentKeysAreListedUpToALimit) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += fmt::format("{{\"length\":5,\"k{}\":1}}\n", i);
  const LengthSource source = read(text);
  EXPECT_EQ(source.lengths.size(), 2000U);
  EXPECT_EQ(source.unused_keys.size(), 257U);
  EXPECT_EQ(source.unused_keys.back(), "...");
}

TEST(RecordedRows, ReadingCanBeginAtALine) {
  const auto from = [](std::int64_t line) {
    LengthOptions options;
    options.line = line;
    return options;
  };
  EXPECT_EQ(read("{\"seqlens\":[5]}\nnot read\n{\"seqlens\":[7]}\n", from(3)).lengths, Lengths{7});
  EXPECT_EQ(read("5\n6\n7\n", from(2)).lengths, (Lengths{6, 7}));
  EXPECT_EQ(read("length\n5\n6\n", from(3)).lengths, Lengths{6}) << "the header is read first";
  EXPECT_EQ(error_of("length\n5\n", from(9)), "data: found 2 lines, expected a line 9");
  EXPECT_EQ(error_of("5\n6\n", from(3)), "data: found 2 lines, expected a line 3");
  EXPECT_EQ(
      error_of("[5, 6]", from(1)),
      "data:1: found a line number, but one JSON document has no lines that count, expected the file without "
      "a line number");
  EXPECT_EQ(
      error_of(test::made_npy({5}), from(1)),
      "data:1: found a line number, but an .npy array has no lines, expected the file without a line number");
}

TEST(RecordedRows, AnObjectMayTakeSeveralLines) {
  EXPECT_EQ(read("{\n  \"cu_seqlens\": [0,\n 5, 8]\n}\n").lengths, (Lengths{5, 3}));
}

TEST(RecordedRows, AListIsReadAsTheOptionSays) {
  LengthOptions options;
  options.reading = LengthReading::offsets;
  EXPECT_EQ(read("[9, 17, 25]", options).batches, (std::vector<Batch>{{0, true, {{9, 8, 8}}}}));
  EXPECT_EQ(read("0\n9\n17\n17\n", options).lengths, (Lengths{9, 8}));
  EXPECT_EQ(read("{\"seqlens\":[0,6,10]}", options).lengths, (Lengths{6, 4}));
  EXPECT_EQ(
      error_of("{\"cu_seqlens\":[0,6,10]}", options),
      "--lengths-are: found data, which says itself what its numbers are, expected a list without names, or "
      "no such option");
  options.reading = LengthReading::positions;
  EXPECT_EQ(read(test::made_npy({1, 2, 3, 1, 2}), options).lengths, (Lengths{3, 2}));
  options.reading = LengthReading::lengths;
  EXPECT_EQ(read("[9, 17, 25, 37]", options).lengths, (Lengths{9, 17, 25, 37}));
}

TEST(RecordedRows, WhatIsReadCanBeWrittenInStratasOwnForm) {
  std::string written;
  const LengthSource source = read(
      "{\"step\":3,\"packs\":[[5,0,6],[],[7]]}\n{\"documents\":[8,9]}\n{\"batch\":9,\"seqlens\":[1,2]}\n");
  for (const Batch& batch : source.batches) written += to_json(batch) + "\n";
  EXPECT_EQ(written,
            "{\"step\":3,\"packs\":[[5,6],[7]]}\n{\"step\":1,\"documents\":[8,9]}\n{\"step\":9,\"packs\":[[1,"
            "2]]}\n");
  EXPECT_EQ(read(written).batches, source.batches);
}

}  // namespace
}  // namespace strata
