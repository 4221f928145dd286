// SPDX-License-Identifier: Apache-2.0
// The candidates of a plan: who was considered, and whether the others really lost.
#include <algorithm>

#include "core/base/checked.hpp"
#include "cost_models/cost/memory_cost.hpp"
#include "planner/audit/audit_detail.hpp"
#include "planner/search/waves.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata::audit {

namespace {

std::string entry_place(std::size_t index) { return fmt::format("candidates[{}]", index); }

std::string claim_text(const Candidate& candidate) {
  if (candidate.step_time) {
    return fmt::format("{} ns{}", candidate.step_time->ns, candidate.settled ? "" : ", not settled");
  }
  if (candidate.slower_than) return fmt::format("slower than {} ns", candidate.slower_than->ns);
  return fmt::format("rejected, {}", candidate.rejected.value_or(""));
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n") == std::string::npos; }

void audit_entry(const Plan& plan, std::size_t index, Report& report) {
  const Candidate& candidate = plan.candidates[index];
  if (!find_strategy(candidate.strategy)) {
    report.differs("candidates", entry_place(index), fmt::format("'{}'", candidate.strategy),
                   "the strategies are", known_strategies());
    return;
  }
  for (std::size_t before = 0; before < index; ++before) {
    if (plan.candidates[before].strategy != candidate.strategy) continue;
    report.add(
        "candidates", entry_place(index),
        fmt::format("'{}' a second time, but {} is its entry", candidate.strategy, entry_place(before)));
    return;
  }
  if (candidate.rejected && is_blank(*candidate.rejected)) {
    report.add("candidates", entry_place(index),
               fmt::format("'{}' is rejected with '{}', but a rejection has a reason", candidate.strategy,
                           *candidate.rejected));
  }
}

/// The entries are those of the strategies asked for, in the order of the table, which decides ties.
void audit_names(const Plan& plan, Report& report) {
  std::vector<std::string> asked;
  try {
    for (const Strategy& strategy : strategies_named(plan.options.strategies)) {
      asked.emplace_back(strategy.name);
    }
  } catch (const InputError&) {
    return;  // audit_request reports it
  }
  std::vector<std::string> entries;
  for (std::size_t i = 0; i < plan.candidates.size() && !report.full(); ++i) {
    const std::string& name = plan.candidates[i].strategy;
    entries.push_back(name);
    if (std::find(asked.begin(), asked.end(), name) != asked.end()) continue;
    report.differs("candidates", entry_place(i), fmt::format("'{}'", name), "the request asks for",
                   fmt::format("{}", fmt::join(asked, ", ")));
  }
  for (const std::string& name : asked) {
    if (std::find(entries.begin(), entries.end(), name) != entries.end()) continue;
    report.add("candidates", "candidates",
               fmt::format("no entry for '{}', but the request asks for it", name));
  }
  if (!report.empty() || entries == asked) return;
  report.differs("candidates", "candidates", fmt::format("{}", fmt::join(entries, ", ")),
                 "the order that decides ties is", fmt::format("{}", fmt::join(asked, ", ")));
}

/// Nobody is faster than the chosen one, nobody may be, and nobody as fast stands before it.
void audit_winner(const Plan& plan, Report& report) {
  const Duration best = plan.predicted.step_time;
  bool before = true;
  for (std::size_t i = 0; i < plan.candidates.size() && !report.full(); ++i) {
    const Candidate& candidate = plan.candidates[i];
    if (candidate.strategy == plan.strategy) before = false;
    if (candidate.slower_than && *candidate.slower_than < best) {
      report.add(
          "candidates", entry_place(i),
          fmt::format("'{}' takes more than {} ns, but the chosen '{}' takes {} ns: '{}' may take less",
                      candidate.strategy, candidate.slower_than->ns, plan.strategy, best.ns,
                      candidate.strategy));
    }
    if (candidate.strategy == plan.strategy || !candidate.step_time) continue;
    if (*candidate.step_time < best) {
      report.add("candidates", entry_place(i),
                 fmt::format("'{}' takes {} ns, but the chosen '{}' takes {} ns: the least is chosen",
                             candidate.strategy, candidate.step_time->ns, plan.strategy, best.ns));
    } else if (*candidate.step_time == best && before) {
      report.add(
          "candidates", entry_place(i),
          fmt::format("'{}' takes {} ns like the chosen '{}', but of equals the first listed is chosen",
                      candidate.strategy, candidate.step_time->ns, plan.strategy));
    }
  }
}

/// Whether the waves hold the documents of `others`, one by one.
template <typename Other>
bool split_alike(const std::vector<Wave>& waves, const std::vector<Other>& others) {
  return std::equal(waves.begin(), waves.end(), others.begin(), others.end(),
                    [](const Wave& a, const Other& b) { return a.documents == b.documents; });
}

/// Whether the planner's first way to split the documents is that of the plan, and fits: then it is its last
/// one too. The waves are those of the strategy (audit_strategy), and what they need has been compared with
/// the caps (audit_claims).
bool is_first_split(const Plan& plan, const PlanRequest& request, const Report& report) {
  if (report.is_open("strategy") || plan.predicted.peak_memory.count == kUncountable) return false;
  const std::int64_t budget = most_tokens(request.model, request.options, request.topology);
  return split_alike(plan.waves, split_into_waves(request.batch, budget));
}

/// Fixed packs are the waves. Free documents can be split otherwise than the strategy would.
void audit_split(const Plan& plan, const PlanRequest& request, Report& report) {
  if (plan.batch.fixed_packs || is_first_split(plan, request, report)) return;
  const StrategyOutcome outcome = plan_with(strategy_named(plan.strategy), request.batch, request);
  if (split_alike(plan.waves, outcome.waves)) return;
  report.leave_open("waves",
                    fmt::format("'{}' would split the documents into waves otherwise", plan.strategy));
}

/// What planning gives for one strategy, simulated as far as the claim goes.
Candidate planned_again(const Strategy& strategy, const PlanRequest& request, const Candidate& claimed) {
  return candidate_of(strategy, plan_with(strategy, request.batch, request, {claimed.slower_than, {}}));
}

}  // namespace

void audit_candidate_list(const Plan& plan, Report& report) {
  const bool sound = report.empty();
  for (std::size_t i = 0; i < plan.candidates.size() && !report.full(); ++i) audit_entry(plan, i, report);
  if (sound && !report.empty()) return;
  audit_names(plan, report);
  if (sound && !report.empty()) return;
  audit_winner(plan, report);
}

void audit_candidate_times(const Plan& plan, const PlanRequest& request,
                           const std::function<void()>& considered, Report& report) {
  if (request.options.gradient_return == GradientReturn::explicit_steps) {
    if (plan.candidates.size() > 1) {
      report.leave_open("candidates", "no strategy writes an explicit backward schedule");
    }
    return;
  }
  for (std::size_t i = 0; i < plan.candidates.size() && !report.full(); ++i) {
    const Candidate& claimed = plan.candidates[i];
    try {
      if (claimed.strategy == plan.strategy) {  // its time is predicted.step_time
        audit_split(plan, request, report);
        continue;
      }
      const Candidate truth = planned_again(strategy_named(claimed.strategy), request, claimed);
      if (truth != claimed) {
        report.differs("candidates", entry_place(i),
                       fmt::format("'{}': {}", claimed.strategy, claim_text(claimed)), "planning gives",
                       claim_text(truth));
      }
    } catch (const InputError& error) {
      report.differs("candidates", entry_place(i),
                     fmt::format("'{}': {}", claimed.strategy, claim_text(claimed)), "planning ends with",
                     error.what());
    }
    if (considered) considered();
  }
}

}  // namespace strata::audit
