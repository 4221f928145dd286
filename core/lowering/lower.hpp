// SPDX-License-Identifier: Apache-2.0
// Lowering: one wave's schedule -> a program per rank.
#pragma once

#include <cstdint>
#include <vector>

#include "core/lowering/schedule_shares.hpp"
#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "core/schedule/wave.hpp"

namespace strata {

/// Changes whenever the same schedule lowers to different programs or digests; stored in plans.
inline constexpr std::int32_t kLoweringVersion = 4;

/// What lowering knows of a whole wave: which parts of both passes concern which rank. It is made once. After
/// that the program of a rank costs what that rank sends, receives and computes.
class WaveLowering {
 public:
  /// All arguments must outlive it. `wave` must pass verify_schedule; STRATA_CHECK otherwise. `backward` is
  /// what derive_backward gives for it. Rows of one buffer and slice of at least `own_message_bytes` travel
  /// alone; plans are lowered with the default.
  WaveLowering(const Wave& wave, const CommSchedule& backward, const ModelShape& model,
               std::int64_t own_message_bytes = kOwnMessageBytes);
  WaveLowering(const WaveLowering&) = delete;
  WaveLowering& operator=(const WaveLowering&) = delete;
  /// The program of `rank`. May be called from several threads.
  RankProgram lower(std::int32_t rank) const;

 private:
  const Wave& wave_;
  const ModelShape& model_;
  std::int64_t own_message_bytes_ = 0;
  detail::ScheduleShares forward_shares_, backward_shares_;
};

/// All ranks' programs of one wave. The first derives the backward schedule itself.
std::vector<RankProgram> lower_wave(const Wave& wave, const ModelShape& model,
                                    std::int64_t own_message_bytes = kOwnMessageBytes);
std::vector<RankProgram> lower_wave(const Wave& wave, const CommSchedule& backward, const ModelShape& model,
                                    std::int64_t own_message_bytes = kOwnMessageBytes);
/// The programs of all waves, [wave][rank].
std::vector<std::vector<RankProgram>> lower_waves(const std::vector<Wave>& waves, const ModelShape& model);
/// For parallel_for over the ranks of `wave`: 1 where starting threads costs more than they save, else 0.
std::int32_t lowering_threads(const Wave& wave);

}  // namespace strata
