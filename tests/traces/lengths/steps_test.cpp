// SPDX-License-Identifier: Apache-2.0
// Lengths become packs and steps without losing a token or changing the order, whatever the options.
#include "traces/lengths/steps.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "core/base/check.hpp"
#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

using Lengths = std::vector<std::int64_t>;

LengthSource free_documents(Lengths lengths) {
  LengthSource source;
  source.lengths = std::move(lengths);
  return source;
}

LengthSource rows_of_packs(const std::vector<Lengths>& packs) {
  LengthSource source;
  for (const Lengths& pack : packs) source.batches.push_back({std::ssize(source.batches), true, {pack}});
  return source;
}

std::string error_of(const LengthSource& source, const StepOptions& options) {
  return test::input_error([&] { form_steps(source, options, "data"); });
}

Lengths flat(const std::vector<Batch>& steps) {
  Lengths lengths;
  for (const Batch& step : steps) {
    const Lengths more = step.document_lengths();
    lengths.insert(lengths.end(), more.begin(), more.end());
  }
  return lengths;
}

std::int64_t sum(const Lengths& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

TEST(Packs, KeepWholeDocumentsInOrder) {
  const Packs made = make_packs(Lengths{5, 4, 3, 20, 1, 9}, 10, false);
  EXPECT_EQ(made.packs, (std::vector<Lengths>{{5, 4}, {3}, {20}, {1, 9}}));
  EXPECT_EQ(made.long_documents, 1);
}

TEST(Packs, AreFullWhenDocumentsAreCut) {
  const Packs made = make_packs(Lengths{5, 4, 3, 20, 1, 9}, 10, true);
  EXPECT_EQ(made.packs, (std::vector<Lengths>{{5, 4, 1}, {2, 8}, {10}, {2, 1, 7}, {2}}));
  EXPECT_EQ(made.cut_documents, 3);
  EXPECT_EQ(made.short_tokens, 2);
}

TEST(Packs, LoseNoTokenOfRandomDocuments) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    Lengths lengths(1 + random() % 40);
    for (std::int64_t& tokens : lengths) tokens = 1 + static_cast<std::int64_t>(random() % 60);
    const std::int64_t pack_tokens = 1 + static_cast<std::int64_t>(random() % 80);
    const Packs whole = make_packs(lengths, pack_tokens, false), cut = make_packs(lengths, pack_tokens, true);
    Lengths again;
    for (const Lengths& pack : whole.packs) {
      again.insert(again.end(), pack.begin(), pack.end());
      EXPECT_TRUE(sum(pack) <= pack_tokens || pack.size() == 1);
    }
    EXPECT_EQ(again, lengths);
    std::int64_t tokens = 0;
    for (const Lengths& pack : cut.packs) {
      tokens += sum(pack);
      EXPECT_TRUE(sum(pack) == pack_tokens || &pack == &cut.packs.back());
    }
    EXPECT_EQ(tokens, sum(lengths));
  }
}

TEST(Steps, AWholeFileIsOneStepAndThatIsSaid) {
  const Steps steps = form_steps(free_documents({5, 4}), {}, "data");
  EXPECT_EQ(steps.steps, (std::vector<Batch>{{0, false, {{5, 4}}}}));
  ASSERT_EQ(steps.notes.size(), 1U);
  EXPECT_NE(steps.notes[0].find("the whole file is one step"), std::string::npos);
}

TEST(Steps, AreMadeOfPacksTokensOrDocuments) {
  const LengthSource source = free_documents({5, 4, 3, 8, 1});
  StepOptions options;
  options.tokens_per_step = 9;
  EXPECT_EQ(form_steps(source, options, "data").steps,
            (std::vector<Batch>{{0, false, {{5, 4}}}, {1, false, {{3}}}, {2, false, {{8, 1}}}}));
  options = {};
  options.documents_per_step = 2;
  EXPECT_EQ(form_steps(source, options, "data").steps,
            (std::vector<Batch>{{0, false, {{5, 4}}}, {1, false, {{3, 8}}}, {2, false, {{1}}}}));
  options.pack_tokens = 6;
  EXPECT_EQ(form_steps(source, options, "data").steps,
            (std::vector<Batch>{{0, true, {{5}, {4}}}, {1, true, {{3}, {8}}}, {2, true, {{1}}}}));
  options = {};
  options.pack_tokens = 9;
  EXPECT_EQ(form_steps(source, options, "data").steps,
            (std::vector<Batch>{{0, true, {{5, 4}}}, {1, true, {{3}}}, {2, true, {{8, 1}}}}));
  options.packs_per_step = 2;
  EXPECT_EQ(form_steps(source, options, "data").steps,
            (std::vector<Batch>{{0, true, {{5, 4}, {3}}}, {1, true, {{8, 1}}}}));
}

TEST(Steps, OfRandomDocumentsHoldThemAllInOrder) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    Lengths lengths(1 + random() % 40);
    for (std::int64_t& tokens : lengths) tokens = 1 + static_cast<std::int64_t>(random() % 60);
    StepOptions options;
    const std::int64_t limit = 1 + static_cast<std::int64_t>(random() % 100);
    const bool packed = random() % 2 == 0;
    if (packed) options.pack_tokens = 1 + static_cast<std::int64_t>(random() % 80);
    switch (random() % (packed ? 4 : 3)) {
      case 0:
        options.tokens_per_step = limit;
        break;
      case 1:
        options.documents_per_step = limit;
        break;
      case 2:
        break;
      default:
        options.packs_per_step = limit;
    }
    const std::vector<Batch> steps = form_steps(free_documents(lengths), options, "data").steps;
    EXPECT_EQ(flat(steps), lengths);
    for (const Batch& step : steps) {
      EXPECT_TRUE(!options.tokens_per_step || step.token_count() <= limit || step.document_count() == 1 ||
                  step.packs.size() == 1);
      EXPECT_TRUE(!options.documents_per_step || step.document_count() <= limit);
      EXPECT_TRUE(!options.packs_per_step || std::ssize(step.packs) <= limit);
    }
  }
}

TEST(Steps, JoinRowsThatArePacks) {
  const LengthSource source = rows_of_packs({{1, 2}, {3}, {4}});
  EXPECT_EQ(form_steps(source, {}, "data").steps.size(), 3U) << "a row each";
  StepOptions options;
  options.packs_per_step = 2;
  EXPECT_EQ(form_steps(source, options, "data").steps,
            (std::vector<Batch>{{0, true, {{1, 2}, {3}}}, {2, true, {{4}}}}));
  options = {};
  options.tokens_per_step = 7;
  EXPECT_EQ(form_steps(source, options, "data").steps,
            (std::vector<Batch>{{0, true, {{1, 2}, {3}}}, {2, true, {{4}}}}));
}

TEST(Steps, WhatIsFixedStaysFixed) {
  StepOptions pack;
  pack.pack_tokens = 8;
  EXPECT_EQ(error_of(rows_of_packs({{1, 2}}), pack),
            "--pack-tokens: found fixed packs in data, expected documents that are not packed");
  LengthSource whole = rows_of_packs({{1, 2}, {3}});
  whole.whole_steps = true;
  StepOptions join;
  join.packs_per_step = 2;
  EXPECT_EQ(error_of(whole, join),
            "--packs-per-step: found whole steps in data, such as step 0 of 1 pack, expected rows that are "
            "packs, or "
            "documents without steps");
  join.packs_per_step = 1;
  EXPECT_EQ(form_steps(whole, join, "data").steps.size(), 2U) << "what they have anyway";
  EXPECT_EQ(
      error_of(free_documents({5}), join),
      "--packs-per-step: found documents that are not packed in data, expected --pack-tokens beside it, or a "
      "file of packs");
  LengthSource documents;
  documents.whole_steps = true;
  documents.batches = {{7, false, {{5, 6, 2}}}};
  EXPECT_EQ(form_steps(documents, pack, "data").steps, (std::vector<Batch>{{7, true, {{5}, {6, 2}}}}))
      << "free documents of a step are packed within it";
}

TEST(Steps, AFewHugeDocumentsDoNotBecomeCountlessPacks) {
  StepOptions options;
  options.pack_tokens = 1;
  options.cut_documents = true;
  EXPECT_EQ(error_of(free_documents({2147483647}), options),
            "--pack-tokens: found 2,147,483,648 packs from data, expected at most 16,777,216: more tokens in "
            "a pack");
}

TEST(Steps, OptionsThatContradictEachOtherAreRefused) {
  StepOptions options;
  options.pack_tokens = 0;
  EXPECT_EQ(error_of(free_documents({5}), options), "--pack-tokens: found 0, expected at least 1");
  options = {};
  options.cut_documents = true;
  EXPECT_EQ(error_of(free_documents({5}), options),
            "--cut-documents: found no --pack-tokens, expected the tokens of a pack");
  options = {};
  options.tokens_per_step = options.documents_per_step = 4;
  EXPECT_NE(error_of(free_documents({5}), options).find("one of --packs-per-step"), std::string::npos);
}

}  // namespace
}  // namespace strata
