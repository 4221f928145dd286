// SPDX-License-Identifier: Apache-2.0
// What a rank receives in one step, and where it lands. Rows that arrive with one lane, tensor and heads
// share their buffers; d_o may land beside its q. Inside of lowering.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "core/base/bucket_sort.hpp"
#include "core/lowering/gradient_sums.hpp"
#include "core/lowering/output_gradients.hpp"
#include "core/lowering/partial_outputs.hpp"
#include "core/lowering/rank_rows.hpp"
#include "core/lowering/schedule_shares.hpp"
#include "core/lowering/step_slices.hpp"

namespace strata::detail {

class SliceReceiver {
 public:
  SliceReceiver(RankRows& rows, PartialOutputs& outputs, OutputGradients& output_gradients,
                GradientSums& gradients, std::int64_t own_message_bytes)
      : rows_(rows),
        outputs_(outputs),
        output_gradients_(output_gradients),
        gradients_(gradients),
        own_message_bytes_(own_message_bytes) {}
  /// What `share` receives in `step_index`, with its place; rows are visible from the next step on. The
  /// result holds until the next call.
  const std::vector<ReceivedSlice>& collect(const ScheduleStep& step, const StepShare& share,
                                            std::int32_t step_index);

 private:
  struct Arrival {
    std::int32_t lane = 0;
    TensorKind tensor = TensorKind::kv;
    HeadRange heads;
    std::int64_t rows = 0;
    BufferList buffers;
    std::int32_t group = -1;  ///< of q, kv and d_o
  };
  /// What one rank sends of one reduction, by position in StepShare::collected.
  struct ShareOfSum {
    std::int32_t source = 0, collected = 0;
    auto operator<=>(const ShareOfSum&) const = default;
  };

  std::size_t find_arrival(const SliceShape& shape);
  /// Appends a slice of the arrival with its lane, tensor and heads; it has no place yet.
  ReceivedSlice& append(const SliceShape& shape, std::int32_t source);
  /// Gives a slice the next rows of its arrival.
  void take_rows(ReceivedSlice& slice);
  /// Creates the buffers of the arrivals from `first` on.
  void create_buffers(std::size_t first);
  void set_buffers(ReceivedSlice& slice) const;
  /// Sets the place of a slice of `transfer` and hands it on.
  void land(const Transfer& transfer, std::int32_t step_index, ReceivedSlice& slice);
  /// Collects d_o once the q of the step have their places: it lands beside q where it can.
  void collect_output_gradients(const ScheduleStep& step, const StepShare& share, std::int32_t step_index);
  /// Appends what reductions bring, by source. The places still lack their buffers. What one source sends in
  /// one message thus lies together. No kernel wants another order of sums, as kernels do of inputs.
  void append_sums(const ScheduleStep& step, const StepShare& share);
  bool travels_alone(const SliceShape& shape) const;

  RankRows& rows_;
  PartialOutputs& outputs_;
  OutputGradients& output_gradients_;
  GradientSums& gradients_;
  std::int64_t own_message_bytes_ = 0;
  std::vector<Arrival> arrivals_;  ///< of the current step, as those below
  std::vector<ReceivedSlice> slices_;
  std::vector<ShareOfSum> shares_;
  BucketSort<ShareOfSum> by_source_;
};

}  // namespace strata::detail
