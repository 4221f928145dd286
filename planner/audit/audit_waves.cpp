// SPDX-License-Identifier: Apache-2.0
// What waves claim beyond what they compute: that groups work among themselves, that marked steps are
// collectives, and that the layout is the strategy's.
#include <algorithm>
#include <map>

#include "core/schedule/rank_set.hpp"
#include "planner/audit/audit_detail.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata::audit {

namespace {

using RankRanges = std::vector<RankRange>;

/// Tasks of a wave's schedules against its groups.
class GroupCheck {
 public:
  GroupCheck(const Wave& wave, std::int32_t rank_count)
      : wave_(wave),
        group_of_rank_(static_cast<std::size_t>(rank_count), -1),
        group_of_document_(wave.documents.size(), -1) {
    for (std::size_t g = 0; g < wave.groups.size(); ++g) {
      for (const std::int32_t rank : wave.groups[g].ranks) {
        group_of_rank_[static_cast<std::size_t>(rank)] = static_cast<std::int32_t>(g);
      }
      for (const std::int32_t document : wave.groups[g].documents) {
        group_of_document_[position_of(document)] = static_cast<std::int32_t>(g);
      }
    }
  }

  void check(const std::vector<ScheduleStep>& steps, const std::string& place, Report& report) const {
    for (std::size_t s = 0; s < steps.size(); ++s) {
      for (std::size_t t = 0; t < steps[s].tasks.size() && !report.full(); ++t) {
        const AttentionTask& task = steps[s].tasks[t];
        const std::int32_t group = group_of_document_[position_of(task.query.document)];
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
  /// Of a document of the wave: among its documents, which ascend and mostly follow each other.
  std::size_t position_of(std::int32_t document) const {
    const std::vector<std::int32_t>& all = wave_.documents;
    const auto guess = static_cast<std::size_t>(document - all.front());
    if (guess < all.size() && all[guess] == document) return guess;
    return static_cast<std::size_t>(std::lower_bound(all.begin(), all.end(), document) - all.begin());
  }

  const Wave& wave_;
  std::vector<std::int32_t> group_of_rank_;
  std::vector<std::int32_t> group_of_document_;  // by position in the wave
};

/// Sorted, without overlap, none touching the next.
RankRanges merged(RankRanges ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const RankRange& a, const RankRange& b) { return a.begin < b.begin; });
  RankRanges result;
  for (const RankRange& range : ranges) {
    if (result.empty() || result.back().end < range.begin) {
      result.push_back(range);
    } else {
      result.back().end = std::max(result.back().end, range.end);
    }
  }
  return result;
}

/// Sets of ranks that are equal or disjoint, so that each can be the members of one collective operation.
class Partition {
 public:
  /// False where `set` shares a rank with another set.
  bool add(RankRanges set) {
    const auto same = sets_.find(set.front().begin);
    if (same != sets_.end()) return same->second == set;
    for (const RankRange& range : set) {
      const auto after = taken_.lower_bound(range.end);
      if (after != taken_.begin() && std::prev(after)->second > range.begin) return false;
    }
    for (const RankRange& range : set) taken_.emplace(range.begin, range.end);
    sets_.emplace(set.front().begin, std::move(set));
    return true;
  }

 private:
  std::map<std::int32_t, RankRanges> sets_;     // by their first rank
  std::map<std::int32_t, std::int32_t> taken_;  // ranges of all sets, begin to end
};

/// Every transfer by itself: its source with its targets.
bool reach_groups(const std::vector<Transfer>& transfers) {
  Partition groups;
  return std::all_of(transfers.begin(), transfers.end(), [&](const Transfer& transfer) {
    RankRanges set = transfer.targets;
    set.push_back({transfer.source, transfer.source + 1});
    return groups.add(merged(std::move(set)));
  });
}

/// Every rank at one end of the transfers together with everybody whom it meets at the other.
bool meet_groups(const std::vector<Transfer>& transfers, bool at_source) {
  std::map<std::int32_t, RankRanges> met;
  for (const Transfer& transfer : transfers) {
    if (at_source) {
      RankRanges& others = met[transfer.source];
      others.insert(others.end(), transfer.targets.begin(), transfer.targets.end());
      continue;
    }
    each_rank(transfer.targets, [&](std::int32_t rank) {
      RankRanges& others = met[rank];
      if (others.empty() || others.back().begin != transfer.source) {
        others.push_back({transfer.source, transfer.source + 1});
      }
    });
  }
  Partition groups;
  return std::all_of(met.begin(), met.end(), [&](auto& each) {
    each.second.push_back({each.first, each.first + 1});
    return groups.add(merged(std::move(each.second)));
  });
}

/// An all-gather brings what a member sends to all other members. In an all-to-all every sender has something
/// for all other members, or every receiver something from all: rows that scatter over heads, or gather.
std::string_view why_no_collective(const ScheduleStep& step) {
  const std::vector<Transfer>& transfers = step.transfers;
  const auto other_lane = [&](const Transfer& transfer) { return transfer.lane != transfers.front().lane; };
  if (std::any_of(transfers.begin(), transfers.end(), other_lane))
    return "its transfers are on several lanes";
  if (step.collective == CollectiveKind::all_gather) {
    return reach_groups(transfers) ? "" : "its transfers do not each go to all members of one group";
  }
  const bool fits = meet_groups(transfers, true) || meet_groups(transfers, false);
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
