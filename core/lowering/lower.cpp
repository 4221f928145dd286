// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/lower.hpp"

#include <algorithm>

#include "core/base/check.hpp"
#include "core/base/digest.hpp"
#include "core/base/parallel_for.hpp"
#include "core/lowering/lower_rank.hpp"
#include "core/schedule/backward_schedule.hpp"

namespace strata {

namespace detail {

namespace {

std::int32_t lane_count(const CommSchedule& forward, const CommSchedule& backward) {
  std::int32_t lanes = 1;
  for (const CommSchedule* schedule : {&forward, &backward}) {
    for (const ScheduleStep& step : schedule->steps) {
      for (const Transfer& transfer : step.transfers) lanes = std::max(lanes, transfer.lane + 1);
      for (const Reduction& reduction : step.reductions) lanes = std::max(lanes, reduction.lane + 1);
    }
  }
  return lanes;
}

}  // namespace

RankLowering::RankLowering(const Wave& wave, const CommSchedule& backward, const ModelShape& model,
                           std::int32_t rank)
    : wave_(wave),
      backward_(backward),
      model_(model),
      rank_(rank),
      local_rows_(wave.placement.token_count(rank)),
      builder_(program_) {
  program_.rank = rank;
  program_.element_type = model.element_type;
  program_.lane_count = lane_count(wave.schedule, backward);
}

RankProgram RankLowering::lower() {
  lower_forward();
  lower_backward();
  builder_.assign_arena();
  return std::move(program_);
}

}  // namespace detail

RankProgram lower(const Wave& wave, const CommSchedule& backward, const ModelShape& model,
                  std::int32_t rank) {
  STRATA_CHECK(rank >= 0 && rank < wave.placement.rank_count(), "rank {} of {} cannot be lowered", rank,
               wave.placement.rank_count());
  return detail::RankLowering(wave, backward, model, rank).lower();
}

namespace {

/// The cost of lowering all ranks in about microseconds: slices on the wire, multicasts counted per target,
/// and what every rank issues in every step.
std::int64_t lowering_cost(const Wave& wave) {
  constexpr std::int64_t kStep = 10;
  std::int64_t cost =
      kStep * wave.placement.rank_count() * static_cast<std::int64_t>(wave.schedule.steps.size());
  for (const ScheduleStep& step : wave.schedule.steps) {
    for (const Transfer& transfer : step.transfers) cost += target_count(transfer);
  }
  return cost;
}

}  // namespace

std::int32_t lowering_threads(const Wave& wave) {
  constexpr std::int64_t kWorthThreads = 2000;
  return lowering_cost(wave) < kWorthThreads ? 1 : 0;
}

std::vector<RankProgram> lower_wave(const Wave& wave, const ModelShape& model) {
  return lower_wave(wave, derive_backward(wave, model), model);
}

std::vector<RankProgram> lower_wave(const Wave& wave, const CommSchedule& backward, const ModelShape& model) {
  const std::int32_t ranks = wave.placement.rank_count();
  std::vector<RankProgram> programs(static_cast<std::size_t>(ranks));
  parallel_for(ranks, lowering_threads(wave), [&](std::int64_t rank) {
    programs[static_cast<std::size_t>(rank)] = lower(wave, backward, model, static_cast<std::int32_t>(rank));
  });
  return programs;
}

std::vector<std::vector<RankProgram>> lower_waves(const std::vector<Wave>& waves, const ModelShape& model) {
  std::vector<std::vector<RankProgram>> programs;
  programs.reserve(waves.size());
  for (const Wave& wave : waves) programs.push_back(lower_wave(wave, model));
  return programs;
}

}  // namespace strata
