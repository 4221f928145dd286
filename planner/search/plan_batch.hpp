// SPDX-License-Identifier: Apache-2.0
// From a batch to a plan: every asked strategy places, schedules, is verified, lowered and simulated; the
// fastest within the memory cap wins.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/check.hpp"
#include "core/plan/plan.hpp"
#include "core/program/rank_program.hpp"
#include "cost_models/cost/memory_cost.hpp"
#include "cost_models/profile/cost_profile.hpp"
#include "planner/search/stage_clock.hpp"
#include "planner/search/waves.hpp"
#include "planner/strategies/strategy.hpp"

namespace strata {

/// The topology's ranks are the ranks of the plan.
struct PlanRequest {
  Batch batch;
  Topology topology;
  ModelShape model;
  PlanOptions options;
  CostProfile profile;
  /// [rank] -> device of all ranks of the machine, of which the topology's are the first; empty: it has no
  /// more. Only would_fit asks for it: more ranks first lie on these devices, and then on those of more
  /// machines.
  std::vector<std::int32_t> machine_ranks = {};
  /// The simulation of a candidate ends where its clock passes the step time of the best one before it. The
  /// same candidate wins. Of the others the plan says that they are slower, and not by how much.
  bool prune = false;
};

/// What one strategy makes of a request: waves with programs and prediction, or the reason against it.
struct StrategyOutcome {
  std::optional<Rejection> rejection;
  bool lacks_memory = false;  ///< the rejection is for want of memory
  /// The step takes longer than what was asked for (CandidateLimits::stop_after); `predicted` is empty then.
  std::optional<Duration> slower_than;
  std::vector<Wave> waves;
  std::vector<std::vector<RankProgram>> programs;  ///< [wave][rank]
  MemoryPrediction memory;
  Prediction predicted;
  StageTimes times;  ///< measured
};

/// How far one strategy is planned, and who is told.
struct CandidateLimits {
  /// The step time beyond which it does not matter how long the step takes.
  std::optional<Duration> stop_after;
  std::function<void(const StageBegins&)> begins;
};

/// How far plan_batch is: a stage of one of the strategies begins. In the end `candidate` is the number of
/// strategies, while the winner's programs are verified.
struct PlanProgress {
  std::size_t candidate = 0;
  std::string_view strategy;
  StageBegins stage;
};

/// A plan, or one reason per strategy why there is none.
struct PlanResult {
  std::optional<Plan> plan;
  std::vector<Rejection> rejections;
  double largest_extrapolated_share = 0;   ///< of any candidate that was simulated to its end
  std::string most_extrapolated_strategy;  ///< the candidate that has it; the first of equals
  /// When memory was lacking: what to change (planner/search/would_fit.hpp).
  std::vector<std::string> would_fit;
};

/// Placement, groups, schedule and backward policy of one wave, not verified. `strategy` must not reject it.
/// Throws InputError for a request that is not valid.
Wave make_wave(const Strategy& strategy, const WaveRequest& request, const PlanOptions& options);

/// Waves and programs that fit the memory, with the memory that they need, not simulated; or the rejection.
/// Free documents are split into smaller waves until every rank fits. `batch` as masked_batch returns it.
StrategyOutcome fit_waves(const Strategy& strategy, const Batch& batch, const PlanRequest& request);

/// What the strategy makes of `batch`, which is as masked_batch returns it. The outcome is verified (a
/// violation is a bug: STRATA_CHECK), lowered, within the memory and simulated.
StrategyOutcome plan_with(const Strategy& strategy, const Batch& batch, const PlanRequest& request,
                          const CandidateLimits& limits = {});

/// The entry of a plan's list of candidates.
Candidate candidate_of(const Strategy& strategy, const StrategyOutcome& outcome);

/// Throws InputError for a batch, topology, model, profile or strategy name that is not valid. Equal requests
/// give equal plans. Ties go to the strategy that the table lists first. `progress` is called before each
/// stage.
PlanResult plan_batch(const PlanRequest& request,
                      const std::function<void(const PlanProgress&)>& progress = {});

}  // namespace strata
