// SPDX-License-Identifier: Apache-2.0
#include "planner/plan_batch.hpp"

#include <algorithm>
#include <utility>

#include "core/counts.hpp"
#include "core/lower.hpp"
#include "core/plan_json.hpp"
#include "core/verify_programs.hpp"
#include "core/verify_schedule.hpp"
#include "cost_models/memory_cost.hpp"
#include "planner/human_units.hpp"
#include "planner/prediction.hpp"
#include "planner/strategy_table.hpp"

namespace strata {

namespace {

void validate(const PlanRequest& request) {
  validate(request.batch, "batch");
  validate(request.topology, "topology");
  validate(request.model, "model");
  validate(request.profile, "profile");
  if (request.options.gradient_return == GradientReturn::explicit_steps) {
    throw InputError("request.gradient_return", "explicit",
                     "owner or reverse_tree: strategies write no backward");
  }
  if (request.options.memory_cap.count < 0) {
    throw InputError("request.memory_cap", fmt::format("{} bytes", request.options.memory_cap.count),
                     "0 or more");
  }
}

WaveRequest wave_request(const WaveDocuments& wave, const PlanRequest& request) {
  return {wave.documents, wave.lengths, request.topology.rank_count(), request.model,
          request.options.exchange};
}

void check_valid(const std::vector<Violation>& violations, std::string_view strategy) {
  if (violations.empty()) return;
  const Violation& first = violations.front();
  STRATA_CHECK(violations.empty(), "{} made an invalid plan: {} at {}: {}", strategy, first.rule, first.place,
               first.message);
}

/// Fills waves and programs for one way of splitting the batch, or only the rejection.
StrategyOutcome lower_waves(const Strategy& strategy, const std::vector<WaveDocuments>& split,
                            const PlanRequest& request) {
  StrategyOutcome outcome;
  for (std::size_t i = 0; i < split.size(); ++i) {
    const WaveRequest wanted = wave_request(split[i], request);
    outcome.rejection = strategy.rejects(wanted);
    if (outcome.rejection) {
      if (split.size() > 1)
        outcome.rejection->reason = fmt::format("wave {}: {}", i, outcome.rejection->reason);
      return outcome;
    }
    Wave wave = make_wave(strategy, wanted, request.options);
    check_valid(verify_wave(wave, request.model, wanted.rank_count, fmt::format("waves[{}]", i), 1),
                strategy.name);
    outcome.programs.push_back(lower_wave(wave, request.model));
    outcome.waves.push_back(std::move(wave));
  }
  return outcome;
}

/// The wave that needs most memory per rank, and how much that is.
struct FullestWave {
  std::size_t index = 0;
  Bytes peak;
};

FullestWave fullest_wave(const std::vector<std::vector<RankProgram>>& programs, std::int32_t layers) {
  FullestWave fullest;
  for (std::size_t i = 0; i < programs.size(); ++i) {
    const Bytes peak = memory_peak({programs[i]}, layers).peak;
    if (peak > fullest.peak) fullest = {i, peak};
  }
  return fullest;
}

/// A budget for smaller waves: in proportion to what is too much, and at least a sixteenth less.
std::int64_t smaller_budget(std::int64_t tokens, Bytes peak, Bytes cap) {
  const double share = static_cast<double>(cap.count) / static_cast<double>(peak.count);
  const auto proportional = static_cast<std::int64_t>(static_cast<double>(tokens) * share);
  return std::max<std::int64_t>(1, std::min(proportional, tokens - tokens / 16 - 1));
}

Rejection rejects_memory(const Strategy& strategy, const WaveDocuments& wave, std::size_t index, Bytes peak,
                         Bytes cap) {
  const std::string what =
      wave.documents.size() == 1
          ? fmt::format("document {} of {}", wave.documents.front(), counted(wave.lengths.front(), "token"))
          : fmt::format("wave {} of {}", index, counted(wave.token_count(), "token"));
  return {std::string(strategy.name),
          fmt::format("{} needs {} ({} bytes) on one rank, over the memory cap of {} ({} bytes)", what,
                      human(peak), peak.count, human(cap), cap.count)};
}

/// Lowered waves within the memory cap, or the rejection.
StrategyOutcome fit_waves(const Strategy& strategy, const Batch& batch, const PlanRequest& request) {
  const Bytes cap = request.options.memory_cap;
  std::int64_t budget = largest_token_budget(request.model, request.topology.rank_count(), cap);
  while (true) {
    const std::vector<WaveDocuments> split = split_into_waves(batch, budget);
    StrategyOutcome outcome = lower_waves(strategy, split, request);
    if (outcome.rejection || cap.count == 0) return outcome;
    const FullestWave fullest = fullest_wave(outcome.programs, request.model.layers);
    if (fullest.peak <= cap) return outcome;
    const WaveDocuments& wave = split[fullest.index];
    if (batch.fixed_packs || wave.documents.size() == 1) {
      StrategyOutcome none;
      none.rejection = rejects_memory(strategy, wave, fullest.index, fullest.peak, cap);
      return none;
    }
    budget = smaller_budget(wave.token_count(), fullest.peak, cap);
  }
}

/// The request's batch is as masked_batch returns it.
Plan finish_plan(const PlanRequest& request, const Strategy& strategy, StrategyOutcome&& best,
                 std::vector<Candidate>&& candidates) {
  Plan plan;
  plan.batch = request.batch;
  plan.topology = request.topology;
  plan.model = request.model;
  plan.options = request.options;
  plan.profile = embed_profile(profile_text(request.profile));
  plan.lowering_version = kLoweringVersion;
  plan.strategy = strategy.name;
  for (std::size_t wave = 0; wave < best.programs.size(); ++wave) {
    check_valid(verify_programs(best.programs[wave], fmt::format("waves[{}]", wave), 1), strategy.name);
    plan.program_digests.push_back(program_digests(best.programs[wave]));
  }
  plan.waves = std::move(best.waves);
  plan.predicted = best.predicted;
  plan.bounds = bounds_of(request, plan.predicted.step_time);
  plan.candidates = std::move(candidates);
  return plan;
}

}  // namespace

Wave make_wave(const Strategy& strategy, const WaveRequest& request, const PlanOptions& options) {
  validate(request, "wave");
  Wave wave;
  wave.documents = request.documents;
  wave.lengths = request.lengths;
  wave.placement = strategy.place(request);
  wave.groups = strategy.groups(request, wave.placement);
  wave.schedule = strategy.schedule(request, wave.placement);
  wave.backward.kv = options.kv;
  wave.backward.gradient_return = options.gradient_return;
  return wave;
}

StrategyOutcome plan_with(const Strategy& strategy, const Batch& batch, const PlanRequest& request) {
  StrategyOutcome outcome = fit_waves(strategy, batch, request);
  if (outcome.rejection) return outcome;
  outcome.predicted = predict_step(outcome.programs, request);
  return outcome;
}

PlanResult plan_batch(const PlanRequest& asked, const std::function<void()>& considered) {
  validate(asked);
  PlanRequest request = asked;
  request.batch = masked_batch(asked.batch, asked.model, "batch");
  std::vector<Candidate> candidates;
  std::vector<Rejection> rejections;
  std::optional<Strategy> winner;
  StrategyOutcome best;
  for (const Strategy& strategy : strategies_named(request.options.strategies)) {
    StrategyOutcome outcome = plan_with(strategy, request.batch, request);
    if (considered) considered();
    Candidate& candidate = candidates.emplace_back();
    candidate.strategy = strategy.name;
    if (outcome.rejection) {
      candidate.rejected = outcome.rejection->reason;
      rejections.push_back(std::move(*outcome.rejection));
      continue;
    }
    candidate.step_time = outcome.predicted.step_time;
    if (!winner || outcome.predicted.step_time < best.predicted.step_time) {
      winner = strategy;
      best = std::move(outcome);
    }
  }
  if (!winner) return {std::nullopt, std::move(rejections)};
  return {finish_plan(request, *winner, std::move(best), std::move(candidates)), {}};
}

}  // namespace strata
