// SPDX-License-Identifier: Apache-2.0
// Every kind of length file people have is told apart by its content and read the same way. Shown on the
// recorded samples and on small texts.
#include "traces/lengths/length_source.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>
#include <sstream>

#include "tests/core/json/bad_input.hpp"
#include "tests/traces/lengths/made_files.hpp"

namespace strata {
namespace {

using Lengths = std::vector<std::int64_t>;

LengthSource read(const std::string& text) {
  std::istringstream in(text);
  return read_length_source(in, "data");
}

LengthSource sample(const std::string& file) {
  return read_length_source(std::filesystem::path(test::sample_path(file)));
}

std::int64_t sum(const Lengths& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

TEST(LengthSource, ReadsTheRecordedSamples) {
  const LengthSource wikipedia = sample("wikipedia_1000.txt");
  EXPECT_EQ(wikipedia.description, "text without a header, one length a line, 1000 lines");
  EXPECT_EQ(wikipedia.lengths.size(), 1000U);
  EXPECT_EQ(wikipedia.lengths[2], 1330);

  const LengthSource azure = sample("azure_conv_200.csv");
  EXPECT_EQ(azure.description, "CSV with a header, ContextTokens + GeneratedTokens, 200 rows");
  EXPECT_EQ(azure.lengths.size(), 200U);
  EXPECT_EQ(azure.lengths[0], 374 + 44);
  EXPECT_EQ(azure.lengths[199], 1143 + 409);

  const LengthSource prolong = sample("distca_prolong_500.json");
  EXPECT_EQ(prolong.description, "JSON list of 500 lengths");
  EXPECT_EQ(prolong.lengths[1], 6388);

  const LengthSource index = sample("codeparrot_content_document.idx");
  EXPECT_EQ(index.description, "Megatron .idx, 20000 documents in 20000 sequences of uint16 tokens");
  EXPECT_EQ(sum(index.lengths), 52'102'208);

  const LengthSource shuffled = sample("codeparrot_128k.jsonl");
  EXPECT_EQ(shuffled.description, "JSON lines, seqlens (fixed packs), 32 rows");
  ASSERT_EQ(shuffled.batches.size(), 32U);
  EXPECT_FALSE(shuffled.whole_steps);
  EXPECT_EQ(sum(shuffled.lengths), 32 * 131'072);
  EXPECT_EQ(sum(sample("codeparrot_32k.jsonl").lengths), 16 * 32'768);
  EXPECT_EQ(sum(sample("codeparrot_128k_all.jsonl").lengths), std::int64_t{781} * 131'072);
}

TEST(LengthSource, ThePartsOfAnIndexCacheAreNamed) {
  for (const char* file : {"train_seq131072_doc_idx.npy", "train_seq131072_sample_idx.npy",
                           "train_seq131072_shuffle_idx.npy", "train_seq131072.dsc"}) {
    EXPECT_EQ(
        test::input_error([&] { sample(file); }),
        test::sample_path(file) +
            ": found a part of Megatron's index cache, which holds no lengths, expected the .idx of the data "
            "set, or recorded batches");
  }
}

TEST(LengthSource, TextHasCommentsBlanksAndAnyLineEnd) {
  EXPECT_EQ(read("# lengths\n\n 12\r\n7 # seven\n\t5").lengths, (Lengths{12, 7, 5}));
  EXPECT_EQ(read("\xef\xbb\xbf"
                 "3\n2147483647\n")
                .lengths,
            (Lengths{3, 2147483647}));
}

TEST(LengthSource, EveryUsualColumnIsKnown) {
  for (const char* name : {"length", "seq_len", "seqlen", "num_tokens", "n_tokens", "token_count",
                           "total_lengths", "seq_lengths"}) {
    const LengthSource source = read("id," + std::string(name) + "\na,5\nb,6\n");
    EXPECT_EQ(source.lengths, (Lengths{5, 6})) << name;
    EXPECT_EQ(source.description, "CSV with a header, " + std::string(name) + ", 2 rows");
    EXPECT_EQ(read(std::string(name) + "\n5\n6\n").lengths, (Lengths{5, 6}))
        << "a single column named " << name;
    EXPECT_EQ(
        read("{\"" + std::string(name) + "\": 5}\n{\"" + std::string(name) + "\": 6, \"x\": null}\n").lengths,
        (Lengths{5, 6}))
        << name;
  }
  EXPECT_EQ(read("t,output_length,input_length\n0,1,10\n1,0,20\n").lengths, (Lengths{11, 20}));
  EXPECT_EQ(read("ContextTokens;GeneratedTokens\n3;4\n").lengths, (Lengths{7}));
  EXPECT_EQ(read("num_prefill_tokens\tnum_decode_tokens\tnum_total_tokens\n3\t4\t7\n").lengths, (Lengths{7}));
  EXPECT_EQ(read("{\"input_length\": 3, \"output_length\": 0}").lengths, (Lengths{3}));
  EXPECT_EQ(read("[{\"length\": 3}, {\"length\": 4}]").description, "JSON list of objects, length, 2 rows");
}

TEST(LengthSource, AColumnAloneIsPreferredOverASum) {
  const LengthSource source = read("input_length,output_length,seq_len\n10,20,30\n");
  EXPECT_EQ(source.lengths, (Lengths{30}));
  EXPECT_EQ(source.description, "CSV with a header, seq_len, 1 row");
}

TEST(LengthSource, OneOfAThingIsNotNamedAsSeveral) {
  EXPECT_EQ(read("7\n").description, "text without a header, one length a line, 1 line");
  EXPECT_EQ(read("length\n5\n").description, "CSV with a header, length, 1 row");
  EXPECT_EQ(read("[7]").description, "JSON list of 1 length");
  EXPECT_EQ(read("{\"length\": 3}\n").description, "JSON lines, length, 1 row");
  EXPECT_EQ(read("{\"step\": 0, \"packs\": [[3, 4]]}\n").description, "JSON lines, 1 step");
  EXPECT_EQ(read(test::made_npy({7})).description, ".npy array of 1 <i4 item");
  test::MadeIndex index;
  index.lengths = {5};
  EXPECT_EQ(read(index.bytes()).description, "Megatron .idx, 1 document in 1 sequence of uint16 tokens");
}

TEST(LengthSource, QuotedFieldsMayHoldTheSeparator) {
  EXPECT_EQ(read("prompt,\"length\"\n\"a, \"\"b\"\"\",5\n\"\",6\n").lengths, (Lengths{5, 6}));
}

TEST(LengthSource, JsonLinesMayHoldTokensPacksOrBatches) {
  const LengthSource ids = read("{\"input_ids\": [9, 9, 9]}\n\n{\"input_ids\": [9]}\n");
  EXPECT_EQ(ids.lengths, (Lengths{3, 1}));
  EXPECT_EQ(ids.description, "JSON lines, input_ids (their number), 2 rows");

  const LengthSource packs = read("{\"seq_lengths\": [3, 4]}\n{\"seq_lengths\": [7]}\n");
  EXPECT_EQ(packs.lengths, (Lengths{3, 4, 7}));
  EXPECT_EQ(packs.batches, (std::vector<Batch>{{0, true, {{3, 4}}}, {1, true, {{7}}}}));
  EXPECT_EQ(packs.description, "JSON lines, seq_lengths (fixed packs), 2 rows");

  const LengthSource rollouts = read("{\"total_lengths\": [3, 4], \"response_lengths\": [1, 1]}\n");
  EXPECT_EQ(rollouts.batches, (std::vector<Batch>{{0, false, {{3, 4}}}}));

  const LengthSource steps = read("{\"step\": 4, \"packs\": [[3, 4], [5]]}\n");
  EXPECT_EQ(steps.batches, (std::vector<Batch>{{4, true, {{3, 4}, {5}}}}));
  EXPECT_EQ(steps.lengths, (Lengths{3, 4, 5}));
  const LengthSource free = read("{\"step\": 0, \"documents\": [3, 4]}\n");
  EXPECT_EQ(free.batches, (std::vector<Batch>{{0, false, {{3, 4}}}}));
  EXPECT_EQ(free.description, "JSON lines, 1 step");
}

TEST(LengthSource, NpyArraysAreRead) {
  const LengthSource source = read(test::made_npy({3, 4, 5}));
  EXPECT_EQ(source.lengths, (Lengths{3, 4, 5}));
  EXPECT_EQ(source.description, ".npy array of 3 <i4 items");
}

TEST(LengthSource, LinesAcrossTheReadersPiecesStayWhole) {
  std::string text;
  Lengths expected;
  for (std::int64_t i = 0; i < 60'000; ++i) {
    expected.push_back(1 + i * 7919 % 1'000'000);
    text += std::to_string(expected.back()) + (i % 3 == 0 ? "\r\n" : "\n");
  }
  EXPECT_EQ(read(text).lengths, expected);
}

}  // namespace
}  // namespace strata
