// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "cost_models/simulator/simulator.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tools/calibration/calibrate.hpp"
#include "tools/execution_topology.hpp"

namespace strata::tools {

Execution execution_of(const Plan& plan, const std::vector<std::vector<RankProgram>>& programs) {
  Execution execution;
  execution.model = plan.model;
  execution.plan_digest = plan_digest(plan);
  for (std::size_t w = 0; w < programs.size(); ++w) {
    execution.waves.push_back({programs[w], plan.waves[w].placement});
  }
  return execution;
}

namespace {

/// One plan that was run: what the simulator needs to predict it again under another profile.
struct MeasuredPlan {
  std::vector<std::vector<RankProgram>> programs;
  ModelShape model;
  Timeline timeline;
};

/// Document lengths like recorded ones: many short, few long, lengths that divide by nothing.
std::vector<std::int64_t> drawn_lengths(std::mt19937_64& engine, std::int64_t tokens) {
  std::vector<std::int64_t> lengths;
  while (tokens > 0) {
    const std::int64_t octave = 4 + static_cast<std::int64_t>(engine() % 9);  // 16 to 8191 tokens
    const std::int64_t length =
        (std::int64_t{1} << octave) + static_cast<std::int64_t>(engine() % (1ULL << octave));
    lengths.push_back(std::min(length, tokens));
    tokens -= lengths.back();
  }
  return lengths;
}

MeasuredPlan measure(const CalibrationRequest& request, const CostProfile& profile,
                     const std::string& strategy, std::vector<std::int64_t> lengths) {
  PlanRequest plan_request;
  plan_request.batch.fixed_packs = true;
  plan_request.batch.packs = {std::move(lengths)};
  const std::int32_t ranks = std::max(2, request.threads);
  plan_request.topology = named_topology(fmt::format("cpu:1x{}:{}", ranks, request.threads));
  plan_request.model = request.model;
  plan_request.model.layers = 2;
  plan_request.options.strategies = {strategy};
  plan_request.profile = profile;
  const PlanResult result = plan_batch(plan_request);
  MeasuredPlan measured;
  if (!result.plan) return measured;
  for (const Wave& wave : result.plan->waves)
    measured.programs.push_back(lower_wave(wave, result.plan->model));
  measured.model = result.plan->model;
  CpuOptions options;
  options.threads = request.threads;
  options.layers = measured.model.layers;
  options.repeats = 5;
  options.keep_results = false;
  measured.timeline = run_on_cpu(execution_of(*result.plan, measured.programs), options).timeline;
  return measured;
}

Timeline predict(const MeasuredPlan& plan, const CostProfile& profile) {
  SimulatorOptions options;
  options.layers = plan.timeline.layers;
  options.include_linear = false;
  options.exact = true;
  Simulation simulation =
      simulate_step(plan.programs, one_device_topology(plan.timeline), plan.model, profile, options);
  simulation.timeline.plan_digest = plan.timeline.plan_digest;
  return std::move(simulation.timeline);
}

/// measured / predicted over all instructions of a kind; 1 where there are none.
std::map<std::string, double> ratios(const std::vector<MeasuredPlan>& plans, const CostProfile& profile) {
  const std::string exchange = "Exchange";
  std::map<std::string, std::pair<double, double>> sums;
  for (const MeasuredPlan& plan : plans) {
    constexpr std::int64_t kEverythingCounts = 0;
    const TimelineComparison comparison =
        compare_timelines(predict(plan, profile), plan.timeline, plan.programs, kEverythingCounts);
    for (const KindError& kind : comparison.kinds) {
      // The same rates serve both kinds of exchange.
      const std::string& name = kind.kind == "Collective" ? exchange : kind.kind;
      sums[name].first += static_cast<double>(kind.error.measured_ns);
      sums[name].second += static_cast<double>(kind.error.predicted_ns);
    }
  }
  std::map<std::string, double> result;
  for (const auto& [kind, sum] : sums) {
    if (sum.first > 0 && sum.second > 0) result[kind] = sum.first / sum.second;
  }
  return result;
}

void scale_attention(CostProfile& profile, Pass pass, double factor) {
  for (AttentionTable& table : profile.attention) {
    if (table.pass != pass) continue;
    for (double& ns : table.full.ns_per_pair) ns *= factor;
    for (double& ns : table.diagonal_ns_per_pair) ns *= factor;
  }
}

void scale_row_rate(RowRate& rate, double factor) {
  rate.launch_ns *= factor;
  rate.range_ns *= factor;
  rate.bytes_per_second /= factor;
}

void apply_factors(const std::map<std::string, double>& factors, CostProfile& profile) {
  const auto factor = [&](const char* kind) {
    const auto found = factors.find(kind);
    return found == factors.end() ? 1.0 : std::clamp(found->second, 0.2, 5.0);
  };
  scale_attention(profile, Pass::forward, factor("Attention"));
  scale_attention(profile, Pass::backward, factor("AttentionBackward"));
  scale_row_rate(profile.copy, factor("CopyRows"));
  scale_row_rate(profile.merge, factor("MergePartials"));
  scale_row_rate(profile.add, factor("AccumulateGradient"));
  scale_row_rate(profile.cast, factor("TokenWork.cast"));
  scale_row_rate(profile.delta, factor("TokenWork.delta"));
  scale_row_rate(profile.zero, factor("TokenWork.zero"));
  const double exchange = factor("Exchange");
  profile.exchange.launch_ns *= exchange;
  profile.exchange.part_ns *= exchange;
  if (profile.exchange.peer_bytes_per_second > 0) profile.exchange.peer_bytes_per_second /= exchange;
}

std::vector<MeasuredPlan> measure_batches(const CalibrationRequest& request, const CostProfile& profile,
                                          std::mt19937_64& engine, const Output& output,
                                          const std::string& what) {
  const std::vector<std::string> names{"ring", "per_document", "ulysses", "whole_document"};
  const std::int64_t rounds = request.thorough ? 4 : 1;
  const std::int64_t tokens = request.thorough ? 16384 : 8192;
  Progress progress(output, what, rounds * static_cast<std::int64_t>(names.size()));
  std::vector<MeasuredPlan> plans;
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (const std::string& name : names) {
      MeasuredPlan plan = measure(request, profile, name, drawn_lengths(engine, tokens));
      if (!plan.programs.empty()) plans.push_back(std::move(plan));
      progress.advance();
    }
  }
  return plans;
}

/// Puts a plan's waves behind those already there, so that quantiles are over the instructions of all
/// batches.
void append_waves(const Timeline& plan, std::int32_t first_wave, Timeline& all) {
  if (all.events.empty()) {
    all = plan;
    all.events.clear();
    all.plan_digest.clear();
  }
  for (TimelineEvent event : plan.events) {
    event.wave += first_wave;
    all.events.push_back(event);
  }
}

std::vector<FitReport> held_out_errors(const std::vector<MeasuredPlan>& plans, const CostProfile& profile) {
  Timeline predicted, measured;
  std::vector<std::vector<RankProgram>> programs;
  std::vector<FitReport> reports;
  FitReport step{"step", {}};
  std::vector<double> step_errors;
  for (const MeasuredPlan& plan : plans) {
    const Timeline simulated = predict(plan, profile);
    const StepError error = compare_timelines(simulated, plan.timeline, plan.programs).step;
    step_errors.push_back(std::abs(error.relative_error));
    step.held_out.predicted_ns += error.predicted_ns;
    step.held_out.measured_ns += error.measured_ns;
    append_waves(simulated, static_cast<std::int32_t>(programs.size()), predicted);
    append_waves(plan.timeline, static_cast<std::int32_t>(programs.size()), measured);
    programs.insert(programs.end(), plan.programs.begin(), plan.programs.end());
  }
  for (Timeline* timeline : {&predicted, &measured}) {
    std::sort(timeline->events.begin(), timeline->events.end(), key_less);
  }
  for (const KindError& kind : compare_timelines(predicted, measured, programs).kinds) {
    reports.push_back({kind.kind, kind.error});
  }
  std::sort(step_errors.begin(), step_errors.end());
  step.held_out.count = static_cast<std::int64_t>(step_errors.size());
  step.held_out.median = step_errors[(step_errors.size() - 1) / 2];
  step.held_out.p95 = step.held_out.max = step_errors.back();
  for (const double error : step_errors)
    step.held_out.mean += error / static_cast<double>(step_errors.size());
  step.held_out.bias = static_cast<double>(step.held_out.predicted_ns) /
                           static_cast<double>(std::max<std::int64_t>(1, step.held_out.measured_ns)) -
                       1.0;
  reports.push_back(step);
  return reports;
}

}  // namespace

std::vector<FitReport> fit_in_step(const CalibrationRequest& request, CostProfile& profile,
                                   const Output& output) {
  std::mt19937_64 engine(request.seed);
  const std::vector<MeasuredPlan> fitted = measure_batches(request, profile, engine, output, "fitting");
  constexpr int kRounds = 4;  // kinds share cores, so one correction moves the others
  for (int round = 0; round < kRounds; ++round) apply_factors(ratios(fitted, profile), profile);
  const std::vector<MeasuredPlan> others = measure_batches(request, profile, engine, output, "held out");
  return held_out_errors(others, profile);
}

}  // namespace strata::tools
