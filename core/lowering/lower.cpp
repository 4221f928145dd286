// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/lower.hpp"

#include "core/base/check.hpp"
#include "core/base/parallel_for.hpp"
#include "core/lowering/rank_lowering.hpp"
#include "core/schedule/backward_schedule.hpp"

namespace strata {

WaveLowering::WaveLowering(const Wave& wave, const CommSchedule& backward, const ModelShape& model,
                           std::int64_t own_message_bytes)
    : wave_(wave),
      model_(model),
      own_message_bytes_(own_message_bytes),
      forward_shares_(wave.schedule.steps, wave.placement.rank_count()),
      backward_shares_(backward.steps, wave.placement.rank_count()) {}

RankProgram WaveLowering::lower(std::int32_t rank) const {
  STRATA_CHECK(rank >= 0 && rank < wave_.placement.rank_count(), "rank {} of {} cannot be lowered", rank,
               wave_.placement.rank_count());
  return detail::RankLowering(wave_, model_, forward_shares_, backward_shares_, rank, own_message_bytes_)
      .lower();
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

std::vector<RankProgram> lower_wave(const Wave& wave, const ModelShape& model,
                                    std::int64_t own_message_bytes) {
  return lower_wave(wave, derive_backward(wave, model), model, own_message_bytes);
}

std::vector<RankProgram> lower_wave(const Wave& wave, const CommSchedule& backward, const ModelShape& model,
                                    std::int64_t own_message_bytes) {
  const WaveLowering lowering(wave, backward, model, own_message_bytes);
  const std::int32_t ranks = wave.placement.rank_count();
  std::vector<RankProgram> programs(static_cast<std::size_t>(ranks));
  parallel_for(ranks, lowering_threads(wave), [&](std::int64_t rank) {
    programs[static_cast<std::size_t>(rank)] = lowering.lower(static_cast<std::int32_t>(rank));
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
