// SPDX-License-Identifier: Apache-2.0
#include "planner/report/explain.hpp"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "planner/report/memory_text.hpp"
#include "planner/report/wave_metrics.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata {

namespace {

constexpr std::size_t kListedRanks = 16;

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

/// Tokens and allowed pairs x heads of one rank over all waves.
struct RankWork {
  std::int32_t rank = 0;
  std::int64_t tokens = 0;
  std::int64_t pairs = 0;
};

std::vector<RankWork> rank_work(const Plan& plan) {
  std::vector<RankWork> work(static_cast<std::size_t>(plan.topology.rank_count()));
  for (std::size_t rank = 0; rank < work.size(); ++rank) work[rank].rank = static_cast<std::int32_t>(rank);
  for (const Wave& wave : plan.waves) {
    const auto pairs = rank_pairs(wave.schedule, plan.model, plan.topology.rank_count());
    for (RankWork& each : work) {
      each.tokens += wave.placement.token_count(each.rank);
      each.pairs += pairs[static_cast<std::size_t>(each.rank)];
    }
  }
  return work;
}

class Explanation {
 public:
  Explanation(const Plan& plan, const std::optional<CostProfile>& profile) : plan_(plan), profile_(profile) {}

  std::vector<std::string> write() {
    layout();
    prediction();
    load();
    bounds();
    candidates();
    scope();
    return std::move(lines_);
  }

 private:
  template <typename... Values>
  void line(fmt::format_string<Values...> text, Values&&... values) {
    lines_.push_back(fmt::format(text, std::forward<Values>(values)...));
  }

  void layout() {
    line("layout: {}, {}", plan_.strategy, strategy_named(plan_.strategy).summary);
    line("  {} in {}, {}, {} on {} ({})", counted(plan_.batch.token_count(), "token"),
         counted(plan_.batch.document_count(), "document"), counted(std::ssize(plan_.waves), "wave"),
         counted(plan_.topology.rank_count(), "rank"), counted(std::ssize(plan_.topology.devices), "device"),
         plan_.topology.name);
    std::int64_t transfers = 0;
    std::int64_t tasks = 0;
    std::int64_t steps = 0;
    for (const Wave& wave : plan_.waves) {
      transfers += transfer_count(wave.schedule);
      steps = std::max<std::int64_t>(steps, std::ssize(wave.schedule.steps));
      for (const ScheduleStep& step : wave.schedule.steps)
        tasks += static_cast<std::int64_t>(step.tasks.size());
    }
    line("  one layer forward: {} and {} in at most {}; exchange {}", counted(transfers, "transfer"),
         counted(tasks, "attention task"), counted(steps, "step"),
         plan_.options.exchange == ExchangeMode::full ? "full" : "needed");
  }

  void prediction() {
    const Prediction& predicted = plan_.predicted;
    line("predicted step: {} (forward {}, backward {}){}", human(predicted.step_time),
         human(predicted.forward), human(predicted.backward), unmeasured());
    if (!predicted.settled) line("  {}", unsettled_note());
    line("  sent: {} over the network, {} inside nodes, {} inside devices; KV forward, one layer: {}",
         human(predicted.bytes_by_level.network), human(predicted.bytes_by_level.node),
         human(predicted.bytes_by_level.device), human(predicted.kv_bytes));
    line("memory of the fullest rank, {}: {}, {}", predicted.memory_rank, human(predicted.peak_memory),
         memory_cap_text(plan_.options, plan_.topology, predicted.peak_memory));
    for (std::string& text : memory_lines(plan_)) lines_.push_back(std::move(text));
  }

  std::string unmeasured() const { return profile_ ? unmeasured_note(*profile_) : " (profile unknown)"; }

  void load() {
    std::vector<RankWork> work = rank_work(plan_);
    std::int64_t total = 0;
    for (const RankWork& each : work) total += each.pairs;
    line("load: the busiest rank computes {:.3f} times the mean", plan_.predicted.imbalance);
    std::stable_sort(work.begin(), work.end(),
                     [](const RankWork& a, const RankWork& b) { return a.pairs > b.pairs; });
    const std::size_t listed = std::min(work.size(), kListedRanks);
    for (std::size_t i = 0; i < listed; ++i) {
      const double share = total == 0 ? 0 : static_cast<double>(work[i].pairs) / static_cast<double>(total);
      line("  rank {:>4}: {:>16}, {:>19} pairs x heads, {} of the work", work[i].rank,
           counted(work[i].tokens, "token"), human_count(work[i].pairs), percent(share));
    }
    if (listed == work.size()) return;
    const auto others = static_cast<std::int64_t>(work.size() - listed);
    line("  {} with no more work {} not listed", counted(others, "more rank"), others == 1 ? "is" : "are");
  }

  void bounds() {
    const Bounds& bounds = plan_.bounds;
    line("bound: no schedule can take less than {}; this one takes {} more", human(bounds.lower_bound),
         percent(bounds.gap));
    line("  what binds: {}", active_bound(bounds.active));
  }

  static std::string active_bound(ActiveBound active) {
    switch (active) {
      case ActiveBound::compute:
        return "compute: all attention and linear work at the best rate on all devices";
      case ActiveBound::chain:
        return "chain: work that one rank must do one after the other, layer by layer";
    }
    STRATA_CHECK(false, "bound {} has no sentence", static_cast<int>(active));
  }

  void candidates() {
    const Duration best = plan_.predicted.step_time;
    std::optional<Candidate> second;
    for (const Candidate& candidate : plan_.candidates) {
      if (candidate.strategy == plan_.strategy || !candidate.step_time) continue;
      if (!second || *candidate.step_time < *second->step_time) second = candidate;
    }
    const bool hidden =
        std::any_of(plan_.candidates.begin(), plan_.candidates.end(), [&](const Candidate& candidate) {
          return candidate.slower_than && (!second || *candidate.slower_than < *second->step_time);
        });
    if (hidden) {
      line("runner-up: not known, since not all were simulated to their ends");
    } else if (!second) {
      line("runner-up: none, no other strategy was {}",
           plan_.candidates.size() > 1 ? "feasible" : "considered");
    } else if (*second->step_time == best) {
      line("runner-up: {} ties at {}; the strategy listed first wins", second->strategy, human(best));
    } else {
      line("runner-up: {} at {}, {} slower", second->strategy, human(*second->step_time),
           percent(slower(*second->step_time)));
    }
    for (const Candidate& candidate : plan_.candidates) {
      if (candidate.rejected) {
        line("  {}: rejected, {}", candidate.strategy, *candidate.rejected);
      } else if (candidate.slower_than) {
        line("  {}: more than {}, where its simulation was ended", candidate.strategy,
             human(*candidate.slower_than));
      } else if (candidate.step_time) {
        line("  {}: {}{}", candidate.strategy, human(*candidate.step_time),
             candidate.strategy == plan_.strategy
                 ? ", chosen"
                 : fmt::format(", {} slower", percent(slower(*candidate.step_time))));
      }
    }
  }

  double slower(Duration other) const {
    const std::int64_t best = plan_.predicted.step_time.ns;
    return best == 0 ? 0 : static_cast<double>(other.ns) / static_cast<double>(best) - 1;
  }

  void scope() {
    line(
        "step time: {}, attention with its exchanges and the linear layers, forward and backward, "
        "recomputation included",
        counted(plan_.model.layers, "layer"));
    line("  not in it: {}", step_time_exclusions());
  }

  const Plan& plan_;
  const std::optional<CostProfile>& profile_;
  std::vector<std::string> lines_;
};

}  // namespace

std::string unsettled_note() {
  return "layers were left out before all ranks kept one rhythm: the time may be off by some percent";
}

std::string step_time_exclusions() {
  return "embedding and output layers, norms, loss, optimiser, gradient synchronisation, "
         "pipeline bubbles, data loading";
}

std::vector<std::string> explain_plan(const Plan& plan, const std::optional<CostProfile>& profile) {
  return Explanation(plan, profile).write();
}

}  // namespace strata
