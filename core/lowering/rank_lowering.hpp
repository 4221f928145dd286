// SPDX-License-Identifier: Apache-2.0
// The program of one rank, step by step. A step issues the copies that pack what is sent, one Exchange per
// lane with the copies that unpack it, and the attention of the step; what it receives is visible afterwards.
// Inside of lowering.
#pragma once

#include <cstdint>

#include "core/lowering/gradient_sums.hpp"
#include "core/lowering/output_gradients.hpp"
#include "core/lowering/partial_outputs.hpp"
#include "core/lowering/rank_attention.hpp"
#include "core/lowering/rank_rows.hpp"
#include "core/lowering/schedule_shares.hpp"
#include "core/lowering/slice_receiver.hpp"
#include "core/lowering/slice_sender.hpp"
#include "core/lowering/step_messages.hpp"

namespace strata::detail {

class RankLowering {
 public:
  RankLowering(const Wave& wave, const ModelShape& model, const ScheduleShares& forward,
               const ScheduleShares& backward, std::int32_t rank, std::int64_t own_message_bytes);
  /// The only call.
  RankProgram lower();

 private:
  void lower_forward();
  void lower_backward();
  void begin_backward();
  void finish_backward();
  /// Emits the layer's matrix products, `weight` times those of forward.
  void emit_linear(double weight);
  void exchange(const ScheduleStep& step, const StepShare& share, std::int32_t step_index);

  const ScheduleShares& forward_;
  const ScheduleShares& backward_;
  RankRows rows_;
  PartialOutputs outputs_;
  OutputGradients output_gradients_;
  GradientSums gradients_;
  SliceSender sender_;
  SliceReceiver receiver_;
  StepMessages messages_;
  RankAttention attention_;
};

}  // namespace strata::detail
