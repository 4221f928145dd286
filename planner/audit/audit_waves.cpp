// SPDX-License-Identifier: Apache-2.0
// What waves claim beyond what they compute: that groups work among themselves, that marked steps are
// collectives, and that the layout is the strategy's.
#include <algorithm>
#include <map>

#include "planner/audit/audit_detail.hpp"
#include "planner/strategy_table.hpp"

namespace strata::audit {

namespace {

using Ranks = std::vector<std::int32_t>;  // sorted

/// Tasks of a wave's schedules against its groups.
class GroupCheck {
 public:
  GroupCheck(const Wave& wave, std::int32_t rank_count)
      : wave_(wave), group_of_rank_(static_cast<std::size_t>(rank_count), -1) {
    for (std::size_t g = 0; g < wave.groups.size(); ++g) {
      for (const std::int32_t rank : wave.groups[g].ranks) {
        group_of_rank_[static_cast<std::size_t>(rank)] = static_cast<std::int32_t>(g);
      }
      for (const std::int32_t document : wave.groups[g].documents) {
        group_of_document_[document] = static_cast<std::int32_t>(g);
      }
    }
  }

  void check(const std::vector<ScheduleStep>& steps, const std::string& place, Report& report) const {
    for (std::size_t s = 0; s < steps.size(); ++s) {
      for (std::size_t t = 0; t < steps[s].tasks.size() && !report.full(); ++t) {
        const AttentionTask& task = steps[s].tasks[t];
        const std::int32_t group = group_of_document_.at(task.query.document);
        if (group_of_rank_[static_cast<std::size_t>(task.rank)] == group) continue;
        report.add(
            "groups", fmt::format("{}[{}].tasks[{}]", place, s, t),
            fmt::format("rank {} computes for document {}, but groups[{}] of the document has the ranks {}",
                        task.rank, task.query.document, group,
                        fmt::join(wave_.groups[static_cast<std::size_t>(group)].ranks, ", ")));
        return;
      }
    }
  }

 private:
  const Wave& wave_;
  std::vector<std::int32_t> group_of_rank_;
  std::map<std::int32_t, std::int32_t> group_of_document_;
};

Ranks ranks_of(const Transfer& transfer) {
  Ranks ranks{transfer.source};
  for (const RankRange& range : transfer.targets) {
    for (std::int32_t rank = range.begin; rank < range.end; ++rank) ranks.push_back(rank);
  }
  std::sort(ranks.begin(), ranks.end());
  return ranks;
}

/// Whether the sets are equal or disjoint, so that each is the members of one collective operation.
bool form_partition(const std::vector<Ranks>& sets) {
  std::map<std::int32_t, const Ranks*> set_of;
  for (const Ranks& set : sets) {
    for (const std::int32_t rank : set) {
      const auto [at, fresh] = set_of.emplace(rank, &set);
      if (!fresh && *at->second != set) return false;
    }
  }
  return true;
}

/// For one end of all transfers: the rank there together with everybody at the other end.
std::vector<Ranks> circles(const std::vector<Transfer>& transfers, bool by_source) {
  std::map<std::int32_t, Ranks> met;
  for (const Transfer& transfer : transfers) {
    for (const RankRange& range : transfer.targets) {
      for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
        met[by_source ? transfer.source : rank].push_back(by_source ? rank : transfer.source);
      }
    }
  }
  std::vector<Ranks> sets;
  for (auto& [rank, ranks] : met) {
    ranks.push_back(rank);
    std::sort(ranks.begin(), ranks.end());
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
    sets.push_back(std::move(ranks));
  }
  return sets;
}

/// An all-gather brings what a member sends to all other members. In an all-to-all every sender has something
/// for all other members, or every receiver something from all: rows that scatter over heads, or gather.
std::string_view why_no_collective(const ScheduleStep& step) {
  const std::vector<Transfer>& transfers = step.transfers;
  const auto other_lane = [&](const Transfer& transfer) { return transfer.lane != transfers.front().lane; };
  if (std::any_of(transfers.begin(), transfers.end(), other_lane))
    return "its transfers are on several lanes";
  if (step.collective == CollectiveKind::all_gather) {
    std::vector<Ranks> sets;
    sets.reserve(transfers.size());
    for (const Transfer& transfer : transfers) sets.push_back(ranks_of(transfer));
    return form_partition(sets) ? "" : "its transfers do not each go to all members of one group";
  }
  const bool fits = form_partition(circles(transfers, true)) || form_partition(circles(transfers, false));
  return fits ? "" : "neither does every sender reach, nor every receiver hear, all members of one group";
}

void audit_collectives(const std::vector<ScheduleStep>& steps, const std::string& place, Report& report) {
  for (std::size_t s = 0; s < steps.size(); ++s) {
    if (steps[s].collective == CollectiveKind::none) continue;
    const std::string_view why = why_no_collective(steps[s]);
    if (why.empty()) continue;
    const bool gather = steps[s].collective == CollectiveKind::all_gather;
    report.add("collective", fmt::format("{}[{}].collective", place, s),
               fmt::format("{}, but the step is none: {}", gather ? "all_gather" : "all_to_all", why));
  }
}

WaveRequest request_of(const Plan& plan, const Wave& wave) {
  return {wave.documents, wave.lengths, plan.topology.rank_count(), plan.model, plan.options.exchange};
}

/// Another strategy that places tokens so and, where the one that the plan names does too, exchanges so.
std::string real_maker(const Plan& plan, const Wave& wave, bool placement_is_own) {
  const WaveRequest request = request_of(plan, wave);
  for (const Strategy& other : all_strategies()) {
    if (other.name == plan.strategy || other.rejects(request)) continue;
    const Wave made = make_wave(other, request, plan.options);
    if (made.placement != wave.placement) continue;
    if (!placement_is_own || made.schedule == wave.schedule) return std::string(other.name);
  }
  return {};
}

void audit_strategy_of_wave(const Plan& plan, const Strategy& strategy, std::size_t w, Report& report) {
  const Wave& wave = plan.waves[w];
  const WaveRequest request = request_of(plan, wave);
  if (const auto rejection = strategy.rejects(request)) {
    report.differs("strategy", wave_place(w), fmt::format("a wave of '{}'", plan.strategy),
                   "it cannot serve one:", rejection->reason);
    return;
  }
  const Wave made = make_wave(strategy, request, plan.options);
  const bool placed = made.placement == wave.placement, exchanged = made.schedule == wave.schedule;
  if (placed && exchanged && made.groups == wave.groups) return;
  const std::string maker = placed && exchanged ? "" : real_maker(plan, wave, placed);
  if (!maker.empty()) {
    report.differs("strategy", wave_place(w), fmt::format("a wave of '{}'", plan.strategy),
                   "its layout is that of", fmt::format("'{}'", maker));
  } else if (placed && exchanged) {
    report.add("strategy", wave_place(w) + ".groups",
               fmt::format("groups, but those of '{}' are others", plan.strategy));
  } else {
    report.leave_open("strategy",
                      fmt::format("{} claims to be a wave of '{}', which would {} otherwise", wave_place(w),
                                  plan.strategy, placed ? "exchange" : "place tokens"));
  }
}

}  // namespace

void audit_waves(const Plan& plan, Report& report) {
  for (std::size_t w = 0; w < plan.waves.size() && !report.full(); ++w) {
    const Wave& wave = plan.waves[w];
    const GroupCheck groups(wave, plan.topology.rank_count());
    const auto audit_steps = [&](const std::vector<ScheduleStep>& steps, const char* list) {
      const std::string place = fmt::format("{}.{}", wave_place(w), list);
      groups.check(steps, place, report);
      audit_collectives(steps, place, report);
    };
    audit_steps(wave.schedule.steps, "steps");
    audit_steps(wave.backward.steps, "backward.steps");
  }
}

void audit_strategy(const Plan& plan, Report& report) {
  const std::optional<Strategy> strategy = find_strategy(plan.strategy);
  if (!strategy || !report.empty()) return;
  for (std::size_t w = 0; w < plan.waves.size() && !report.full(); ++w) {
    audit_strategy_of_wave(plan, *strategy, w, report);
  }
}

}  // namespace strata::audit
