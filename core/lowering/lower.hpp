// SPDX-License-Identifier: Apache-2.0
// Lowering: one wave's schedule -> the program of one rank. Touches only what concerns that rank.
#pragma once

#include <cstdint>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "core/schedule/wave.hpp"

namespace strata {

/// Changes whenever the same schedule lowers to different programs or digests; stored in plans.
inline constexpr std::int32_t kLoweringVersion = 3;

/// The program of `rank`. `wave` must pass verify_schedule; STRATA_CHECK otherwise.
RankProgram lower(const Wave& wave, const CommSchedule& backward, const ModelShape& model, std::int32_t rank);
/// All ranks' programs of one wave (derives the backward schedule itself).
std::vector<RankProgram> lower_wave(const Wave& wave, const ModelShape& model);
/// The same with the wave's backward schedule, as derive_backward gives it.
std::vector<RankProgram> lower_wave(const Wave& wave, const CommSchedule& backward, const ModelShape& model);
/// The programs of all waves, [wave][rank].
std::vector<std::vector<RankProgram>> lower_waves(const std::vector<Wave>& waves, const ModelShape& model);
/// For parallel_for over the ranks of `wave`: 1 where starting threads costs more than they save, else 0.
std::int32_t lowering_threads(const Wave& wave);

}  // namespace strata
