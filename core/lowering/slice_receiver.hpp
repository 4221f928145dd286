// SPDX-License-Identifier: Apache-2.0
// What a rank receives in one step, and where it lands. Rows that arrive with one lane, tensor and heads
// share their buffers; d_o may land beside its q. Inside of lowering.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

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
  /// What `share` receives in `step_index`, with its place; rows are visible from the next step on.
  std::vector<ReceivedSlice> collect(const ScheduleStep& step, const StepShare& share,
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

  /// A slice whose place has its row, but not its buffers yet.
  struct Coming {
    ReceivedSlice slice;
    std::size_t arrival = 0;
  };

  /// A slice in the arrival with its lane, tensor and heads.
  Coming add(const SliceShape& shape, std::int32_t source);
  /// Creates the buffers of the arrivals from `first` on.
  void create_buffers(std::size_t first);
  /// Slices of the reductions that `share` collects, each with its source, in the order in which they lie:
  /// what one source sends in one message lies together. No kernel wants another order, as it does of inputs.
  std::vector<std::pair<SliceShape, std::int32_t>> shares_of_sums(const ScheduleStep& step,
                                                                  const StepShare& share) const;
  const Arrival& place(Coming& coming) const;
  void land(const Transfer& transfer, std::int32_t step_index, Coming& coming);
  /// d_o, once the q of the step have their places: beside q where it can.
  void collect_output_gradients(const ScheduleStep& step, const StepShare& share, std::int32_t step_index,
                                std::vector<ReceivedSlice>& slices);

  RankRows& rows_;
  PartialOutputs& outputs_;
  OutputGradients& output_gradients_;
  GradientSums& gradients_;
  std::int64_t own_message_bytes_ = 0;
  std::vector<Arrival> arrivals_;  ///< of the current step
};

}  // namespace strata::detail
