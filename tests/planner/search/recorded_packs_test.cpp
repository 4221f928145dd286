// SPDX-License-Identifier: Apache-2.0
// All 781 recorded packs of 131,072 tokens (traces/samples) with every strategy for 8 and 64 ranks, one test
// each: planned by plan_batch, then linted by the functions that `strata lint` is made of. On 64 ranks the
// usual scale plans every fourth pack so, every 16th where that takes most of a second, and has the schedule
// verifier check all;
// STRATA_TEST_SCALE=full lints all of them, and =small (the sanitizers) looks at every 60th pack.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "core/base/parallel_for.hpp"
#include "core/verify/verify_schedule.hpp"
#include "planner/report/wave_metrics.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/support/recorded_packs.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::testing {
namespace {

constexpr std::int64_t kPacks = 781;

struct Case {
  std::string strategy;
  std::int32_t ranks = 0;
  /// Thousands of transfers among 64 ranks: a plan takes 100 times as long as with the other strategies.
  bool heavy() const { return ranks == 64 && (strategy == "ulysses" || strategy == "per_document"); }
  /// Of the packs that are looked at, every so manieth is linted.
  std::int64_t lint_stride() const {
    if (full_scale() || (small_scale() && !heavy()) || ranks == 8) return 1;
    if (small_scale()) return 7;
    return heavy() ? 16 : 4;
  }
};

PlanRequest request_for(const Case& wanted, const std::string& model) {
  PlanRequest request;
  request.topology = named_topology(wanted.ranks == 8 ? "dgx_h100:1" : "dgx_h100:8");
  request.model = named_model(model);
  request.profile = default_profile(request.topology);
  request.options.strategies = {wanted.strategy};
  return request;
}

/// What became of one pack.
struct Outcome {
  bool planned = false, linted = false;
  std::int64_t transfers = 0;
  std::string rejection;
  std::vector<Violation> violations;
};

/// Everything `strata lint` proves, about a plan that never was in a file.
Outcome plan_and_lint(const PlanRequest& request) {
  Outcome outcome;
  const PlanResult result = plan_batch(request);
  if (!result.plan) {
    outcome.rejection = result.rejections.at(0).reason;
    return outcome;
  }
  outcome.planned = outcome.linted = true;
  outcome.transfers = transfer_count(result.plan->waves.at(0).schedule);
  outcome.violations = verify_plan(*result.plan, 1);
  if (outcome.violations.empty()) outcome.violations = verify_plan_programs(*result.plan, 1);
  return outcome;
}

/// The schedule alone: no programs, no prediction.
Outcome schedule_and_verify(const PlanRequest& request) {
  Outcome outcome;
  WaveRequest wanted;
  wanted.lengths = request.batch.packs.at(0);
  for (std::size_t i = 0; i < wanted.lengths.size(); ++i) {
    wanted.documents.push_back(static_cast<std::int32_t>(i));
  }
  wanted.rank_count = request.topology.rank_count();
  wanted.model = request.model;
  const Strategy strategy = strategy_named(request.options.strategies.at(0));
  if (const auto rejection = strategy.rejects(wanted)) {
    outcome.rejection = rejection->reason;
    return outcome;
  }
  const Wave wave = make_wave(strategy, wanted, request.options);
  outcome.planned = true;
  outcome.transfers = transfer_count(wave.schedule);
  outcome.violations = verify_wave(wave, request.model, wanted.rank_count, "waves[0]", 1);
  return outcome;
}

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

class RecordedPacks : public ::testing::TestWithParam<Case> {
 protected:
  static void TearDownTestSuite() {
    fmt::print("{:>5}  {:<14}  {:>7}  {:>6}  {:>8}  {:>14}  {:>11}\n", "ranks", "strategy", "planned",
               "linted", "rejected", "transfers/pack", "processor s");
    for (const std::string& row : rows()) fmt::print("{}\n", row);
  }

  static std::vector<std::string>& rows() {
    static std::vector<std::string> table;
    return table;
  }
};

TEST_P(RecordedPacks, PlanAndLintClean) {
  const Case& wanted = GetParam();
  const PlanRequest base = request_for(wanted, wanted.ranks == 8 ? "llama3_8b" : "llama3_70b");
  const auto packs = recorded_packs();
  ASSERT_EQ(std::ssize(packs), kPacks);
  const std::int64_t stride = small_scale() ? 60 : 1;
  std::vector<Outcome> outcomes(static_cast<std::size_t>((kPacks - 1) / stride + 1));
  const double start = processor_seconds();
  parallel_for(std::ssize(outcomes), 0, [&](std::int64_t i) {
    PlanRequest request = base;
    request.batch.fixed_packs = true;
    request.batch.packs = {packs[static_cast<std::size_t>(i * stride)]};
    outcomes[static_cast<std::size_t>(i)] =
        i % wanted.lint_stride() == 0 ? plan_and_lint(request) : schedule_and_verify(request);
  });
  const double seconds = processor_seconds() - start;

  std::int64_t planned = 0, linted = 0, transfers = 0;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    planned += outcome.planned ? 1 : 0;
    linted += outcome.linted ? 1 : 0;
    transfers += outcome.transfers;
    EXPECT_EQ(outcome.rejection, "") << "pack " << i * static_cast<std::size_t>(stride);
    for (const Violation& violation : outcome.violations) {
      ADD_FAILURE() << "pack " << i * static_cast<std::size_t>(stride) << ": " << violation.place << ": "
                    << violation.rule << ": " << violation.message;
    }
  }
  const std::int64_t count = std::ssize(outcomes);
  EXPECT_EQ(planned, count);
  EXPECT_EQ(linted, (count - 1) / wanted.lint_stride() + 1);
  rows().push_back(fmt::format("{:>5}  {:<14}  {:>7}  {:>6}  {:>8}  {:>14}  {:>11.1f}", wanted.ranks,
                               wanted.strategy, planned, linted, count - planned, transfers / count,
                               seconds));
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const std::int32_t ranks : {8, 64}) {
    for (const Strategy& strategy : all_strategies()) cases.push_back({std::string(strategy.name), ranks});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(, RecordedPacks, ::testing::ValuesIn(all_cases()), [](const auto& tested) {
  return fmt::format("{}_on_{}_ranks", tested.param.strategy, tested.param.ranks);
});

TEST(RecordedPacksRejections, AreCountedByReason) {
  const auto packs = recorded_packs();
  for (const std::int32_t ranks : {8, 64}) {
    PlanRequest request = request_for({"ulysses", ranks}, "tiny");
    request.batch.fixed_packs = true;
    std::map<std::string, std::int64_t> rejected;
    for (const auto& pack : packs) {
      request.batch.packs = {pack};
      ++rejected[plan_and_lint(request).rejection];
    }
    const std::map<std::string, std::int64_t> expected = {
        {fmt::format(
             "4 query heads cannot be divided evenly among {0} ranks; degrees that work: 1, 2, 4 (of {0} "
             "ranks); other strategies divide no heads",
             ranks),
         kPacks}};
    EXPECT_EQ(rejected, expected);
  }
}

}  // namespace
}  // namespace strata::testing
