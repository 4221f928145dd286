// SPDX-License-Identifier: Apache-2.0
// Changes to random schedules: harmless cuts of a backward schedule, and damage.
#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>

#include "tests/support/dice.hpp"
#include "tests/support/random_schedules.hpp"

namespace strata::test {

namespace {

/// The many ends of a record.
std::vector<RankRange>& peers(Transfer& transfer) { return transfer.targets; }
std::vector<RankRange>& peers(Reduction& reduction) { return reduction.sources; }

/// Calls `add` with the record as it is or in two parts.
template <typename Record, typename Add>
void cut_record(const Record& record, Dice& dice, Add add) {
  Record first = record, second = record;
  const std::int64_t way = dice.number(0, 5);
  if (way == 0 && record.span.length() > 1) {
    first.span.end = second.span.begin = dice.number(record.span.begin + 1, record.span.end - 1);
  } else if (way == 1 && record.heads.count() > 1) {
    first.heads.end = second.heads.begin = dice.small(record.heads.begin + 1, record.heads.end - 1);
  } else if (way == 2 && (peers(first).size() > 1 || peers(first).front().count() > 1)) {
    const std::int32_t rank = peers(first).front().begin;
    peers(first) = {{rank, rank + 1}};
    if (++peers(second).front().begin == peers(second).front().end) {
      peers(second).erase(peers(second).begin());
    }
  } else {
    if (way == 3) first.lane = dice.small(0, 3);
    add(first);
    return;
  }
  add(first);
  add(second);
}

using Steps = std::vector<ScheduleStep>;

/// A step with something that `list` returns, or null.
template <typename List>
ScheduleStep* pick_step(Steps& steps, Dice& dice, List list) {
  std::vector<ScheduleStep*> found;
  for (ScheduleStep& step : steps) {
    if (!list(step).empty()) found.push_back(&step);
  }
  return found.empty() ? nullptr : dice.pick(found);
}

void shift(TokenSpan& span, Dice& dice) {
  switch (dice.number(0, 3)) {
    case 0:
      ++span.end;
      return;
    case 1:
      --span.end;
      return;
    case 2:
      --span.begin;
      return;
    default:
      ++span.begin;
  }
}

void shift(HeadRange& heads, Dice& dice) { ++(dice.one_in(2) ? heads.begin : heads.end); }

/// Changes one field of a transfer or reduction.
template <typename Record>
void change(Record& record, std::int32_t& single, std::int32_t ranks, Dice& dice) {
  switch (dice.number(0, 6)) {
    case 0:
      shift(record.span, dice);
      return;
    case 1:
      shift(record.heads, dice);
      return;
    case 2:
      single = dice.small(0, ranks - 1);
      return;
    case 3: {
      const std::int32_t rank = dice.small(0, ranks - 1);
      peers(record) = {{rank, rank + 1}};
      return;
    }
    case 4:
      record.ready += dice.one_in(2) ? 1 : -1;
      return;
    case 5:
      record.lane = dice.small(0, 2);
      return;
    default:
      record.span.begin = record.span.begin / 2;
  }
}

template <typename Record>
void drop_or_repeat(std::vector<Record>& from, std::vector<Record>& to, Dice& dice) {
  const Record record = dice.pick(from);
  if (dice.one_in(2)) from.erase(std::find(from.begin(), from.end(), record));
  if (dice.one_in(2)) to.push_back(record);
}

bool damage_transfer(Steps& steps, std::int32_t ranks, Dice& dice) {
  ScheduleStep* step = pick_step(
      steps, dice, [](ScheduleStep & each) -> auto& { return each.transfers; });
  if (step == nullptr) return false;
  if (dice.one_in(3)) {
    drop_or_repeat(step->transfers, dice.pick(steps).transfers, dice);
    return true;
  }
  Transfer& transfer = dice.pick(step->transfers);
  if (dice.one_in(6)) {
    transfer.tensor = transfer.tensor == TensorKind::o ? TensorKind::o_part : TensorKind::o;
  } else {
    change(transfer, transfer.source, ranks, dice);
  }
  return true;
}

bool damage_reduction(Steps& steps, std::int32_t ranks, Dice& dice) {
  ScheduleStep* step = pick_step(
      steps, dice, [](ScheduleStep & each) -> auto& { return each.reductions; });
  if (step == nullptr) return false;
  if (dice.one_in(3)) {
    drop_or_repeat(step->reductions, dice.pick(steps).reductions, dice);
  } else {
    Reduction& reduction = dice.pick(step->reductions);
    change(reduction, reduction.target, ranks, dice);
  }
  return true;
}

bool damage_task(Steps& steps, std::int32_t ranks, Dice& dice) {
  ScheduleStep* step = pick_step(
      steps, dice, [](ScheduleStep & each) -> auto& { return each.tasks; });
  if (step == nullptr) return false;
  AttentionTask& task = dice.pick(step->tasks);
  switch (dice.number(0, 4)) {
    case 0:
      drop_or_repeat(step->tasks, dice.pick(steps).tasks, dice);
      return true;
    case 1:
      shift(task.query, dice);
      return true;
    case 2:
      shift(task.key, dice);
      return true;
    case 3:
      shift(task.heads, dice);
      return true;
    default:
      task.rank = dice.small(0, ranks - 1);
      return true;
  }
}

bool damage_placement(Wave& wave, Dice& dice) {
  auto& spans = dice.pick(wave.placement.spans);
  if (spans.empty()) return false;
  if (dice.one_in(2)) {
    std::swap(spans, dice.pick(wave.placement.spans));
  } else {
    shift(dice.pick(spans), dice);
  }
  return true;
}

bool damage_once(RandomSchedule& schedule, Dice& dice) {
  Wave& wave = schedule.wave;
  const bool written = wave.backward.gradient_return == GradientReturn::explicit_steps;
  Steps& steps = written && dice.one_in(2) ? wave.backward.steps : wave.schedule.steps;
  switch (dice.number(0, 9)) {
    case 0:
      return damage_placement(wave, dice);
    case 1:
      wave.backward.kv =
          wave.backward.kv == BackwardKeep::retain ? BackwardKeep::refetch : BackwardKeep::retain;
      return written;
    case 2:
    case 3:
    case 4:
      return damage_task(steps, schedule.rank_count, dice);
    case 5:
    case 6:
      return damage_reduction(steps, schedule.rank_count, dice);
    default:
      return damage_transfer(steps, schedule.rank_count, dice);
  }
}

}  // namespace

void cut_backward_otherwise(Wave& wave, std::uint64_t seed) {
  Dice dice(seed, {23});
  Steps& steps = wave.backward.steps;
  // Nobody waits for gradients that have arrived, so the last step may be another one.
  if (dice.one_in(3)) steps.emplace_back();
  const auto last = static_cast<std::int32_t>(steps.size());
  for (std::size_t s = 0; s < steps.size(); ++s) {
    ScheduleStep cut = steps[s];
    cut.transfers.clear();
    cut.reductions.clear();
    for (const Transfer& transfer : steps[s].transfers) {
      cut_record(transfer, dice, [&](const Transfer& part) { cut.transfers.push_back(part); });
    }
    for (const Reduction& reduction : steps[s].reductions) {
      cut_record(reduction, dice, [&](const Reduction& part) {
        const bool waits = part.tensor == TensorKind::dq && s + 1 < steps.size() && dice.one_in(4);
        Reduction moved = part;
        if (waits) moved.ready = last;
        (waits ? steps[s + 1] : cut).reductions.push_back(moved);
      });
    }
    steps[s] = cut;
    if (!steps[s].reductions.empty()) steps[s].collective = CollectiveKind::none;
  }
  while (!steps.empty() && steps.back() == ScheduleStep{}) steps.pop_back();
  for (ScheduleStep& step : steps) {
    for (Reduction& reduction : step.reductions) {
      reduction.ready = std::min(reduction.ready, static_cast<std::int32_t>(steps.size()));
    }
    sort_canonically(step);
  }
}

void damage(RandomSchedule& schedule, std::uint64_t seed) {
  Dice dice(seed, {29});
  for (std::int64_t times = dice.number(1, 2); times > 0;) {
    if (damage_once(schedule, dice)) --times;
  }
  for (ScheduleStep& step : schedule.wave.schedule.steps) sort_canonically(step);
  for (ScheduleStep& step : schedule.wave.backward.steps) sort_canonically(step);
}

}  // namespace strata::test
