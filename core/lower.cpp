// SPDX-License-Identifier: Apache-2.0
#include "core/lower.hpp"

#include <algorithm>

#include "core/backward_schedule.hpp"
#include "core/check.hpp"
#include "core/digest.hpp"
#include "core/lower_rank.hpp"

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
  assign_arena(program_);
  return std::move(program_);
}

}  // namespace detail

RankProgram lower(const Wave& wave, const CommSchedule& backward, const ModelShape& model,
                  std::int32_t rank) {
  STRATA_CHECK(rank >= 0 && rank < wave.placement.rank_count(), "rank {} of {} cannot be lowered", rank,
               wave.placement.rank_count());
  return detail::RankLowering(wave, backward, model, rank).lower();
}

std::vector<RankProgram> lower_wave(const Wave& wave, const ModelShape& model) {
  const CommSchedule backward = derive_backward(wave, model);
  std::vector<RankProgram> programs;
  programs.reserve(static_cast<std::size_t>(wave.placement.rank_count()));
  for (std::int32_t rank = 0; rank < wave.placement.rank_count(); ++rank) {
    programs.push_back(lower(wave, backward, model, rank));
  }
  return programs;
}

}  // namespace strata
