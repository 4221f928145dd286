// SPDX-License-Identifier: Apache-2.0
#include "traces/timelines/compare_timelines.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "traces/timelines/critical_path.hpp"

namespace strata {

namespace {

constexpr std::size_t kUnmatchedExamples = 5;
constexpr std::int32_t kRepeatsWithWarmUp = 3;

/// The median by nearest rank of two halves: the mean of the middle two when there are two.
std::int64_t median(std::vector<std::int64_t>& values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// One instruction with its repeats reduced; `key.repeat` is 0.
struct Reduced {
  TimelineEvent key;
  std::int64_t duration_ns = 0;
};

struct ReducedTimeline {
  std::vector<Reduced> instructions;  ///< sorted by key
  std::vector<std::int32_t> repeats;  ///< that count, ascending
  bool warm_up_excluded = false;
  std::int64_t makespan_ns = 0;
  std::int32_t typical_repeat = 0;                   ///< the one whose makespan is nearest to the median
  std::map<std::int32_t, std::int64_t> rank_end_ns;  ///< median over the repeats
};

TimelineEvent without_repeat(TimelineEvent event) {
  event.repeat = 0;
  return event;
}

std::int64_t duration_of(const TimelineEvent& event, const Operation& op) {
  return event.end_ns - (exchange_of(op) == nullptr ? event.posted_ns : event.matched_ns);
}

void reduce_ends(const Timeline& timeline, ReducedTimeline& result) {
  std::map<std::int32_t, std::int64_t> makespans;
  std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> ends;  // by rank, repeat
  for (const TimelineEvent& event : timeline.events) {
    if (event.repeat < result.repeats.front()) continue;
    std::int64_t& makespan = makespans[event.repeat];
    makespan = std::max(makespan, event.end_ns);
    std::int64_t& end = ends[{event.rank, event.repeat}];
    end = std::max(end, event.end_ns);
  }
  std::vector<std::int64_t> values;
  values.reserve(makespans.size());
  for (const auto& [repeat, makespan] : makespans) values.push_back(makespan);
  result.makespan_ns = median(values);
  result.typical_repeat = result.repeats.front();
  const auto distance = [&](std::int32_t repeat) { return std::abs(makespans[repeat] - result.makespan_ns); };
  for (const std::int32_t repeat : result.repeats) {
    if (distance(repeat) < distance(result.typical_repeat)) result.typical_repeat = repeat;
  }
  std::map<std::int32_t, std::vector<std::int64_t>> by_rank;
  for (const auto& [place, end] : ends) by_rank[place.first].push_back(end);
  for (auto& [rank, rank_ends] : by_rank) result.rank_end_ns[rank] = median(rank_ends);
}

ReducedTimeline reduce(const Timeline& timeline, WavePrograms programs) {
  ReducedTimeline result;
  if (timeline.events.empty()) {
    throw InputError(fmt::format("timeline \"{}\"", timeline.source), "no events", "at least one");
  }
  for (const TimelineEvent& event : timeline.events) {
    if (result.repeats.empty() || result.repeats.back() != event.repeat)
      result.repeats.push_back(event.repeat);
  }
  result.warm_up_excluded = std::ssize(result.repeats) >= kRepeatsWithWarmUp;
  if (result.warm_up_excluded) result.repeats.erase(result.repeats.begin());
  reduce_ends(timeline, result);

  STRATA_CHECK(std::is_sorted(timeline.events.begin(), timeline.events.end(), key_less),
               "the events of timeline \"{}\" are sorted by key", timeline.source);
  std::vector<const TimelineEvent*> events;
  for (const TimelineEvent& event : timeline.events) {
    if (event.repeat >= result.repeats.front()) events.push_back(&event);
  }
  std::stable_sort(events.begin(), events.end(), [](const TimelineEvent* a, const TimelineEvent* b) {
    return key_less(without_repeat(*a), without_repeat(*b));
  });
  std::vector<std::int64_t> durations;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const TimelineEvent key = without_repeat(*events[i]);
    durations.push_back(duration_of(*events[i], instruction_of(timeline, key, programs).op));
    const bool last = i + 1 == events.size() || key_less(key, without_repeat(*events[i + 1]));
    if (!last) continue;
    result.instructions.push_back({key, median(durations)});
    durations.clear();
  }
  return result;
}

struct Pair {
  std::int64_t predicted_ns = 0, measured_ns = 0;
};

ErrorSummary summarise(const std::vector<Pair>& pairs) {
  ErrorSummary summary;
  summary.count = std::ssize(pairs);
  if (pairs.empty()) return summary;
  std::vector<double> errors;
  for (const Pair& pair : pairs) {
    summary.predicted_ns += pair.predicted_ns;
    summary.measured_ns += pair.measured_ns;
    // A clock that reads equal twice measured less than 1 ns.
    const auto measured = static_cast<double>(std::max<std::int64_t>(pair.measured_ns, 1));
    errors.push_back(std::abs(static_cast<double>(pair.predicted_ns - pair.measured_ns)) / measured);
  }
  std::sort(errors.begin(), errors.end());
  for (const double error : errors) summary.mean += error / static_cast<double>(summary.count);
  const auto rank = [&](std::int64_t percent) {
    return errors[static_cast<std::size_t>((summary.count * percent + 99) / 100 - 1)];
  };
  summary.median = rank(50);
  summary.p95 = rank(95);
  summary.max = errors.back();
  summary.bias = static_cast<double>(summary.predicted_ns - summary.measured_ns) /
                 static_cast<double>(std::max<std::int64_t>(summary.measured_ns, 1));
  return summary;
}

std::vector<KindError> summarise_kinds(const std::map<std::string, std::vector<Pair>>& pairs) {
  std::vector<KindError> kinds;
  kinds.reserve(pairs.size());
  for (const auto& [kind, of_kind] : pairs) kinds.push_back({kind, summarise(of_kind)});
  return kinds;
}

std::string key_text(const TimelineEvent& key) {
  return fmt::format("wave {}, layer {}, {}, rank {}, instruction {}", key.wave, key.layer,
                     to_string(key.pass), key.rank, key.instruction);
}

/// Walks both sorted lists together.
template <typename Matched, typename Unmatched>
void join(const ReducedTimeline& predicted, const ReducedTimeline& measured, const Matched& matched,
          const Unmatched& unmatched) {
  auto p = predicted.instructions.begin();
  auto m = measured.instructions.begin();
  while (p != predicted.instructions.end() || m != measured.instructions.end()) {
    const bool no_p = p == predicted.instructions.end(), no_m = m == measured.instructions.end();
    if (no_m || (!no_p && key_less(p->key, m->key))) {
      unmatched(p++->key, "predicted");
    } else if (no_p || key_less(m->key, p->key)) {
      unmatched(m++->key, "measured");
    } else {
      matched(p->key, Pair{p->duration_ns, m->duration_ns});
      ++p;
      ++m;
    }
  }
}

CriticalPathError compare_path(const Timeline& measured, const ReducedTimeline& reduced,
                               WavePrograms programs, const ReducedTimeline& predicted) {
  const std::vector<std::size_t> path = critical_path(measured, programs, reduced.typical_repeat);
  CriticalPathError result;
  result.instructions = std::ssize(path);
  std::vector<Pair> all;
  std::map<std::string, std::vector<Pair>> by_kind;
  const auto find = [](const ReducedTimeline& in, const TimelineEvent& key) -> const Reduced* {
    const auto found =
        std::lower_bound(in.instructions.begin(), in.instructions.end(), key,
                         [](const Reduced& a, const TimelineEvent& b) { return key_less(a.key, b); });
    return found == in.instructions.end() || key_less(key, found->key) ? nullptr : &*found;
  };
  std::int64_t end_ns = 0;
  for (const std::size_t index : path) {
    const TimelineEvent& event = measured.events[index];
    const Operation& op = instruction_of(measured, event, programs).op;
    const std::int64_t begin_ns = exchange_of(op) == nullptr ? event.posted_ns : event.matched_ns;
    result.gap_ns += std::max<std::int64_t>(begin_ns - end_ns, 0);
    end_ns = event.end_ns;
    const TimelineEvent key = without_repeat(event);
    const Reduced* other = find(predicted, key);
    if (other == nullptr) continue;
    const Pair pair{other->duration_ns, find(reduced, key)->duration_ns};
    all.push_back(pair);
    by_kind[std::string(kind_name(op))].push_back(pair);
  }
  result.error = summarise(all);
  result.kinds = summarise_kinds(by_kind);
  return result;
}

void check_comparable(const Timeline& predicted, const Timeline& measured) {
  const auto where = [](const Timeline& timeline) { return fmt::format("timeline \"{}\"", timeline.source); };
  if (!predicted.plan_digest.empty() && !measured.plan_digest.empty() &&
      predicted.plan_digest != measured.plan_digest) {
    throw InputError(where(measured), fmt::format("plan {}", measured.plan_digest),
                     fmt::format("plan {}, that of the prediction", predicted.plan_digest));
  }
  if (predicted.linear_included != measured.linear_included) {
    const auto text = [](const Timeline& timeline) { return timeline.linear_included ? "with" : "without"; };
    throw InputError(where(measured), fmt::format("a measurement {} linear work", text(measured)),
                     fmt::format("one {} it, as the prediction", text(predicted)));
  }
}

}  // namespace

TimelineComparison compare_timelines(const Timeline& predicted, const Timeline& measured,
                                     WavePrograms programs, std::int64_t noise_floor_ns) {
  check_comparable(predicted, measured);
  const ReducedTimeline p = reduce(predicted, programs), m = reduce(measured, programs);
  TimelineComparison result;
  result.predicted_source = predicted.source;
  result.measured_source = measured.source;
  result.plan_digest = measured.plan_digest.empty() ? predicted.plan_digest : measured.plan_digest;
  result.repeats = static_cast<std::int32_t>(m.repeats.size());
  result.warm_up_excluded = m.warm_up_excluded;
  result.noise_floor_ns = noise_floor_ns;

  std::map<std::string, std::vector<Pair>> by_kind;
  std::map<std::int32_t, std::vector<Pair>> by_rank;
  std::vector<Pair> below;
  join(
      p, m,
      [&](const TimelineEvent& key, const Pair& pair) {
        ++result.matched;
        std::vector<Pair>& of_rank = by_rank[key.rank];
        if (pair.measured_ns < noise_floor_ns) {
          below.push_back(pair);
          return;
        }
        by_kind[std::string(kind_name(instruction_of(measured, key, programs).op))].push_back(pair);
        of_rank.push_back(pair);
      },
      [&](const TimelineEvent& key, std::string_view side) {
        ++(side == "predicted" ? result.only_predicted : result.only_measured);
        if (result.unmatched_examples.size() < kUnmatchedExamples) {
          result.unmatched_examples.push_back(fmt::format("only {}: {}", side, key_text(key)));
        }
      });
  if (result.matched == 0) {
    throw InputError(
        fmt::format("timeline \"{}\"", measured.source),
        plain_count(m.instructions.size(), "instruction") + " of which none was predicted",
        fmt::format("some of the {} of timeline \"{}\"", p.instructions.size(), predicted.source));
  }
  result.kinds = summarise_kinds(by_kind);
  result.below_floor = summarise(below);
  for (const auto& [rank, pairs] : by_rank) {
    result.ranks.push_back({rank, summarise(pairs), p.rank_end_ns.at(rank), m.rank_end_ns.at(rank)});
  }
  const auto measured_ns = static_cast<double>(std::max<std::int64_t>(m.makespan_ns, 1));
  result.step = {p.makespan_ns, m.makespan_ns,
                 static_cast<double>(p.makespan_ns - m.makespan_ns) / measured_ns};
  result.critical_path = compare_path(measured, m, programs, p);
  return result;
}

}  // namespace strata
