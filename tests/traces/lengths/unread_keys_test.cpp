// SPDX-License-Identifier: Apache-2.0
// What stands beside a length and is not read must not say where documents end: lists in the cells of a CSV,
// lists written as texts, numbers under names that nobody knows, and objects inside a row. What is to be
// ignored must be there.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/core/json/bad_input.hpp"
#include "traces/lengths/batch_keys.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {
namespace {

using Lengths = std::vector<std::int64_t>;
using Names = std::vector<std::string>;

LengthSource read(const std::string& text, const Names& ignored = {}) {
  std::istringstream in(text);
  LengthOptions options;
  options.ignored_keys = ignored;
  return read_length_source(in, "data", options);
}
std::string error_of(const std::string& text, const Names& ignored = {}) {
  return test::input_error([&] { read(text, ignored); });
}
bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }
std::string list(const Lengths& numbers) { return fmt::format("[{}]", fmt::join(numbers, ",")); }

TEST(UnreadKeys, NoListInACellOfACsvIsPassedOver) {
  for (const BatchKey& key : batch_keys()) {
    if (key.name == "length" || key.treatment() == KeyTreatment::harmless) continue;
    const std::string error = error_of(fmt::format("length,{}\n5,\"[2,3]\"\n", key.name));
    EXPECT_TRUE(contains(error, key.name)) << error;
  }
  for (const char* cell : {"[2,3]", "2 3", "\"2,3\"", "(2;3)", "[0 2 5]"}) {
    EXPECT_TRUE(contains(error_of(fmt::format("length\tzz\n5\t{}\n", cell)), "\"zz\"")) << cell;
  }
}

TEST(UnreadKeys, OneValueInACellOfACsvIsALabelOrIsChecked) {
  EXPECT_EQ(read("length,document_id,url,note\n5,17,a,\"2, or 3\"\n").unused_keys,
            (Names{"document_id", "url", "note"}));
  EXPECT_EQ(read("length,max_seqlen\n5,8\n6,\n").used_keys, (Names{"length", "max_seqlen"}));
  EXPECT_EQ(error_of("length,max_seqlen\n5,4\n"),
            "data:2: found max_seqlen = 4, expected at least the length, 5");
}

TEST(UnreadKeys, ATextWhereAListBelongsIsRefused) {
  for (const BatchKey& key : batch_keys()) {
    if (key.name == "length" || key.treatment() != KeyTreatment::used) continue;
    const std::string error = error_of(fmt::format("{{\"length\":5,\"{}\":\"[2,3]\"}}", key.name));
    EXPECT_TRUE(contains(error, fmt::format("{}: found \"[2,3]\"", key.name))) << error;
  }
  EXPECT_EQ(read("{\"length\":5,\"doc_ids\":\"a name\",\"segment_mask\":\"causal\"}").lengths, Lengths{5});
}

TEST(UnreadKeys, AListShorterThanTheRowIsNotANumberForEveryToken) {
  for (const char* key : {"doc_ids", "document_ids", "seq_ids", "seq_idx"}) {
    for (const char* size : {"\"length\":6", "\"num_total_tokens\":6", "\"input_ids\":[1,1,1,1,1,1]",
                             "\"input_length\":2,\"output_length\":4"}) {
      EXPECT_EQ(error_of(fmt::format("{{{},\"{}\":[17,18]}}", size, key)),
                fmt::format("data: line 1: {}: found 2 numbers, expected 6, one for every token, or lengths "
                            "beside a number for every document",
                            key));
    }
  }
  EXPECT_EQ(read("{\"length\":6,\"doc_ids\":[17,18],\"seqlens\":[2,4]}").lengths, (Lengths{2, 4}));
}

TEST(UnreadKeys, NumbersThatMakeOtherDocumentsOfARowAreRefusedWhateverTheirName) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    Lengths documents(2 + random() % 5), offsets{0}, ends;
    for (std::int64_t& tokens : documents) {
      tokens = 1 + static_cast<std::int64_t>(random() % 9);
      offsets.push_back(offsets.back() + tokens);
      ends.push_back(offsets.back());
    }
    std::string name;
    for (int i = 0; i < 6; ++i) name += static_cast<char>('a' + random() % 26);
    const std::int64_t tokens = ends.back();
    const std::string row = fmt::format("{{\"length\":{},\"{}\":", tokens, name);
    std::string objects;
    for (const std::int64_t document : documents)
      objects += fmt::format("{}{{\"u\":{}}}", objects.empty() ? "" : ",", document);
    for (const Lengths& numbers : {documents, offsets, ends}) {
      const std::string written = list(numbers);
      for (const std::string& value :
           {written, "[" + written + "]", "\"" + written + "\"", "{\"u\":" + written + "}",
            "{\"v\":{\"u\":" + written + "}}", "[{\"u\":" + written + "}]", "[" + objects + "]"}) {
        EXPECT_TRUE(contains(error_of(row + value + "}"), name)) << row << value;
        EXPECT_EQ(read(row + value + "}", {name}).lengths, Lengths{tokens});
      }
      EXPECT_TRUE(contains(error_of(fmt::format("length,{}\n{},\"{}\"\n", name, tokens, written)), name));
      const std::string beside = fmt::format("{{\"seqlens\":{},\"{}\":{}}}", list(documents), name, written);
      EXPECT_EQ(read(beside).lengths, documents) << "they say what the row says";
    }
    Lengths other = documents;
    other.front() += tokens;
    EXPECT_EQ(read(row + list(other) + "}").unused_keys, Names{name});
  }
}

TEST(UnreadKeys, ObjectsInAListAreSearchedLikeAnObject) {
  EXPECT_TRUE(
      contains(error_of("{\"length\":6,\"meta\":[{\"length\":3},{\"length\":3}]}"), "meta[0].length"));
  EXPECT_TRUE(contains(error_of("{\"length\":6,\"meta\":[{\"cp_rank\":3}]}"), "meta[0].cp_rank"));
  EXPECT_EQ(read("{\"length\":6,\"messages\":[{\"role\":\"user\",\"turn\":1},{\"role\":\"tool\"}]}").lengths,
            Lengths{6});
}

TEST(UnreadKeys, TheRemedyInAnErrorWorks) {
  const std::string row = "{\"length\":5,\"meta\":{\"cu_seqlens\":[0,5]}}";
  EXPECT_EQ(
      error_of(row),
      "data: line 1: meta.cu_seqlens: found the key \"cu_seqlens\", which may carry borders, padding or "
      "ranks, expected a key that is understood, or --ignore-keys meta");
  EXPECT_EQ(read(row, {"meta"}).lengths, Lengths{5});
}

TEST(UnreadKeys, IgnoredNamesMustBeThereAndAreLeftOutInEveryFormat) {
  EXPECT_EQ(read("length,seq_len\n5,6\n", {"length"}).lengths, Lengths{6});
  EXPECT_EQ(read("{\"length\":5,\"seq_len\":6}\n", {"length"}).lengths, Lengths{6});
  EXPECT_TRUE(contains(error_of("length,size\n5,6\n", {"length"}), "expected a header"));
  EXPECT_EQ(error_of("length,weight\n5,6\n", {"weight", "weigth"}),
            "--ignore-keys: found \"weigth\", expected names that rows of data have; did you mean 'weight'?");
  for (const char* text : {"{\"length\":5}", "length,a\n5,6\n", "[5,6]", "5\n6\n"}) {
    EXPECT_TRUE(contains(error_of(text, {"zzz"}), "--ignore-keys: found \"zzz\"")) << text;
  }
  EXPECT_EQ(read("{\"length\":5}\n{\"length\":6,\"zzz\":null}\n", {"zzz"}).lengths, (Lengths{5, 6}));
}

TEST(UnreadKeys, NamesOfColumnsAreKnownWhateverTheirCase) {
  EXPECT_EQ(read("Length\n5\n").lengths, Lengths{5});
  EXPECT_EQ(read("id,SEQ_LEN\n1,5\n").lengths, Lengths{5});
  EXPECT_TRUE(contains(error_of("Length,length\n5,5\n"), "twice"));
}

}  // namespace
}  // namespace strata
