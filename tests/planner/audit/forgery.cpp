// SPDX-License-Identifier: Apache-2.0
#include "tests/planner/audit/forgery.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "core/problem/route_table.hpp"
#include "core/program/program_digest.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "planner/report/wave_metrics.hpp"
#include "planner/search/prediction.hpp"

namespace strata::testing {

PlanRequest audited_request(std::vector<std::string> strategies, const std::string& topology,
                            std::vector<std::vector<std::int64_t>> packs) {
  PlanRequest request;
  request.batch = {0, true, std::move(packs)};
  request.topology = named_topology(topology);
  request.model = named_model("tiny");
  request.options.strategies = std::move(strategies);
  request.options.device_cap = true;
  request.profile = default_profile(request.topology);
  return request;
}

/// The plan after a way through its file, with the digests of its inputs made right.
Plan through_file(Plan plan) {
  plan.digests = {};
  std::istringstream in(to_json(plan));
  return read_plan(in, "plan.json");
}

/// Puts right what core's verifier derives from the waves: program digests, arena, bytes and imbalance.
void put_waves_right(Plan& plan) {
  const RouteTable routes(plan.topology);
  Prediction& predicted = plan.predicted;
  predicted.arena = predicted.kv_bytes = {};
  predicted.bytes_by_level = {};
  plan.program_digests.clear();
  for (const Wave& wave : plan.waves) {
    const std::vector<RankProgram> programs = lower_wave(wave, plan.model);
    plan.program_digests.push_back(program_digests(programs));
    for (const RankProgram& program : programs) {
      predicted.arena = std::max(predicted.arena, program.arena);
    }
    predicted.kv_bytes += kv_bytes(wave.schedule, plan.model);
    std::vector<CommSchedule> passes = {wave.schedule, derive_backward(wave, plan.model)};
    if (plan.options.recompute == Recompute::full) passes.push_back(wave.schedule);  // once more, in backward
    for (const CommSchedule& pass : passes) {
      const LevelBytes bytes = bytes_by_level(pass, plan.model, routes);
      predicted.bytes_by_level.device += bytes.device * plan.model.layers;
      predicted.bytes_by_level.node += bytes.node * plan.model.layers;
      predicted.bytes_by_level.network += bytes.network * plan.model.layers;
    }
  }
}

/// Puts right what follows from the claimed times: the gap and the time of the chosen candidate.
void put_times_right(Plan& plan) {
  plan.bounds.gap = gap_of(plan.predicted.step_time, plan.bounds.lower_bound);
  for (Candidate& candidate : plan.candidates) {
    if (candidate.strategy == plan.strategy) candidate.step_time = plan.predicted.step_time;
  }
}

void put_prediction_right(Plan& plan, const PlanRequest& request) {
  std::vector<std::vector<RankProgram>> programs;
  for (const Wave& wave : plan.waves) programs.push_back(lower_wave(wave, plan.model));
  const MemoryPrediction memory = predict_memory(programs, plan.model, plan.options, plan.topology);
  plan.predicted = predict_step(programs, memory, request);
  plan.bounds = bounds_of(request, plan.predicted.step_time);
  put_times_right(plan);
}

Candidate& candidate_of(Plan& plan, const std::string& strategy) {
  const auto at = std::find_if(plan.candidates.begin(), plan.candidates.end(),
                               [&](const Candidate& each) { return each.strategy == strategy; });
  STRATA_CHECK(at != plan.candidates.end(), "{} is no candidate", strategy);
  return *at;
}

/// "rule at place: message", one line each.
std::string listed(const Audit& audit) {
  std::string text;
  for (const Violation& each : audit.violations) {
    text += each.rule + " at " + each.place + ": " + each.message + "\n";
  }
  return text;
}

std::string text(Duration time) { return fmt::format("{}", time.ns); }
std::string text(Bytes bytes) { return fmt::format("{}", bytes.count); }

/// Forges a fresh plan of `request` and compares the verdict with `lines`.
void expect_forgery(const PlanRequest& request, const std::function<void(Plan&)>& forge,
                    const std::function<Lines(const Plan& honest, const Plan& forged)>& lines) {
  const PlanResult result = plan_batch(request);
  ASSERT_TRUE(result.plan);
  const Plan honest = through_file(*result.plan);
  const Audit clean = audit_plan(honest);
  ASSERT_TRUE(clean.passed()) << listed(clean);
  ASSERT_TRUE(clean.not_verified.empty()) << clean.not_verified.front().claim;
  Plan forged = honest;
  forge(forged);
  forged = through_file(std::move(forged));
  ASSERT_NE(to_json(forged), to_json(honest)) << "nothing was forged";
  const Audit audit = audit_plan(forged);
  const std::vector<Line> expected = lines(honest, forged);
  ASSERT_EQ(audit.violations.size(), expected.size()) << listed(audit);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(audit.violations[i].rule, expected[i].rule) << listed(audit);
    EXPECT_EQ(audit.violations[i].place, expected[i].place) << listed(audit);
    for (const std::string& part : expected[i].says) {
      EXPECT_NE(audit.violations[i].message.find(part), std::string::npos) << part << " is missing in\n"
                                                                           << listed(audit);
    }
  }
}

/// The same where the lines do not depend on the plan.
void expect_forgery(const PlanRequest& request, const std::function<void(Plan&)>& forge, const Lines& lines) {
  expect_forgery(request, forge, [&](const Plan&, const Plan&) { return lines; });
}

}  // namespace strata::testing
