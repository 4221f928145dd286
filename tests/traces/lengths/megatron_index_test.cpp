// SPDX-License-Identifier: Apache-2.0
// Megatron's files are read as Megatron writes them. Shown on a genuine index and index cache, whose totals
// and 781 recorded packs are known, and on small files made byte by byte, one fault each.
#include "traces/lengths/megatron_index.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <sstream>

#include "core/json/json_document.hpp"
#include "tests/core/json/bad_input.hpp"
#include "tests/traces/lengths/made_files.hpp"
#include "traces/lengths/index_cache.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {
namespace {

using test::input_error;
using test::made_npy;
using test::MadeIndex;
using test::sample_path;

MegatronIndex read(const std::string& bytes) {
  std::istringstream in(bytes);
  return read_megatron_index(in, "a.idx");
}

std::string error_of(const std::string& bytes) {
  return input_error([&] { read(bytes); });
}
std::string error_of(const MadeIndex& index) { return error_of(index.bytes()); }

TEST(MegatronIndex, AGenuineFileHasItsKnownTotals) {
  const MegatronIndex index =
      read_megatron_index(std::filesystem::path(sample_path("codeparrot_content_document.idx")));
  EXPECT_EQ(index.summary, (MegatronIndexSummary{"uint16", 2, 20'000, 20'000, 52'102'208, false}));
  ASSERT_EQ(index.document_lengths.size(), 20'000U);
  EXPECT_EQ(*std::min_element(index.document_lengths.begin(), index.document_lengths.end()), 180);
  EXPECT_EQ(*std::max_element(index.document_lengths.begin(), index.document_lengths.end()), 175'926);
}

TEST(MegatronIndex, DocumentsOfSeveralSequencesAreSummed) {
  MadeIndex made;
  made.lengths = {5, 7, 1, 9};
  made.documents = {0, 2, 3, 4};
  const MegatronIndex index = read(made.bytes());
  EXPECT_EQ(index.sequence_lengths, (std::vector<std::int32_t>{5, 7, 1, 9}));
  EXPECT_EQ(index.document_lengths, (std::vector<std::int64_t>{12, 1, 9}));
  EXPECT_EQ(index.summary, (MegatronIndexSummary{"uint16", 2, 4, 3, 22, false}));
}

TEST(MegatronIndex, TheModesOfAMultimodalSetAreToldFromTheSize) {
  MadeIndex made;
  made.lengths = {5, 7};
  made.modes = true;
  EXPECT_TRUE(read(made.bytes()).summary.has_modes);
  EXPECT_EQ(read(made.bytes()).document_lengths, (std::vector<std::int64_t>{5, 7}));
}

TEST(MegatronIndex, EveryTokenTypeHasItsWidth) {
  const std::vector<std::pair<std::string, int>> types = {{"uint8", 1},   {"int8", 1},  {"int16", 2},
                                                          {"int32", 4},   {"int64", 8}, {"float64", 8},
                                                          {"float32", 4}, {"uint16", 2}};
  for (std::size_t code = 1; code <= types.size(); ++code) {
    MadeIndex made;
    made.token_type = static_cast<int>(code);
    made.lengths = {10, 3};
    made.offsets = {0, 10 * types[code - 1].second};
    EXPECT_EQ(read(made.bytes()).summary.token_type, types[code - 1].first);
    EXPECT_EQ(read(made.bytes()).summary.bytes_per_token, types[code - 1].second);
  }
}

RC_GTEST_PROP(MegatronIndexProperty, WhatWasWrittenIsReadBack, ()) {
  MadeIndex made;
  for (const std::uint16_t tokens : *rc::gen::nonEmpty<std::vector<std::uint16_t>>()) {
    made.lengths.push_back(tokens + 1);
  }
  made.modes = *rc::gen::arbitrary<bool>();
  // A document begins at sequence 0 and wherever the coin says so.
  std::vector<std::int64_t> sums;
  for (std::size_t sequence = 0; sequence < made.lengths.size(); ++sequence) {
    if (sequence == 0 || *rc::gen::arbitrary<bool>()) {
      made.documents.push_back(static_cast<std::int64_t>(sequence));
      sums.push_back(0);
    }
    sums.back() += made.lengths[sequence];
  }
  made.documents.push_back(std::ssize(made.lengths));
  const MegatronIndex index = read(made.bytes());
  RC_ASSERT(std::vector<std::int64_t>(index.sequence_lengths.begin(), index.sequence_lengths.end()) ==
            made.lengths);
  RC_ASSERT(index.document_lengths == sums);
  RC_ASSERT(index.summary.sequence_count == std::ssize(made.lengths));
  RC_ASSERT(index.summary.document_count == std::ssize(sums));
  RC_ASSERT(index.summary.token_count == std::accumulate(sums.begin(), sums.end(), std::int64_t{0}));
  RC_ASSERT(index.summary.has_modes == made.modes);
}

TEST(MegatronIndex, AWrongHeaderIsNamed) {
  MadeIndex made;
  made.lengths = {5, 7};
  EXPECT_EQ(error_of(""),
            "a.idx: found a file that begins \"\", expected the .idx magic \"MMIDIDX\\x00\\x00\"");
  MadeIndex magic = made;
  magic.magic = std::string("MMIDIDX\0\1", 9);
  EXPECT_EQ(error_of(magic),
            "a.idx: found a file that begins \"MMIDIDX\\x00\\x01\", expected the .idx magic "
            "\"MMIDIDX\\x00\\x00\"");
  MadeIndex old = made;
  old.magic = std::string("TNTIDX\0\0\0", 9);
  EXPECT_EQ(error_of(old),
            "a.idx: found a file that begins \"TNTIDX\\x00\\x00\\x00\", expected the .idx magic "
            "\"MMIDIDX\\x00\\x00\"");
  MadeIndex version = made;
  version.version = 2;
  EXPECT_EQ(error_of(version), "a.idx: found .idx version 2, expected version 1");
  for (const int code : {0, 9, 255}) {
    MadeIndex type = made;
    type.token_type = code;
    EXPECT_EQ(error_of(type), "a.idx: found token type code " + std::to_string(code) + ", expected 1 to 8");
  }
  EXPECT_EQ(error_of(made.bytes().substr(0, 33)),
            "a.idx: found 33 bytes, expected an .idx header of 34 bytes");
}

TEST(MegatronIndex, SizesThatContradictEachOtherAreNamed) {
  MadeIndex made;
  made.lengths = {5, 7};
  const std::string good = made.bytes();
  ASSERT_EQ(good.size(), 34U + 12 * 2 + 8 * 3);
  EXPECT_EQ(error_of(good.substr(0, good.size() - 1)),
            "a.idx: found 81 bytes for 2 sequences and 3 document index entries, expected 82 bytes, or 84 "
            "with modes");
  EXPECT_EQ(error_of(good + "x"),
            "a.idx: found 83 bytes for 2 sequences and 3 document index entries, expected 82 bytes, or 84 "
            "with modes");
  std::string counts = good;
  counts.replace(18, 8, test::little(3, 8));
  EXPECT_EQ(error_of(counts),
            "a.idx: found 82 bytes for 3 sequences and 3 document index entries, expected 94 bytes, or 97 "
            "with modes");
  counts.replace(18, 8, test::little(UINT64_MAX, 8));
  EXPECT_EQ(error_of(counts),
            "a.idx: found 18446744073709551615 sequences, expected at most 288230376151711744");
  counts.replace(18, 8, test::little(std::uint64_t{1} << 58, 8));
  EXPECT_EQ(error_of(counts),
            "a.idx: found 82 bytes for 288230376151711744 sequences and 3 document index entries, "
            "expected 3458764513820540986 bytes, or 3746994889972252730 with modes");
  EXPECT_EQ(error_of(MadeIndex{}), "a.idx: found 0 sequences, expected at least one");
  MadeIndex documents = made;
  documents.documents = {0, 1, 1, 2};
  EXPECT_EQ(error_of(documents), "a.idx: found 4 document index entries for 2 sequences, expected 2 to 3");
  documents.documents = {0};
  EXPECT_EQ(error_of(documents), "a.idx: found 1 document index entries for 2 sequences, expected 2 to 3");
}

TEST(MegatronIndex, ContentsThatContradictEachOtherAreNamed) {
  MadeIndex made;
  made.lengths = {5, 7, 9};
  MadeIndex offsets = made;
  offsets.offsets = {0, 10, 26};
  EXPECT_EQ(
      error_of(offsets),
      "a.idx: found sequence 2 at byte 26 of the .bin, expected byte 24, where the 12 tokens before it end");
  offsets.offsets = {2, 12, 26};
  EXPECT_EQ(
      error_of(offsets),
      "a.idx: found sequence 0 at byte 2 of the .bin, expected byte 0, where the 0 tokens before it end");
  MadeIndex lengths = made;
  lengths.lengths = {5, -7, 9};
  EXPECT_EQ(error_of(lengths), "a.idx: found sequence 1 of -7 tokens, expected at least 1 token");
  lengths.lengths = {0, 7, 9};
  EXPECT_EQ(error_of(lengths), "a.idx: found sequence 0 of 0 tokens, expected at least 1 token");
  MadeIndex documents = made;
  documents.documents = {1, 2, 3};
  EXPECT_EQ(error_of(documents), "a.idx: found document index entry 0 = 1, expected 0");
  documents.documents = {0, 2, 2};
  EXPECT_EQ(error_of(documents),
            "a.idx: found document index entry 2 = 2, expected 3, the number of sequences");
  documents.documents = {0, 0, 3};
  EXPECT_EQ(error_of(documents), "a.idx: found document index entry 1 = 0, expected 1 to 2");
  documents.documents = {0, 3, 3};
  EXPECT_EQ(error_of(documents), "a.idx: found document index entry 1 = 3, expected 1 to 2");
}

TEST(IndexCache, AGenuineRunIsRebuiltPackByPack) {
  const MegatronIndex index =
      read_megatron_index(std::filesystem::path(sample_path("codeparrot_content_document.idx")));
  const IndexCache cache = read_index_cache(sample_path("train_seq131072"));
  std::vector<RecordedPack> packs;
  EXPECT_EQ(scan_packs(index, cache, [&](const RecordedPack& pack) { packs.push_back(pack); }), 131'072);
  const std::vector<Batch> recorded =
      read_length_source(std::filesystem::path(sample_path("codeparrot_128k_all.jsonl"))).batches;
  ASSERT_EQ(packs.size(), 781U);
  ASSERT_EQ(recorded.size(), packs.size());
  for (std::size_t i = 0; i < packs.size(); ++i) {
    EXPECT_EQ(packs[i].batch, static_cast<std::int64_t>(i));
    ASSERT_EQ(packs[i].pieces, recorded[i].packs.at(0)) << "pack " << i;
  }
  EXPECT_EQ(
      read_recorded_batches(sample_path("codeparrot_content_document.idx"), sample_path("train_seq131072")),
      recorded);
}

TEST(IndexCache, ARebuiltPackNamesItsDocumentsAndWhichAreCut) {
  const MegatronIndex index =
      read_megatron_index(std::filesystem::path(sample_path("codeparrot_content_document.idx")));
  const IndexCache cache = read_index_cache(sample_path("train_seq131072_doc_idx.npy"));
  std::vector<RecordedPack> packs;
  scan_packs(index, cache, [&](const RecordedPack& pack) { packs.push_back(pack); });
  std::istringstream lines(test::file_bytes(sample_path("codeparrot_128k.jsonl")));
  std::size_t rows = 0;
  for (std::string line; std::getline(lines, line); ++rows) {
    const JsonDocument row = JsonDocument::parse_text(line, "row");
    for (const JsonValue member : row.root().members()) {
      const RecordedPack& pack = packs.at(rows);
      if (member.key() == "sample") {
        EXPECT_EQ(member.integer(0, 1000), pack.sample);
      }
      if (member.key() == "first_doc_is_partial") {
        EXPECT_EQ(member.boolean(), pack.first_is_partial);
      }
      if (member.key() == "last_doc_is_partial") {
        EXPECT_EQ(member.boolean(), pack.last_is_partial);
      }
      if (member.key() != "doc_ids") continue;
      std::vector<std::int64_t> sequences;
      for (const JsonValue item : member.items()) sequences.push_back(item.integer(0, 20'000));
      EXPECT_EQ(sequences, pack.sequences);
    }
  }
  EXPECT_EQ(rows, 32U);
}

/// Sequences of 5, 4 and 6 tokens; samples of 7 tokens.
struct SmallRun {
  MegatronIndex index;
  IndexCache cache;

  SmallRun() {
    MadeIndex made;
    made.lengths = {5, 4, 6};
    index = read(made.bytes());
    cache = {"run", {2, 0, 1}, {0, 0, 1, 1, 2, 3}, {1, 0}};
  }
  std::vector<RecordedPack> packs() const {
    std::vector<RecordedPack> packs;
    scan_packs(index, cache, [&](const RecordedPack& pack) { packs.push_back(pack); });
    return packs;
  }
  std::string error() const {
    return input_error([&] { packs(); });
  }
};

TEST(IndexCache, TheLabelTokenIsDroppedAlsoWhereItIsADocumentsFirst) {
  SmallRun run;
  EXPECT_EQ(run.packs(), (std::vector<RecordedPack>{{0, 1, {4, 3}, {0, 1}, true, true},
                                                    {1, 0, {6, 1}, {2, 0}, false, true}}));
  run.cache.sample_index = {0, 0, 1, 0, 2, 1};
  run.cache.shuffle_index = {0, 1};
  EXPECT_EQ(run.packs(),
            (std::vector<RecordedPack>{{0, 0, {6}, {2}, false, false}, {1, 1, {5, 1}, {0, 1}, false, true}}));
  run.cache.sample_index = {0, 1, 0, 3, 0, 5};
  EXPECT_EQ(run.packs(),
            (std::vector<RecordedPack>{{0, 0, {2}, {2}, true, true}, {1, 1, {2}, {2}, true, true}}))
      << "samples inside one document";
}

TEST(IndexCache, EntriesThatCannotBeAreNamed) {
  SmallRun run;
  run.cache.document_index = {2, 3, 1};
  EXPECT_EQ(run.error(), "run: found document index entry 1 = 3, expected 0 to 2, a sequence of the .idx");
  run = {};
  run.cache.sample_index = {0, 0, 1, 5, 2, 3};
  EXPECT_EQ(run.error(),
            "run: found sample index entry 1 = (1, 5), expected a place from 0 to 2 and an offset inside its "
            "sequence");
  run.cache.sample_index = {0, 0, 1, 1, 3, 0};
  EXPECT_EQ(run.error(),
            "run: found sample index entry 2 = (3, 0), expected a place from 0 to 2 and an offset inside its "
            "sequence");
  run.cache.sample_index = {0, 0, 1, 3, 1, 1};
  EXPECT_EQ(run.error(),
            "run: found sample index entry 2 at (1, 1), the one before at (1, 3), expected a later place");
  run.cache.sample_index = {0, 0, 1, 1, 2, 2};
  EXPECT_EQ(run.error(), "run: found sample 0 of 7 tokens, expected 6, as the sample served first");
  run = {};
  run.cache.shuffle_index = {1, 2};
  EXPECT_EQ(run.error(), "run: found shuffle index entry 1 = 2, expected 0 to 1");
  run.cache.shuffle_index = {1, 1};
  EXPECT_EQ(run.error(), "run: found shuffle index entry 1 = 1 again, expected every sample once");
}

class IndexCacheFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) / (std::string("strata_") + info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void put(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  std::string error_of(const std::string& prefix) const {
    std::string text = input_error([&] { read_index_cache(folder_ / prefix); });
    const std::string folder = folder_.string() + "/";
    for (std::size_t at = text.find(folder); at != std::string::npos; at = text.find(folder))
      text.erase(at, folder.size());
    return text;
  }

  std::filesystem::path folder_;
};

TEST_F(IndexCacheFiles, BothNamingsAndEveryWidthAreRead) {
  const std::string pairs = "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2), }";
  std::string items;
  for (const std::uint64_t value : {0, 0, 1, 1}) items += test::little(value, 8);
  put("x-document_index.npy", made_npy({2, 0}));
  put("x-sample_index.npy", made_npy(pairs, items));
  put("x-shuffle_index.npy",
      made_npy("{'descr': '<u4', 'fortran_order': False, 'shape': (1,), }", test::little(0, 4)));
  for (const char* prefix : {"x", "x-document_index.npy", "x-sample_index.npy", "x-shuffle_index.npy"}) {
    const IndexCache cache = read_index_cache(folder_ / prefix);
    EXPECT_EQ(cache.document_index, (std::vector<std::int64_t>{2, 0}));
    EXPECT_EQ(cache.sample_index, (std::vector<std::int64_t>{0, 0, 1, 1}));
    EXPECT_EQ(cache.shuffle_index, (std::vector<std::int64_t>{0}));
  }
}

TEST_F(IndexCacheFiles, MissingFilesAndShapesThatDoNotFitAreNamed) {
  EXPECT_EQ(error_of("x"),
            "x: found no index cache, expected files x-document_index.npy or x_doc_idx.npy, and their "
            "companions");
  put("x_doc_idx.npy", made_npy({2, 0}));
  EXPECT_EQ(error_of("x"), "x_sample_idx.npy: found no such file, expected a readable file");
  put("x_sample_idx.npy", made_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", "123456"));
  put("x_shuffle_idx.npy", made_npy({0, 1}));
  EXPECT_EQ(error_of("x"),
            "x_sample_idx.npy: found an array of shape (2, 3), expected shape (samples + 1, 2)");
  put("x_sample_idx.npy", made_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }", "1234"));
  EXPECT_EQ(error_of("x"), "x_shuffle_idx.npy: found 2 entries, expected 1, one for each sample");
}

}  // namespace
}  // namespace strata
