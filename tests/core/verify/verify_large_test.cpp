// SPDX-License-Identifier: Apache-2.0
// Waves with so many transfers that the verifier splits them over threads and takes runs of multicasts
// together. One record in one document, the first, a middle or the last one, is damaged at a time; the wave
// must be refused for the rule that this breaks, and the good wave accepted.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/schedule/backward_schedule.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/core/verify/verify_support.hpp"

namespace strata::test {
namespace {

constexpr std::int32_t kRanks = 16;
constexpr std::int32_t kDocuments = 45;

WaveRequest large_request() {
  WaveRequest request;
  for (std::int32_t i = 0; i < kDocuments; ++i) {
    request.documents.push_back(i);
    request.lengths.push_back(300 + 37 * i);
  }
  request.rank_count = kRanks;
  request.model = named_model("llama3_8b");
  return request;
}

Wave large_wave(const char* strategy, const PlanOptions& options = {}) {
  return make_wave(strategy_named(strategy), large_request(), options);
}

std::vector<Violation> verify_large(const Wave& wave) { return verify(wave, large_request().model); }

/// The record of `records` in the middle of those of `document`.
template <typename Record, typename DocumentOf>
Record& record_of(std::vector<Record>& records, std::int32_t document, DocumentOf document_of) {
  const auto in_document = [&](const Record& record) { return document_of(record) == document; };
  const auto count = std::count_if(records.begin(), records.end(), in_document);
  auto at = std::find_if(records.begin(), records.end(), in_document);
  for (std::ptrdiff_t i = 0; i < count / 2; ++i) at = std::find_if(at + 1, records.end(), in_document);
  return *at;
}

Transfer& transfer_of(Wave& wave, std::int32_t document) {
  return record_of(wave.schedule.steps[0].transfers, document,
                   [](const Transfer& transfer) { return transfer.span.document; });
}

TEST(VerifyLargeWave, AcceptsWhatStrategiesMake) {
  for (const char* strategy : {"per_document", "ulysses", "zigzag_ring"}) {
    for (const BackwardKeep kv : {BackwardKeep::refetch, BackwardKeep::retain}) {
      for (const GradientReturn way : {GradientReturn::owner, GradientReturn::reverse_tree}) {
        PlanOptions options;
        options.kv = kv;
        options.gradient_return = way;
        const Wave wave = large_wave(strategy, options);
        EXPECT_TRUE(verify_large(wave).empty()) << strategy << "\n" << listed(verify_large(wave));
      }
    }
  }
}

TEST(VerifyLargeWave, FindsAMissingTarget) {
  for (const std::int32_t document : {0, kDocuments / 2, kDocuments - 1}) {
    Wave wave = large_wave("per_document");
    Transfer& transfer = transfer_of(wave, document);
    ASSERT_GT(transfer.targets.back().count(), 1);
    --transfer.targets.back().end;
    const auto violations = verify_large(wave);
    ASSERT_FALSE(violations.empty()) << document;
    for (const Violation& violation : violations) EXPECT_EQ(violation.rule, "not_held");
  }
}

TEST(VerifyLargeWave, FindsRowsThatTheirOwnerReceives) {
  for (const std::int32_t document : {0, kDocuments / 2, kDocuments - 1}) {
    Wave wave = large_wave("per_document");
    Transfer& transfer = transfer_of(wave, document);
    const std::int32_t owner = transfer.source;
    transfer.source = transfer.targets.front().begin;
    transfer.targets = {{owner, owner + 1}};
    const auto violations = verify_large(wave);
    ASSERT_FALSE(violations.empty()) << document;
    EXPECT_TRUE(std::any_of(violations.begin(), violations.end(), [](const Violation& violation) {
      return violation.rule == "received_by_owner";
    })) << listed(violations);
  }
}

TEST(VerifyLargeWave, FindsAMissingTask) {
  for (const std::int32_t document : {0, kDocuments / 2, kDocuments - 1}) {
    Wave wave = large_wave("per_document");
    auto& tasks = wave.schedule.steps[1].tasks;
    const AttentionTask& task =
        record_of(tasks, document, [](const AttentionTask& one) { return one.query.document; });
    tasks.erase(tasks.begin() + (&task - tasks.data()));
    const auto violations = verify_large(wave);
    ASSERT_FALSE(violations.empty()) << document;
    EXPECT_EQ(violations.front().rule, "coverage") << listed(violations);
  }
}

TEST(VerifyLargeWave, FindsAnOutputThatDoesNotComeHome) {
  Wave wave = large_wave("ulysses");
  auto& outputs = wave.schedule.steps[2].transfers;
  outputs.erase(outputs.begin() + static_cast<std::ptrdiff_t>(outputs.size() / 2));
  const auto violations = verify_large(wave);
  ASSERT_EQ(violations.size(), 1U) << listed(violations);
  EXPECT_EQ(violations.front().rule, "not_returned");
}

TEST(VerifyLargeWave, FindsBackwardStepsThatThePolicyDoesNotWant) {
  Wave wave = large_wave("per_document");
  wave.backward.steps.resize(1);
  expect_only(verify_large(wave), "backward_policy", ".backward", "1 steps are written down");
}

TEST(Collectives, AreNotReductions) {
  const Wave wave = large_wave("ulysses");
  const CommSchedule backward = derive_backward(wave, large_request().model);
  ASSERT_EQ(backward.steps.size(), 3U);
  EXPECT_EQ(backward.steps[0].collective, CollectiveKind::all_to_all);
  EXPECT_TRUE(backward.steps[2].transfers.empty());
  EXPECT_FALSE(backward.steps[2].reductions.empty());
  EXPECT_EQ(backward.steps[2].collective, CollectiveKind::none);

  Wave written = with_explicit_backward(wave, large_request().model);
  EXPECT_TRUE(verify_large(written).empty()) << listed(verify_large(written));
  written.backward.steps[2].collective = CollectiveKind::all_to_all;
  expect_only(verify_large(written), "collective", ".backward.steps[2]", "a collective without transfers");
  written.backward.steps[2].transfers = {written.backward.steps[0].transfers.back()};
  written.backward.steps[2].transfers[0].ready = 3;
  const auto violations = verify_large(written);
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations.front().message, "reductions are not part of a collective");
}

}  // namespace
}  // namespace strata::test
