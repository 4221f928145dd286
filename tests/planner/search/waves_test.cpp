// SPDX-License-Identifier: Apache-2.0
// How documents are grouped into waves: recorded packs stay whole and in order, free documents go first-fit.
#include "planner/search/waves.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "core/base/check.hpp"
#include "tests/planner/realise/random_waves.hpp"

namespace strata::testing {
namespace {

Batch free_documents(std::vector<std::int64_t> lengths) { return {0, false, {std::move(lengths)}}; }

TEST(Waves, KeepRecordedPacksWholeAndNumberDocumentsOverTheStep) {
  const Batch batch{0, true, {{7, 3}, {5}, {2, 9}}};
  const std::vector<WaveDocuments> expected = {{{0, 1}, {7, 3}}, {{2}, {5}}, {{3, 4}, {2, 9}}};
  EXPECT_EQ(split_into_waves(batch, kNoTokenBudget), expected);
  EXPECT_EQ(split_into_waves(batch, 1), expected) << "a budget must not split a recorded pack";
}

TEST(Waves, TakeAllFreeDocumentsAtOnceWithoutABudget) {
  const std::vector<WaveDocuments> expected = {{{0, 1, 2}, {7, 3, 5}}};
  EXPECT_EQ(split_into_waves(free_documents({7, 3, 5}), kNoTokenBudget), expected);
}

TEST(Waves, PutFreeDocumentsIntoTheFirstWaveWithRoom) {
  const std::vector<WaveDocuments> expected = {{{0, 2}, {6, 4}}, {{1, 3}, {5, 5}}, {{4}, {3}}};
  EXPECT_EQ(split_into_waves(free_documents({6, 5, 4, 5, 3}), 10), expected);
}

TEST(Waves, GiveADocumentLongerThanTheBudgetAWaveOfItsOwn) {
  const std::vector<WaveDocuments> expected = {{{0, 2}, {4, 6}}, {{1}, {30}}};
  EXPECT_EQ(split_into_waves(free_documents({4, 30, 6}), 10), expected);
}

TEST(Waves, HoldEveryFreeDocumentOnceWithinAnyBudget) {
  RandomWaves random(21);
  for (int i = 0; i < 500; ++i) {
    const Batch batch = free_documents(random.next().lengths);
    const std::int64_t budget = random.number(0, 60);
    std::vector<std::int32_t> documents;
    for (const WaveDocuments& wave : split_into_waves(batch, budget)) {
      EXPECT_TRUE(wave.documents.size() == 1 || wave.token_count() <= budget);
      for (std::size_t d = 0; d < wave.documents.size(); ++d) {
        EXPECT_EQ(wave.lengths[d], batch.packs[0][static_cast<std::size_t>(wave.documents[d])]);
      }
      documents.insert(documents.end(), wave.documents.begin(), wave.documents.end());
    }
    std::sort(documents.begin(), documents.end());
    std::vector<std::int32_t> all(batch.packs[0].size());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(documents, all);
  }
}

TEST(Waves, AreThoseOfLookingThroughAllWavesInOrder) {
  RandomWaves random(22);
  for (int i = 0; i < 200; ++i) {
    std::vector<std::int64_t> lengths;
    for (std::int64_t d = random.number(1, 300); d > 0; --d) lengths.push_back(random.number(1, 60));
    const std::int64_t budget = random.number(0, 150);
    std::vector<WaveDocuments> expected;
    for (std::size_t d = 0; d < lengths.size(); ++d) {
      auto wave = std::find_if(expected.begin(), expected.end(), [&](const WaveDocuments& each) {
        return each.token_count() <= budget - lengths[d];
      });
      if (wave == expected.end()) wave = expected.insert(wave, WaveDocuments{});
      wave->documents.push_back(static_cast<std::int32_t>(d));
      wave->lengths.push_back(lengths[d]);
    }
    ASSERT_EQ(split_into_waves(free_documents(lengths), budget), expected) << i;
  }
}

TEST(Waves, MakeOneDocumentOfAPackUnderTheFullCausalMask) {
  ModelShape model = named_model("tiny");
  const Batch batch{3, true, {{7, 3}, {5}}};
  EXPECT_EQ(masked_batch(batch, model, "batch"), batch);
  model.mask_kind = MaskKind::full_causal;
  EXPECT_EQ(masked_batch(batch, model, "batch"), (Batch{3, true, {{10}, {5}}}));
}

TEST(Waves, RefuseFreeDocumentsUnderTheFullCausalMask) {
  ModelShape model = named_model("tiny");
  model.mask_kind = MaskKind::full_causal;
  try {
    masked_batch(free_documents({7, 3}), model, "steps.jsonl:4");
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(
        error.what(),
        "steps.jsonl:4: found free documents with the mask full_causal, expected fixed packs, each of which "
        "is one sequence under full_causal");
  }
}

}  // namespace
}  // namespace strata::testing
