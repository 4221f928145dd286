// SPDX-License-Identifier: Apache-2.0
// Ending the simulation of a candidate that has lost changes nothing about who wins, and what is said of the
// others is true. The stages that planning tells of.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "planner/audit/audit_plan.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/planner/audit/forgery.hpp"
#include "tests/planner/realise/random_waves.hpp"
#include "tests/support/random_machine.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::testing {
namespace {

/// On random machines and shipped ones, packs and free documents.
PlanRequest random_request(RandomWaves& random) {
  PlanRequest request;
  std::vector<std::int64_t> lengths = random.next().lengths;
  for (std::int64_t more = random.number(0, 2); more > 0; --more) lengths.push_back(random.number(1, 900));
  request.batch = {0, random.number(0, 1) == 0, {lengths}};
  const std::vector<std::string> shipped = {"cpu:1x3", "cpu:2x4", "dgx_h100:1", "dgx_h100:2"};
  const auto kind = static_cast<std::size_t>(random.number(0, 2 * std::ssize(shipped)));
  if (kind < shipped.size()) {
    request.topology = named_topology(shipped[kind]);
    request.profile = default_profile(request.topology);
  } else {
    request.topology = random_machine(static_cast<std::uint64_t>(random.number(0, 99)));
    request.profile = default_profile("cpu");
  }
  request.model = named_model("tiny");
  request.model.layers = static_cast<std::int32_t>(random.number(1, 4));
  return request;
}

TEST(Prune, KeepsTheWinnerAndSaysOnlyWhatIsTrueOfTheOthers) {
  RandomWaves random(97);
  int pruned_candidates = 0;
  for (int i = 0; i < (small_scale() ? 10 : 60); ++i) {
    PlanRequest request = random_request(random);
    const PlanResult full = plan_batch(request);
    request.prune = true;
    const PlanResult pruned = plan_batch(request);
    ASSERT_EQ(full.plan.has_value(), pruned.plan.has_value());
    if (!full.plan) continue;
    Plan with_times = *pruned.plan;
    for (std::size_t c = 0; c < with_times.candidates.size(); ++c) {
      Candidate& candidate = with_times.candidates[c];
      if (!candidate.slower_than) continue;
      ++pruned_candidates;
      const Candidate& truth = full.plan->candidates[c];
      ASSERT_TRUE(truth.step_time);
      EXPECT_FALSE(candidate.step_time || candidate.rejected) << candidate.strategy;
      EXPECT_GT(*truth.step_time, *candidate.slower_than) << candidate.strategy;
      EXPECT_GE(*candidate.slower_than, full.plan->predicted.step_time) << candidate.strategy;
      candidate = truth;
    }
    EXPECT_EQ(with_times, *full.plan) << "trial " << i;
  }
  EXPECT_GT(pruned_candidates, 10) << "nothing was pruned";
}

TEST(Prune, TheAuditProvesThatTheOthersAreSlower) {
  PlanRequest request = audited_request({}, "dgx_h100:1", {{600, 100, 57, 1}, {300, 458}});
  request.prune = true;
  const Plan honest = through_file(*plan_batch(request).plan);
  std::size_t pruned = 0;
  while (!honest.candidates[pruned].slower_than) ++pruned;
  ASSERT_LT(pruned, honest.candidates.size());
  const Audit audit = audit_plan(honest);
  EXPECT_TRUE(audit.passed()) << listed(audit);
  EXPECT_TRUE(audit.not_verified.empty());

  const std::string place = "candidates[" + std::to_string(pruned) + "]";
  const auto expect_refused = [&](const std::function<void(Candidate&)>& forge, const std::string& part) {
    Plan forged = honest;
    forge(forged.candidates[pruned]);
    const Audit verdict = audit_plan(through_file(forged));
    ASSERT_EQ(verdict.violations.size(), 1U) << listed(verdict);
    EXPECT_EQ(verdict.violations.front().place, place);
    EXPECT_NE(verdict.violations.front().message.find(part), std::string::npos) << listed(verdict);
  };
  request.prune = false;
  const Duration truth = *plan_batch(request).plan->candidates[pruned].step_time;
  expect_refused([&](Candidate& each) { each.slower_than = truth; }, "planning gives " + text(truth) + " ns");
  expect_refused([](Candidate& each) { each.slower_than = Duration{1}; }, "may take less");
  expect_refused([](Candidate& each) { each.step_time = each.slower_than; }, "needs either");
  expect_refused([](Candidate& each) { each.slower_than = {}; }, "needs either");
  expect_refused([](Candidate& each) { each.settled = false; }, "is slower than another, but has a time");
}

TEST(PlanProgress, GoesThroughTheStagesOfEveryCandidateInOrder) {
  PlanRequest request = audited_request({});
  request.topology = named_topology("cpu:1x3");  // which ulysses rejects
  std::map<std::size_t, std::string> stages;
  const std::vector<std::string> names = {"search ", "verify ", "lower ", "simulate "};
  std::size_t candidate = 0;
  const PlanResult result = plan_batch(request, [&](const PlanProgress& at) {
    EXPECT_GE(at.candidate, candidate);
    EXPECT_LT(at.stage.wave, at.stage.waves);
    candidate = at.candidate;
    stages[candidate] += names[static_cast<std::size_t>(at.stage.stage)];
  });
  ASSERT_TRUE(result.plan);
  const std::size_t count = all_strategies().size();
  for (std::size_t i = 0; i < count; ++i) {
    const bool rejected = result.plan->candidates[i].rejected.has_value();
    EXPECT_EQ(stages[i], rejected ? "" : "search verify lower search verify lower search simulate ") << i;
  }
  EXPECT_EQ(stages[count], "verify verify ") << "the winner's programs, wave by wave";
}

}  // namespace
}  // namespace strata::testing
