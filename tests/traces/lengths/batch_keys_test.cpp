// SPDX-License-Identifier: Apache-2.0
// Every key that is known, in JSON and in CSV, alone and beside a key of lengths: it is used, or refused by
// its name, or said not to be used. Nothing that carries borders, padding, steps or ranks is dropped in
// silence.
#include "traces/lengths/batch_keys.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <string>

#include "core/base/check.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {
namespace {

/// What came of a file.
struct Outcome {
  LengthSource source;
  std::string error;  // empty: it was read
};

Outcome outcome(const std::string& text) {
  std::istringstream in(text);
  Outcome result;
  try {
    result.source = read_length_source(in, "data");
  } catch (const InputError& error) {
    result.error = error.what();
  }
  return result;
}

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// A value that fits documents of 6 and 4 tokens, or one of 10.
std::string value_of(const BatchKey& key) {
  switch (key.meaning) {
    case KeyMeaning::length:
      return key.name.ends_with('s') ? "[6,4]" : "10";
    case KeyMeaning::free_documents:
    case KeyMeaning::documents:
      return "[6,4]";
    case KeyMeaning::packs:
      return "[[6,4]]";
    case KeyMeaning::offsets:
    case KeyMeaning::real_offsets:
      return "[0,6,10]";
    case KeyMeaning::padded_offsets:
      return "[0,8,12]";
    case KeyMeaning::padded_lengths:
      return "[8,4]";
    case KeyMeaning::starts:
      return "[0,6]";
    case KeyMeaning::positions:
      return "[0,1,2,3,4,5,0,1,2,3]";
    case KeyMeaning::numbers:
    case KeyMeaning::masked_numbers:
    case KeyMeaning::labels:
      return "[1,1,1,1,1,1,2,2,2,2]";
    case KeyMeaning::tokens:
    case KeyMeaning::token_flags:
      return "[1,1,1,1,1,1,1,1,1,1]";
    case KeyMeaning::parts:
      return key.name.ends_with('s') ? "[3,2]" : "3";
    case KeyMeaning::pair:
    case KeyMeaning::total:
    case KeyMeaning::longest:
      return "10";
    default:
      return "3";
  }
}

const std::string kTokens = "\"input_ids\":[9,9,9,9,9,9,9,9,9,9]";

bool is_said(const LengthSource& source, const BatchKey& key) {
  const bool noted = has(source.unused_keys, key.name) && !source.notes.empty();
  const bool part = key.meaning == KeyMeaning::pair || key.meaning == KeyMeaning::parts;
  const bool half = part && has(source.unused_keys, key.name);
  return has(source.used_keys, key.name) || noted || half;
}

TEST(BatchKeys, AreListedOnce) {
  std::set<std::string_view> names;
  for (const BatchKey& key : batch_keys()) EXPECT_TRUE(names.insert(key.name).second) << key.name;
  for (const BatchKey& key : batch_keys()) {
    EXPECT_EQ(key.treatment() == KeyTreatment::refused, !key.why.empty()) << key.name;
  }
}

TEST(BatchKeys, AloneInJsonAreUsedOrRefused) {
  for (const BatchKey& key : batch_keys()) {
    const Outcome alone = outcome(fmt::format("{{\"{}\":{}}}", key.name, value_of(key)));
    if (key.treatment() == KeyTreatment::refused) {
      EXPECT_TRUE(contains(alone.error, key.name)) << key.name << ": " << alone.error;
    } else if (key.treatment() == KeyTreatment::harmless) {
      EXPECT_NE(alone.error, "") << key.name;
    } else {
      EXPECT_TRUE(!alone.error.empty() || is_said(alone.source, key)) << key.name;
    }
  }
}

TEST(BatchKeys, BesideTokensInJsonAreUsedOrRefusedByName) {
  for (const BatchKey& key : batch_keys()) {
    if (key.meaning == KeyMeaning::tokens) continue;
    const Outcome beside = outcome(fmt::format("{{{},\"{}\":{}}}", kTokens, key.name, value_of(key)));
    if (key.meaning == KeyMeaning::packs || key.meaning == KeyMeaning::documents) {
      EXPECT_TRUE(contains(beside.error, "input_ids")) << beside.error;  // its own form is strict
    } else if (key.treatment() == KeyTreatment::harmless) {
      EXPECT_EQ(beside.error, "") << key.name;
      EXPECT_TRUE(has(beside.source.unused_keys, key.name)) << key.name;
    } else if (key.treatment() == KeyTreatment::refused) {
      EXPECT_TRUE(contains(beside.error, key.name)) << key.name << ": " << beside.error;
    } else {
      EXPECT_TRUE(contains(beside.error, key.name) || (beside.error.empty() && is_said(beside.source, key)))
          << key.name << ": " << beside.error;
    }
  }
}

TEST(BatchKeys, BordersBesideTokensAreNeverOneDocument) {
  using M = KeyMeaning;
  for (const BatchKey& key : batch_keys()) {
    const std::set<M> borders = {M::offsets,        M::real_offsets,   M::padded_offsets,
                                 M::padded_lengths, M::starts,         M::positions,
                                 M::numbers,        M::masked_numbers, M::labels};
    if (borders.count(key.meaning) == 0) continue;
    const Outcome beside = outcome(fmt::format("{{{},\"{}\":{}}}", kTokens, key.name, value_of(key)));
    if (!beside.error.empty()) continue;
    EXPECT_EQ(beside.source.lengths, (std::vector<std::int64_t>{6, 4})) << key.name;
    ASSERT_EQ(beside.source.batches.size(), 1U) << key.name;
    EXPECT_TRUE(beside.source.batches[0].fixed_packs) << key.name;
  }
}

TEST(BatchKeys, BesideLengthsInCsvAreUsedOrRefusedByName) {
  for (const BatchKey& key : batch_keys()) {
    if (key.name == "length") continue;
    const Outcome beside = outcome(fmt::format("length,{}\n5,1\n", key.name));
    const bool length = key.meaning == KeyMeaning::length || key.meaning == KeyMeaning::free_documents;
    if (length || key.meaning == KeyMeaning::total) {
      EXPECT_EQ(beside.error, fmt::format("data:2: found {} = 1, expected 5, as length says", key.name));
    } else if (beside.error.empty()) {
      const LengthSource& source = beside.source;
      EXPECT_TRUE(has(source.used_keys, key.name) || has(source.unused_keys, key.name)) << key.name;
      EXPECT_NE(key.treatment(), KeyTreatment::refused) << key.name;
    } else {
      EXPECT_TRUE(contains(beside.error, key.name)) << key.name << ": " << beside.error;
    }
  }
}

TEST(BatchKeys, NamesThatLookMeaningfulAreRefusedAndCanBeIgnored) {
  for (const char* name :
       {"cu_seqlens_host", "kvOffsets", "segment_mask", "my_pad_count", "cp_world", "tp_group",
        "doc_boundaries", "packed_indices", "rank_in_node", "position_map", "unpad_index"}) {
    EXPECT_TRUE(looks_meaningful(name, false)) << name;
    const std::string row = fmt::format("{{\"length\":5,\"{}\":[0,3]}}\n", name);
    EXPECT_TRUE(contains(outcome(row).error, name)) << outcome(row).error;
    std::istringstream in(row);
    LengthOptions options;
    options.ignored_keys = {name};
    const LengthSource source = read_length_source(in, "data", options);
    EXPECT_EQ(source.lengths, std::vector<std::int64_t>{5});
    EXPECT_TRUE(has(source.unused_keys, name));
  }
  for (const char* name : {"sequence_ids_all", "docStart", "sample_index", "spans", "tokens_per_doc",
                           "eos_idx", "chunk_sizes", "sub_seq_lens"}) {
    EXPECT_TRUE(looks_meaningful(name, true)) << name;
    EXPECT_FALSE(looks_meaningful(name, false)) << name;
  }
}

TEST(BatchKeys, InsideAnObjectOfARowAreRefused) {
  EXPECT_TRUE(contains(outcome("{\"input_ids\":[1,2,3],\"meta\":{\"cu_seqlens\":[0,2,3]}}").error,
                       "meta.cu_seqlens"));
  EXPECT_TRUE(
      contains(outcome("{\"length\":3,\"meta\":{\"run\":{\"cp_rank\":1}}}").error, "meta.run.cp_rank"));
  const Outcome read = outcome("{\"length\":3,\"meta\":{\"length\":5,\"url\":\"a\",\"labels\":[1,2]}}");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.source.unused_keys, std::vector<std::string>{"meta"});
}

TEST(BatchKeys, ANameThatNoTerminalMayShowIsRefusedInOneLine) {
  const std::string error = outcome("{\"length\":3,\"cu_\\n\\u001b[31m\":1}").error;
  EXPECT_EQ(error.find_first_of("\n\x1b"), std::string::npos) << error;
  EXPECT_TRUE(contains(error, "cu_"));
}

TEST(BatchKeys, ACountOfDocumentsIsNotACountOfCopies) {
  EXPECT_TRUE(contains(outcome("{\"input_ids\":[1,2,3],\"num_docs\":2}").error, "num_docs"));
  EXPECT_TRUE(contains(outcome("{\"input_ids\":[1,2,3],\"count\":2}").error, "count"));
  EXPECT_TRUE(contains(outcome("{\"num_tokens\":3,\"num_docs\":2}").error, "num_docs"));
  EXPECT_EQ(outcome("{\"seqlens\":[1,2],\"num_docs\":2}").error, "");
  EXPECT_TRUE(contains(outcome("length,num_docs\n3,2\n").error, "num_docs"));
}

TEST(BatchKeys, NumbersOfTokensThatDisagreeAreRefusedNamingBoth) {
  const std::string ids = "{\"input_ids\":[1,2,3,4,5,6],",
                    pair = "\"num_prefill_tokens\":3,\"num_decode_tokens\":4";
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"{\"length\":100,\"num_tokens\":200}", "num_tokens: found 200, expected 100, as length says"},
      {"{\"length\":100," + pair + "}",
       "line 1: found num_prefill_tokens + num_decode_tokens = 7, expected 100, as length says"},
      {ids + "\"cu_seqlens\":[0,3,6],\"length\":100}", "length: found 100, expected 6, as input_ids says"},
      {ids + "\"num_total_tokens\":8}", "num_total_tokens: found 8, expected 6, as input_ids says"},
      {"{\"seqlens\":[3,3],\"num_total_tokens\":100}",
       "num_total_tokens: found 100, expected 6, as seqlens says"},
      {"{\"seqlens\":[3,3]," + pair + "}",
       "line 1: found num_prefill_tokens + num_decode_tokens = 7, expected 6, as seqlens says"},
      {"{\"segment_ids\":[1,1,2,2],\"length\":100}", "length: found 100, expected 4, as segment_ids says"},
      {"{\"position_ids\":[0,1,0,1],\"length\":6}", "length: found 6, expected 4, as position_ids says"},
      {"{\"doc_ids\":[1,1,2,2],\"length\":3}", "length: found 3, expected 4, as doc_ids says"},
      {"{\"seqlens\":[3,3],\"length\":8,\"num_tokens\":9}",
       "num_tokens: found 9, expected 8, as length says"},
      {"length,num_tokens\n100,200\n", "data:2: found num_tokens = 200, expected 100, as length says"},
      {"input_length,output_length,seq_len\n1,2,30\n",
       "data:2: found input_length + output_length = 3, expected 30, as seq_len says"},
      {"num_prefill_tokens,num_decode_tokens,num_total_tokens\n3,4,8\n",
       "data:2: found num_total_tokens = 8, expected 7, as num_prefill_tokens + num_decode_tokens says"}};
  for (const auto& [row, message] : rows)
    EXPECT_TRUE(contains(outcome(row).error, message)) << outcome(row).error;
}

TEST(BatchKeys, NumbersOfTokensThatAgreeAreUsed) {
  for (const char* row :
       {"{\"length\":7,\"num_tokens\":7,\"num_prefill_tokens\":3,\"num_decode_tokens\":4,\"num_total_"
        "tokens\":7}",
        "{\"seqlens\":[3,4],\"length\":9,\"num_total_tokens\":9}",
        "{\"input_ids\":[1,2,3,4],\"attention_mask\":[1,1,1,0],\"length\":3,\"num_tokens\":3}",
        "length,num_tokens,num_prefill_tokens,num_decode_tokens,num_total_tokens\n7,7,3,4,7\n8,8,8,,\n",
        "num_prefill_tokens,num_decode_tokens,num_total_tokens\n3,4,7\n"}) {
    const Outcome read = outcome(row);
    EXPECT_EQ(read.error, "") << row;
    EXPECT_EQ(read.source.unused_keys, std::vector<std::string>{}) << row;
  }
  LengthOptions options;
  options.ignored_keys = {"num_tokens"};
  std::istringstream in("length,num_tokens\n100,200\n");
  EXPECT_EQ(read_length_source(in, "data", options).lengths, std::vector<std::int64_t>{100});
}

TEST(BatchKeys, OfServersThatKeepACacheAreRefused) {
  for (const char* name :
       {"kv_lens", "context_lens", "prefix_lens", "cached_tokens", "cache_lens", "past_length"}) {
    EXPECT_TRUE(contains(outcome(fmt::format("{{\"seqlens\":[7,5],\"{}\":[3,2]}}", name)).error, name))
        << name;
  }
  EXPECT_TRUE(contains(outcome("{\"length\":7,\"cached_tokens\":3}").error, "attended to and not computed"));
  EXPECT_TRUE(contains(outcome("length,kv_len\n7,9\n").error, "kv_len"));
  EXPECT_EQ(outcome("{\"length\":7,\"context\":\"a text\",\"prefix\":[1]}").error, "");
}

TEST(BatchKeys, OtherNamesAreListedAsNotUsed) {
  for (const char* name : {"reward", "url", "source", "language", "prompt_text", "hash_ids", "package_name",
                           "messages", "ranking_score", "computed"}) {
    EXPECT_FALSE(looks_meaningful(name, true)) << name;
    const Outcome read = outcome(fmt::format("{{\"length\":5,\"{}\":[1,2]}}\n", name));
    EXPECT_EQ(read.error, "");
    EXPECT_EQ(read.source.unused_keys, std::vector<std::string>{name});
  }
}

TEST(BatchKeys, NullMeansAbsent) {
  const Outcome read =
      outcome("{\"input_ids\":[1,2,3],\"cu_seqlens\":null,\"cp_rank\":null,\"step\":null}\n");
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(read.source.lengths, std::vector<std::int64_t>{3});
  EXPECT_TRUE(read.source.batches.empty());
  EXPECT_EQ(outcome("{\"step\":null,\"packs\":null,\"documents\":[3,4]}").error, "");
}

}  // namespace
}  // namespace strata
