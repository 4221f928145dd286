// SPDX-License-Identifier: Apache-2.0
// What a rank sends in one step, and where it lies. It lies in the tensors themselves, wherever they hold it.
// Inside of lowering.
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
  /// What `share` sends, transfers first, in canonical order. Emits the merges, sums and copies that the
  /// slices are made of. The step outlives the result, which the next call makes anew.
  const SentSlices& collect(const ScheduleStep& step, const StepShare& share);

 private:
  void locate(TensorKind tensor, const TokenSpan& span, HeadRange heads, std::vector<SlicePiece>& pieces);
  /// A slice whose heads lie in different buffers, put together by `gather_`.
  Slice gather(TensorKind tensor, const TokenSpan& span, HeadRange heads);
  /// Emits a partial or finished output, out of running values.
  Slice emit_output(const TokenSpan& span, HeadRange heads);
  /// The buffers of a group, all of which exist and hold `heads`.
  BufferList buffers_of(TensorKind tensor, const HeldRun& run, HeadRange heads) const;

  RankRows& rows_;
  GradientSums& gradients_;
  CopyRows gather_;
  SentSlices sent_;
  std::vector<HeldRun> runs_;
  std::vector<HeadRange> head_parts_;
};

}  // namespace strata::detail
