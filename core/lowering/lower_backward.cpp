// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/base/check.hpp"
#include "core/lowering/lower_rank.hpp"

namespace strata::detail {

void RankLowering::emit_zero(std::int32_t buffer) {
  const std::int64_t rows = builder_.buffer(buffer).rows;
  if (rows > 0) builder_.emit(TokenWork{TokenWorkKind::zero, rows, {}, buffer, -1, -1}, kComputeStream);
}

void RankLowering::lower_backward() {
  in_backward_ = true;
  builder_.begin_pass(Pass::backward);
  if (wave_.backward.kv == BackwardKeep::refetch) {
    queries_ = own_rows_;
    keys_ = {};
    std::int64_t row = 0;
    for (const TokenSpan& span : wave_.placement.spans[static_cast<std::size_t>(rank_)]) {
      keys_.add(all_kv_heads(), span, 0, row);
      row += span.length();
    }
    keys_.seal();
  }
  output_gradients_ = own_rows_;
  const LocalBuffers& local = program_.local;
  const bool cast = model_.element_type != ElementType::f32;
  const auto accumulator = [&](BufferRole role, std::int32_t result, HeadRange heads, std::int32_t width) {
    return cast ? builder_.add_buffer(role, ElementType::f32, local_rows_, heads, width, false) : result;
  };
  dq_acc_ = accumulator(BufferRole::dq_acc, local.dq, all_query_heads(), model_.head_dim);
  dkv_acc_ = accumulator(BufferRole::dkv_acc, local.dkv, all_kv_heads(), kv_width());
  delta_ = builder_.add_buffer(BufferRole::delta, ElementType::f32, local_rows_, all_query_heads(), 1, false);
  if (local_rows_ > 0) {
    const double flops = 2.0 * linear_flops_per_token(model_) * static_cast<double>(local_rows_);
    builder_.emit(TokenWork{TokenWorkKind::linear, local_rows_, {flops}, -1, -1, -1}, kComputeStream);
    builder_.emit(TokenWork{TokenWorkKind::delta, local_rows_, {}, delta_, local.d_o, local.o},
                  kComputeStream);
  }
  emit_zero(dq_acc_);
  emit_zero(dkv_acc_);
  for (QueryBuffers& group : query_groups_) group = {group.q, -1, -1, -1, -1, -1};
  query_groups_[0] = {local.q, -1, local.lse, local.d_o, delta_, dq_acc_};
  key_groups_[0].dkv = dkv_acc_;
  for (std::size_t s = 0; s < backward_.steps.size(); ++s) {
    const auto step_index = static_cast<std::int32_t>(s);
    const ScheduleStep& step = backward_.steps[s];
    StepTraffic traffic = begin_traffic(step, step_index);
    add_ready_gradients(step_index, Origin::relayed);
    add_sends(step, traffic);
    add_receives(step, step_index, traffic);
    emit_traffic(step, traffic);
    emit_attention(step, true);
    add_ready_gradients(step_index, Origin::own);
    seal_step();
  }
  finish_backward();
}

void RankLowering::finish_backward() {
  add_ready_gradients(static_cast<std::int32_t>(backward_.steps.size()) + 1, Origin::own);
  STRATA_CHECK(received_gradients_.empty(), "rank {} received gradients that nobody sums", rank_);
  if (model_.element_type == ElementType::f32 || local_rows_ == 0) return;
  const auto cast = [&](std::int32_t target, std::int32_t source) {
    builder_.emit(TokenWork{TokenWorkKind::cast, local_rows_, {}, target, source, -1}, kComputeStream);
  };
  cast(program_.local.dq, dq_acc_);
  cast(program_.local.dkv, dkv_acc_);
}

}  // namespace strata::detail
