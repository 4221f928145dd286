// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/schedule_counts.hpp"

#include "core/base/check.hpp"
#include "core/base/checked.hpp"

namespace strata {

WireForm wire_form(TensorKind tensor, const ModelShape& model) {
  const ElementType element = model.element_type;
  const std::int32_t kv_width = model.head_dim + model.value_head_dim;
  const WireField output{WireContent::rows, element, model.value_head_dim};
  const WireField lse{WireContent::log_sum_exp, ElementType::f32, 1};
  const WireField delta{WireContent::delta, ElementType::f32, 1};
  switch (tensor) {
    case TensorKind::q:
      return {{{{WireContent::rows, element, model.head_dim}}}, 1};
    case TensorKind::kv:
      return {{{{WireContent::rows, element, kv_width}}}, 1};
    case TensorKind::o:
    case TensorKind::o_part:
      return {{{output, lse}}, 2};
    case TensorKind::d_o:
      return {{{output, lse, delta}}, 3};
    case TensorKind::dq:
      return {{{{WireContent::rows, ElementType::f32, model.head_dim}}}, 1};
    case TensorKind::dkv:
      return {{{{WireContent::rows, ElementType::f32, kv_width}}}, 1};
  }
  STRATA_CHECK(false, "tensor kind {} has no wire format", static_cast<int>(tensor));
}

std::int64_t wire_bytes(TensorKind tensor, const ModelShape& model) {
  const WireForm form = wire_form(tensor, model);
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < form.count; ++i) {
    bytes += element_bytes(form.fields[i].type) * form.fields[i].width;
  }
  return bytes;
}

Bytes slice_bytes(TensorKind tensor, const TokenSpan& span, HeadRange heads, const ModelShape& model) {
  return {checked_product(span.length(), heads.count(), wire_bytes(tensor, model))};
}

std::int64_t task_pairs(const AttentionTask& task, const Mask& mask) {
  return pair_count(mask, task.query, task.key) * task.heads.count();
}

}  // namespace strata
