// SPDX-License-Identifier: Apache-2.0
#include "planner/search/plan_batch.hpp"

#include <algorithm>
#include <utility>

#include "core/base/checked.hpp"
#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/lowering/lower.hpp"
#include "core/verify/verify_schedule.hpp"
#include "cost_models/cost/memory_cost.hpp"
#include "planner/report/memory_text.hpp"
#include "planner/search/expect_valid.hpp"
#include "planner/search/prediction.hpp"

namespace strata {

namespace {

WaveRequest wave_request(const WaveDocuments& wave, const PlanRequest& request) {
  return {wave.documents, wave.lengths, request.topology.rank_count(), request.model,
          request.options.exchange};
}

/// Why the verifier would refuse the wave whatever its schedule, as a reason.
std::optional<std::string> rejected_by_verifier(const WaveRequest& wave) {
  const std::optional<Violation> limit = beyond_limits(wave.documents, wave.model, wave.rank_count);
  if (!limit) return std::nullopt;
  return limit->message + ", a limit of the verifier; fewer documents in a wave or fewer ranks are within it";
}

/// Fills waves and programs for one way of splitting the batch, or only the rejection.
StrategyOutcome lower_waves(const Strategy& strategy, const std::vector<WaveDocuments>& split,
                            const PlanRequest& request, StageClock& clock) {
  StrategyOutcome outcome;
  for (std::size_t i = 0; i < split.size(); ++i) {
    const auto run = [&](PlanStage stage, const auto& work) {
      return clock.run({stage, i, split.size()}, work);
    };
    const WaveRequest wanted = wave_request(split[i], request);
    outcome.rejection = strategy.rejects(wanted);
    if (const auto limit = rejected_by_verifier(wanted); limit && !outcome.rejection) {
      outcome.rejection = Rejection{std::string(strategy.name), *limit};
    }
    if (outcome.rejection) {
      if (split.size() > 1)
        outcome.rejection->reason = fmt::format("wave {}: {}", i, outcome.rejection->reason);
      return outcome;
    }
    Wave wave = run(PlanStage::search, [&] { return make_wave(strategy, wanted, request.options); });
    CommSchedule backward;  // derived once: what is verified is what is lowered
    expect_valid(run(PlanStage::verify,
                     [&] {
                       return verify_wave(wave, request.model, wanted.rank_count, fmt::format("waves[{}]", i),
                                          1, &backward);
                     }),
                 strategy.name);
    outcome.programs.push_back(
        run(PlanStage::lower, [&] { return lower_wave(wave, backward, request.model); }));
    outcome.waves.push_back(std::move(wave));
  }
  return outcome;
}

/// A budget for smaller waves: in proportion to what is too much, and at least a sixteenth less. The state
/// and the communicators do not shrink with a wave.
std::int64_t smaller_budget(std::int64_t tokens, const MemoryExcess& excess, const MemoryTerms& terms) {
  const Bytes fixed = (terms.state + terms.communicators.value_or(Bytes{})) * excess.ranks;
  const double share = static_cast<double>(std::max<std::int64_t>(0, excess.allowed.count - fixed.count)) /
                       static_cast<double>(std::max<std::int64_t>(1, excess.needed.count - fixed.count));
  const auto proportional = static_cast<std::int64_t>(static_cast<double>(tokens) * share);
  return std::max<std::int64_t>(1, std::min(proportional, tokens - tokens / 16 - 1));
}

/// Waves whose tokens are in the excess, ascending: those in which the ranks concerned hold most.
std::vector<std::int32_t> waves_of(const MemoryExcess& excess, const MemoryPrediction& memory,
                                   const Topology& topology) {
  const auto full = static_cast<std::size_t>(excess.rank);
  std::vector<std::int32_t> waves{memory.wave[full]};
  for (std::size_t rank = 0; excess.ranks > 1 && rank < memory.ranks.size(); ++rank) {
    if (topology.rank_device[rank] != topology.rank_device[full]) continue;
    const MemoryTerms& terms = memory.ranks[rank];
    const bool has_tokens = terms.total() > terms.state + terms.communicators.value_or(Bytes{});
    if (has_tokens) waves.push_back(memory.wave[rank]);
  }
  std::sort(waves.begin(), waves.end());
  waves.erase(std::unique(waves.begin(), waves.end()), waves.end());
  return waves;
}

/// The one of most tokens that can be split; -1: each of them has one document.
std::int32_t largest_to_split(const std::vector<std::int32_t>& waves,
                              const std::vector<WaveDocuments>& split) {
  std::int32_t largest = -1;
  std::int64_t tokens = 0;
  for (const std::int32_t wave : waves) {
    const WaveDocuments& documents = split[static_cast<std::size_t>(wave)];
    if (documents.documents.size() == 1 || documents.token_count() <= tokens) continue;
    largest = wave;
    tokens = documents.token_count();
  }
  return largest;
}

/// The wave in which the fullest rank holds most, `index`, and `others` in which ranks beside it do.
std::string wave_text(const WaveDocuments& wave, std::int32_t index, std::int64_t others) {
  const std::string text =
      wave.documents.size() == 1
          ? fmt::format("document {} of {}", wave.documents.front(), counted(wave.lengths.front(), "token"))
          : fmt::format("wave {} of {}", index, counted(wave.token_count(), "token"));
  return others == 0 ? text : fmt::format("{} with {}", text, counted(others, "other wave"));
}

Rejection rejects_memory(const Strategy& strategy, const std::string& what, const MemoryExcess& excess,
                         const MemoryTerms& terms, const PlanRequest& request) {
  const std::string where = excess.ranks == 1
                                ? fmt::format("rank {}", excess.rank)
                                : fmt::format("{} of one device", counted(excess.ranks, "rank"));
  const bool hopeless = checked_product(terms.state.count, excess.ranks) > excess.allowed.count;
  return {std::string(strategy.name),
          fmt::format("{} needs {} ({} bytes) on {}, over {} of {} ({} bytes): {}{}", what,
                      human(excess.needed), excess.needed.count, where, excess.cap, human(excess.allowed),
                      excess.allowed.count, memory_terms(terms, request.model, request.options),
                      hopeless ? "; the state alone is over it" : "")};
}

/// More bytes than can be counted fit nothing, capped or not.
std::optional<MemoryExcess> excess_of(const MemoryPrediction& memory, const PlanRequest& request) {
  const std::int32_t rank = memory.largest_rank();
  const Bytes largest = memory.ranks[static_cast<std::size_t>(rank)].total();
  if (largest.count == kUncountable)
    return MemoryExcess{rank, 1, largest, {kUncountable - 1}, "what can be counted"};
  return memory_excess(memory, request.options, request.topology);
}

/// As fit_waves, by the clock.
StrategyOutcome fit_waves_timed(const Strategy& strategy, const Batch& batch, const PlanRequest& request,
                                StageClock& clock) {
  std::int64_t budget = most_tokens(request.model, request.options, request.topology);
  while (true) {
    const std::vector<WaveDocuments> split = split_into_waves(batch, budget);
    StrategyOutcome outcome = lower_waves(strategy, split, request, clock);
    if (outcome.rejection) return outcome;
    outcome.memory = clock.run({PlanStage::search, split.size() - 1, split.size()}, [&] {
      return predict_memory(outcome.programs, request.model, request.options, request.topology);
    });
    const std::optional<MemoryExcess> excess = excess_of(outcome.memory, request);
    if (!excess) return outcome;
    const auto rank = static_cast<std::size_t>(excess->rank);
    const MemoryTerms& terms = outcome.memory.ranks[rank];
    const std::vector<std::int32_t> waves = waves_of(*excess, outcome.memory, request.topology);
    const std::int32_t large = batch.fixed_packs ? -1 : largest_to_split(waves, split);
    if (large < 0) {
      const std::int32_t index = outcome.memory.wave[rank];
      StrategyOutcome none;
      none.rejection = rejects_memory(
          strategy, wave_text(split[static_cast<std::size_t>(index)], index, std::ssize(waves) - 1), *excess,
          terms, request);
      none.lacks_memory = true;
      return none;
    }
    budget = smaller_budget(split[static_cast<std::size_t>(large)].token_count(), *excess, terms);
  }
}

}  // namespace

StrategyOutcome fit_waves(const Strategy& strategy, const Batch& batch, const PlanRequest& request) {
  StageClock clock;
  return fit_waves_timed(strategy, batch, request, clock);
}

namespace {

/// Sums that 64 bits do not count would be other numbers in the plan.
void check_countable(const Prediction& predicted) {
  const LevelBytes& moved = predicted.bytes_by_level;
  for (const Bytes bytes : {predicted.peak_memory, predicted.arena, predicted.kv_bytes, moved.device,
                            moved.node, moved.network}) {
    if (bytes.count < kUncountable) continue;
    throw UncountableError("the step", "more than 2^63 - 1 bytes moved or kept",
                           "fewer tokens, layers or heads, or smaller dimensions of a head");
  }
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

StrategyOutcome plan_with(const Strategy& strategy, const Batch& batch, const PlanRequest& request,
                          const CandidateLimits& limits) {
  StageClock clock(limits.begins);
  StrategyOutcome outcome;
  try {
    outcome = fit_waves_timed(strategy, batch, request, clock);
    if (!outcome.rejection) {
      const std::optional<Prediction> predicted = clock.run(
          {PlanStage::simulate, 0, outcome.waves.size()},
          [&] { return predict_step_within(outcome.programs, outcome.memory, request, limits.stop_after); });
      if (predicted) {
        check_countable(*predicted);
        outcome.predicted = *predicted;
      } else {
        outcome.slower_than = limits.stop_after;
      }
    }
  } catch (const UncountableError& error) {
    outcome = {};
    outcome.rejection = Rejection{std::string(strategy.name), error.what()};
  }
  outcome.times = clock.times();
  return outcome;
}

}  // namespace strata
