// SPDX-License-Identifier: Apache-2.0
// Kinds of forged requests, candidates and layouts, each in a freshly made plan; as forged_claims_test.cpp.
#include <gtest/gtest.h>

#include "tests/planner/audit/forgery.hpp"

namespace strata::testing {
namespace {

const std::vector<std::string> kAll = {};

TEST(ForgedLayouts, TheExchangeOfTheRequestAndOfTheWaves) {
  PlanRequest full = audited_request({"zigzag_ring"});
  full.options.exchange = ExchangeMode::full;
  expect_forgery(full, [](Plan& plan) { plan.options.exchange = ExchangeMode::needed; },
                 {{"request", "waves[0].exchange", {"full, but", "needed"}},
                  {"request", "waves[1].exchange", {"full, but", "needed"}}});
  expect_forgery(audited_request({"zigzag_ring"}),
                 [](Plan& plan) { plan.waves[1].schedule.exchange = ExchangeMode::full; },
                 {{"request", "waves[1].exchange", {"full, but the request asks for needed"}}});
}

TEST(ForgedLayouts, WhatTheRequestSaysOfBackward) {
  expect_forgery(audited_request({"ring"}, "cpu:2x2", {{19}}),
                 [](Plan& plan) { plan.options.kv = BackwardKeep::retain; },
                 {{"request", "waves[0].backward.kv", {"refetch, but the request asks for retain"}}});
  expect_forgery(audited_request({"ring"}, "cpu:2x2", {{19}}),
                 [](Plan& plan) { plan.options.gradient_return = GradientReturn::reverse_tree; },
                 {{"request", "waves[0].backward.return", {"owner, but the request asks for reverse_tree"}}});
}

TEST(ForgedLayouts, StrategiesThatTheRequestCannotMean) {
  expect_forgery(audited_request({"ring"}), [](Plan& plan) { plan.options.strategies = {"rign"}; },
                 {{"request", "inputs.request.content.strategies", {"\"rign\"", "expected one of ulysses"}}});
  expect_forgery(audited_request({"ring"}),
                 [](Plan& plan) {
                   plan.options.strategies = {"ring", "ring"};
                 },
                 {{"request", "inputs.request.content.strategies", {"twice"}}});
}

TEST(ForgedLayouts, CandidatesThatNobodyAskedFor) {
  expect_forgery(
      audited_request({"ring", "ulysses"}), [](Plan& plan) { plan.options.strategies = {plan.strategy}; },
      [](const Plan& honest, const Plan&) {
        const bool ring = honest.strategy == "ring";
        return Lines{{"candidates",
                      ring ? "candidates[0]" : "candidates[1]",
                      {fmt::format("the request asks for {}", honest.strategy)}}};
      });
}

TEST(ForgedLayouts, ACandidateIsMissing) {
  expect_forgery(audited_request(kAll),
                 [](Plan& plan) {
                   std::erase_if(plan.candidates, [&](const Candidate& each) {
                     return each.strategy == (plan.strategy == "ring" ? "ulysses" : "ring");
                   });
                 },
                 {{"candidates", "candidates", {"no entry for '", "asks for it"}}});
}

TEST(ForgedLayouts, ACandidateStandsTwice) {
  expect_forgery(audited_request(kAll),
                 [](Plan& plan) {
                   const Candidate copy = candidate_of(plan, plan.strategy == "ring" ? "ulysses" : "ring");
                   plan.candidates.push_back(copy);
                 },
                 {{"candidates", "candidates[6]", {"a second time"}}});
}

TEST(ForgedLayouts, ACandidateThatIsNoStrategy) {
  expect_forgery(audited_request({"ring"}),
                 [](Plan& plan) {
                   plan.candidates.push_back({"magic", Duration{1}, {}});
                 },
                 {{"candidates", "candidates[1]", {"'magic', but the strategies are ulysses"}}});
}

TEST(ForgedLayouts, CandidatesInAnotherOrder) {
  expect_forgery(audited_request({"ring", "zigzag_ring"}),
                 [](Plan& plan) { std::swap(plan.candidates[0], plan.candidates[1]); },
                 {{"candidates", "candidates", {"the order that decides ties is ring, zigzag_ring"}}});
}

/// Of a loser that was feasible.
std::size_t loser(const Plan& plan) {
  std::size_t i = 0;
  while (plan.candidates[i].strategy == plan.strategy || !plan.candidates[i].step_time) ++i;
  return i;
}

TEST(ForgedLayouts, TimesOfCandidatesThatLost) {
  for (const std::int64_t by : {-1, 1, 1'000'000'000}) {
    expect_forgery(
        audited_request(kAll), [&](Plan& plan) { plan.candidates[loser(plan)].step_time->ns += by; },
        [&](const Plan& honest, const Plan&) {
          const std::size_t i = loser(honest);
          const Duration time = *honest.candidates[i].step_time;
          return Lines{{"candidates",
                        fmt::format("candidates[{}]", i),
                        {text(Duration{time.ns + by}) + " ns, but", text(time) + " ns"}}};
        });
  }
}

TEST(ForgedLayouts, ATimeThatIsSaidNotToBeSettled) {
  expect_forgery(
      audited_request(kAll), [](Plan& plan) { plan.candidates[loser(plan)].settled = false; },
      [](const Plan& honest, const Plan&) {
        const std::size_t i = loser(honest);
        const std::string time = text(*honest.candidates[i].step_time) + " ns";
        return Lines{{"candidates", fmt::format("candidates[{}]", i), {time + ", not settled, but", time}}};
      });
}

TEST(ForgedLayouts, ALoserThatIsFasterThanTheChosen) {
  expect_forgery(
      audited_request(kAll), [](Plan& plan) { plan.candidates[loser(plan)].step_time = Duration{1}; },
      [](const Plan& honest, const Plan&) {
        return Lines{{"candidates",
                      fmt::format("candidates[{}]", loser(honest)),
                      {"takes 1 ns, but the chosen", text(honest.predicted.step_time)}}};
      });
}

TEST(ForgedLayouts, ATieThatGoesToTheOneListedLater) {
  // On one rank all strategies take the same time and the first wins.
  expect_forgery(audited_request({"ring", "allgather"}, "cpu:1x1"),
                 [](Plan& plan) { plan.strategy = "allgather"; },
                 {{"candidates", "candidates[0]", {"of equals the first listed is chosen"}}});
}

TEST(ForgedLayouts, ARejectionWithoutAReason) {
  for (const char* reason : {"", "  \t"}) {
    expect_forgery(audited_request(kAll, "cpu:1x3"),
                   [&](Plan& plan) { candidate_of(plan, "ulysses").rejected = reason; },
                   {{"candidates", "candidates[0]", {"a rejection has a reason"}}});
  }
}

TEST(ForgedLayouts, ARejectionThatNeverWas) {
  expect_forgery(
      audited_request(kAll),
      [](Plan& plan) {
        Candidate& each = plan.candidates[loser(plan)];
        each = {each.strategy, {}, "4 query heads cannot be divided evenly among 4 ranks"};
      },
      [](const Plan& honest, const Plan&) {
        const std::size_t i = loser(honest);
        return Lines{{"candidates",
                      fmt::format("candidates[{}]", i),
                      {"rejected, 4 query heads", "planning gives", text(*honest.candidates[i].step_time)}}};
      });
}

TEST(ForgedLayouts, ARejectionForAnotherReasonAndOneThatIsHidden) {
  const std::string truth = "4 query heads cannot be divided evenly among 3 ranks";
  expect_forgery(audited_request(kAll, "cpu:1x3"),
                 [](Plan& plan) { candidate_of(plan, "ulysses").rejected = "it is too slow"; },
                 {{"candidates", "candidates[0]", {"it is too slow", truth}}});
  expect_forgery(audited_request(kAll, "cpu:1x3"),
                 [](Plan& plan) {
                   candidate_of(plan, "ulysses") = {"ulysses", Duration{3'000'000'000}, {}};
                 },
                 {{"candidates", "candidates[0]", {"3000000000 ns", truth}}});
}

/// The plan with everything that names its strategy naming another one.
void relabel(Plan& plan, const std::string& name) {
  plan.options.strategies = {name};
  plan.strategy = plan.candidates[0].strategy = name;
}

TEST(ForgedLayouts, TheNameOfTheStrategy) {
  const auto layout_of = [](const std::string& name) {
    return Lines{{"strategy", "waves[0]", {fmt::format("its layout is that of '{}'", name)}}};
  };
  // Two placements, and two exchanges on one placement.
  expect_forgery(
      audited_request({"zigzag_ring"}, "cpu:2x2", {{19, 3}}), [](Plan& plan) { relabel(plan, "ring"); },
      layout_of("zigzag_ring"));
  expect_forgery(
      audited_request({"allgather"}, "cpu:2x2", {{19, 3}}), [](Plan& plan) { relabel(plan, "zigzag_ring"); },
      layout_of("allgather"));
  expect_forgery(audited_request({"ring"}, "cpu:1x3", {{19, 3}}),
                 [](Plan& plan) { relabel(plan, "ulysses"); },
                 {{"strategy", "waves[0]", {"cannot serve one"}}});
  expect_forgery(audited_request({"ring"}), [](Plan& plan) { plan.strategy = "magic"; },
                 {{"candidates", "candidates", {"0 entries for the chosen strategy 'magic'"}}});
  expect_forgery(audited_request({"ring"}), [](Plan& plan) { relabel(plan, "magic"); },
                 {{"strategy", "strategy", {"'magic', but the strategies are ulysses"}},
                  {"candidates", "candidates[0]", {"'magic'"}}});
}

TEST(ForgedLayouts, GroupsThatAreNotTheStrategys) {
  expect_forgery(audited_request({"whole_document"}, "cpu:1x2", {{19, 3}}),
                 [](Plan& plan) {
                   plan.waves[0].groups = {{{0, 1}, {{"ring", 2}}, {0, 1}}};
                 },
                 {{"strategy", "waves[0].groups", {"'whole_document'"}}});
}

TEST(ForgedLayouts, AGroupWithoutARankThatComputesForIt) {
  // The only token is rank 0's, but rank 1 computes half of its heads.
  expect_forgery(audited_request({"ulysses"}, "cpu:1x2", {{1}}),
                 [](Plan& plan) {
                   plan.waves[0].groups = {{{0}, {{"ulysses", 1}}, {0}}};
                 },
                 {{"groups", "waves[0].steps[1].tasks[1]", {"rank 1 computes for document 0", "ranks 0"}}});
}

TEST(ForgedLayouts, StepsMarkedAsCollectivesThatAreNone) {
  for (const CollectiveKind kind : {CollectiveKind::all_gather, CollectiveKind::all_to_all}) {
    expect_forgery(audited_request({"ring"}, "cpu:2x2", {{19, 3}}),
                   [&](Plan& plan) {
                     for (ScheduleStep& step : plan.waves[0].schedule.steps) {
                       if (!step.transfers.empty() && step.transfers.front().tensor == TensorKind::kv) {
                         step.collective = kind;
                         break;
                       }
                     }
                     put_waves_right(plan);
                   },
                   {{"collective", "waves[0].steps[0].collective", {"but the step is none"}}});
  }
}

}  // namespace
}  // namespace strata::testing
