// SPDX-License-Identifier: Apache-2.0
// Candidates one after another: the fastest becomes the plan.
#include <utility>

#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "core/program/program_digest.hpp"
#include "core/verify/verify_programs.hpp"
#include "planner/search/expect_valid.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/search/prediction.hpp"
#include "planner/search/would_fit.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata {

namespace {

void validate_memory(const PlanOptions& options) {
  const auto at_least_0 = [](double value, const char* name) {
    if (!(value >= 0))
      throw InputError(fmt::format("request.{}", name), fmt::format("{}", value), "0 or more");
  };
  at_least_0(static_cast<double>(options.memory_cap.count), "memory_cap");
  at_least_0(options.state_shards, "state_shards");
  at_least_0(options.state_bytes_per_parameter, "state_bytes_per_parameter");
  if (options.offload_activations && options.recompute != Recompute::full) {
    throw InputError("request.offload_activations", fmt::format("recompute {}", to_string(options.recompute)),
                     "recompute full, which leaves only layer inputs to offload");
  }
}

void validate(const PlanRequest& request) {
  validate(request.batch, "batch");
  validate(request.topology, "topology");
  validate(request.model, "model");
  validate(request.profile, "profile");
  if (request.options.gradient_return == GradientReturn::explicit_steps) {
    throw InputError("request.gradient_return", "explicit",
                     "owner or reverse_tree: strategies write no backward");
  }
  validate_memory(request.options);
}

/// The request's batch is as masked_batch returns it.
Plan finish_plan(const PlanRequest& request, const Strategy& strategy, StrategyOutcome&& best,
                 std::vector<Candidate>&& candidates, const std::function<void(const StageBegins&)>& begins) {
  Plan plan;
  plan.batch = request.batch;
  plan.topology = request.topology;
  plan.model = request.model;
  plan.options = request.options;
  plan.profile = embed_profile(profile_text(request.profile));
  plan.lowering_version = kLoweringVersion;
  plan.strategy = strategy.name;
  for (std::size_t wave = 0; wave < best.programs.size(); ++wave) {
    if (begins) begins({PlanStage::verify, wave, best.programs.size()});
    expect_valid(verify_programs(best.programs[wave], fmt::format("waves[{}]", wave), 1), strategy.name);
    plan.program_digests.push_back(program_digests(best.programs[wave]));
  }
  plan.waves = std::move(best.waves);
  plan.predicted = best.predicted;
  plan.bounds = bounds_of(request, plan.predicted.step_time);
  plan.candidates = std::move(candidates);
  return plan;
}

/// The candidates in the order of the table, and the best one with what it made.
class Contest {
 public:
  explicit Contest(const PlanRequest& request, const std::function<void(const PlanProgress&)>& progress)
      : request_(request), progress_(progress), strategies_(strategies_named(request.options.strategies)) {}

  PlanResult result() {
    for (std::size_t i = 0; i < strategies_.size(); ++i) consider(i);
    if (!winner_) {
      if (lacks_memory_) result_.would_fit = would_fit(request_.batch, request_);
      return std::move(result_);
    }
    result_.rejections.clear();
    result_.plan = finish_plan(request_, *winner_, std::move(best_), std::move(candidates_),
                               begins(strategies_.size(), winner_->name));
    return std::move(result_);
  }

 private:
  std::function<void(const StageBegins&)> begins(std::size_t candidate, std::string_view strategy) const {
    if (!progress_) return {};
    return [this, candidate, strategy](const StageBegins& stage) { progress_({candidate, strategy, stage}); };
  }

  void consider(std::size_t index) {
    const Strategy& strategy = strategies_[index];
    CandidateLimits limits{std::nullopt, begins(index, strategy.name)};
    if (request_.prune && winner_) limits.stop_after = best_.predicted.step_time;
    StrategyOutcome outcome = plan_with(strategy, request_.batch, request_, limits);
    candidates_.push_back(candidate_of(strategy, outcome));
    if (outcome.rejection) {
      lacks_memory_ = lacks_memory_ || outcome.lacks_memory;
      result_.rejections.push_back(std::move(*outcome.rejection));
      return;
    }
    if (outcome.slower_than) return;
    const double share = outcome.predicted.extrapolated_share;
    if (result_.most_extrapolated_strategy.empty() || share > result_.largest_extrapolated_share) {
      result_.largest_extrapolated_share = share;
      result_.most_extrapolated_strategy = strategy.name;
    }
    if (!winner_ || outcome.predicted.step_time < best_.predicted.step_time) {
      winner_ = strategy;
      best_ = std::move(outcome);
    }
  }

  const PlanRequest& request_;
  const std::function<void(const PlanProgress&)>& progress_;
  std::vector<Strategy> strategies_;
  std::vector<Candidate> candidates_;
  bool lacks_memory_ = false;
  std::optional<Strategy> winner_;
  StrategyOutcome best_;
  PlanResult result_;
};

}  // namespace

Candidate candidate_of(const Strategy& strategy, const StrategyOutcome& outcome) {
  Candidate candidate;
  candidate.strategy = strategy.name;
  if (outcome.rejection) {
    candidate.rejected = outcome.rejection->reason;
  } else if (outcome.slower_than) {
    candidate.slower_than = outcome.slower_than;
  } else {
    candidate.step_time = outcome.predicted.step_time;
    candidate.settled = outcome.predicted.settled;
  }
  return candidate;
}

PlanResult plan_batch(const PlanRequest& asked, const std::function<void(const PlanProgress&)>& progress) {
  validate(asked);
  PlanRequest request = asked;
  request.batch = masked_batch(std::move(request.batch), request.model, "batch");
  return Contest(request, progress).result();
}

}  // namespace strata
