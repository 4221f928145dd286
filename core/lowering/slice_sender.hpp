// SPDX-License-Identifier: Apache-2.0
// What a rank sends in one step. Whole-head slices are sent from the tensors themselves; head slices, and
// slices that lie in several places, are packed first. Inside of lowering.
#pragma once

#include <vector>

#include "core/lowering/gradient_sums.hpp"
#include "core/lowering/rank_rows.hpp"
#include "core/lowering/schedule_shares.hpp"
#include "core/lowering/step_slices.hpp"

namespace strata::detail {

class SliceSender {
 public:
  SliceSender(RankRows& rows, GradientSums& gradients) : rows_(rows), gradients_(gradients) {}
  /// What `share` sends, transfers first, in canonical order. Merges and sums that it is made of are emitted;
  /// copies that must be over before it is sent go to `pack`. The step outlives the result.
  std::vector<SentSlice> collect(const ScheduleStep& step, const StepShare& share, CopyRows& pack);

 private:
  Slice locate(TensorKind tensor, const TokenSpan& span, HeadRange heads, CopyRows& pack);
  /// A partial or finished output, out of running values.
  Slice emit_output(const TokenSpan& span, HeadRange heads);

  RankRows& rows_;
  GradientSums& gradients_;
  std::vector<HeldRun> runs_;
  std::vector<HeadRange> head_parts_;
};

}  // namespace strata::detail
