// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/rank_lowering.hpp"

#include <algorithm>
#include <utility>

#include "core/base/check.hpp"

namespace strata::detail {

RankLowering::RankLowering(const Wave& wave, const ModelShape& model, const ScheduleShares& forward,
                           const ScheduleShares& backward, std::int32_t rank, std::int64_t own_message_bytes)
    : forward_(forward),
      backward_(backward),
      rows_(wave, model, rank, std::max(forward.lane_count(), backward.lane_count())),
      outputs_(rows_),
      output_gradients_(rows_),
      gradients_(rows_),
      sender_(rows_, gradients_),
      receiver_(rows_, outputs_, output_gradients_, gradients_, own_message_bytes),
      messages_(rows_, own_message_bytes),
      attention_(rows_, output_gradients_) {}

RankProgram RankLowering::lower() {
  lower_forward();
  lower_backward();
  return rows_.finish();
}

void RankLowering::lower_forward() {
  rows_.begin_forward(forward_.has_partial_outputs(rows_.rank()));
  ShareWalk shares(forward_, rows_.rank());
  for (std::size_t s = 0; s < forward_.steps().size(); ++s) {
    const ScheduleStep& step = forward_.steps()[s];
    const StepShare share = shares.next();
    exchange(step, share, static_cast<std::int32_t>(s));
    attention_.emit(step, share);
    rows_.end_step();
  }
  outputs_.emit_result();
  emit_linear(1.0);
}

void RankLowering::begin_backward() {
  rows_.begin_backward();
  emit_linear(2.0);
  const QueryBuffers& own = rows_.query_group(0);
  if (rows_.local_rows() > 0) {
    rows_.builder().emit(
        TokenWork{TokenWorkKind::delta, rows_.local_rows(), {}, own.delta, own.d_o, rows_.local().o},
        kComputeStream);
  }
  rows_.emit_zero(own.dq);
  rows_.emit_zero(rows_.key_group(0).dkv);
}

void RankLowering::lower_backward() {
  begin_backward();
  ShareWalk shares(backward_, rows_.rank());
  for (std::size_t s = 0; s < backward_.steps().size(); ++s) {
    const ScheduleStep& step = backward_.steps()[s];
    const auto step_index = static_cast<std::int32_t>(s);
    const StepShare share = shares.next();
    gradients_.emit_ready(step_index, GradientSums::Origin::relayed);
    exchange(step, share, step_index);
    attention_.emit(step, share);
    gradients_.emit_ready(step_index, GradientSums::Origin::own);
    rows_.end_step();
  }
  finish_backward();
}

void RankLowering::finish_backward() {
  gradients_.emit_ready(static_cast<std::int32_t>(backward_.steps().size()) + 1, GradientSums::Origin::own);
  STRATA_CHECK(gradients_.empty(), "rank {} received gradients that nobody sums", rows_.rank());
  if (rows_.model().element_type == ElementType::f32 || rows_.local_rows() == 0) return;
  const auto cast = [&](std::int32_t target, std::int32_t source) {
    rows_.builder().emit(TokenWork{TokenWorkKind::cast, rows_.local_rows(), {}, target, source, -1},
                         kComputeStream);
  };
  cast(rows_.local().dq, rows_.query_group(0).dq);
  cast(rows_.local().dkv, rows_.key_group(0).dkv);
}

void RankLowering::emit_linear(double weight) {
  if (rows_.local_rows() == 0) return;
  const double flops =
      weight * linear_flops_per_token(rows_.model()) * static_cast<double>(rows_.local_rows());
  rows_.builder().emit(TokenWork{TokenWorkKind::linear, rows_.local_rows(), {flops}, -1, -1, -1},
                       kComputeStream);
}

void RankLowering::exchange(const ScheduleStep& step, const StepShare& share, std::int32_t step_index) {
  if (share.sent.empty() && share.received.empty() && share.given.empty() && share.collected.empty()) return;
  messages_.begin(step_index);
  messages_.add(sender_.collect(step, share));
  messages_.add(receiver_.collect(step, share, step_index));
  messages_.emit(step.collective);
}

}  // namespace strata::detail
