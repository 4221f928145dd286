// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/wire_form.hpp"

#include "core/base/check.hpp"

namespace strata::detail {

WireForm wire_form(TensorKind tensor, const ModelShape& model) {
  const ElementType element = model.element_type;
  const std::int32_t kv_width = model.head_dim + model.value_head_dim;
  const WireBuffer lse{BufferRole::lse, ElementType::f32, 1};
  switch (tensor) {
    case TensorKind::q:
      return {{{{BufferRole::q, element, model.head_dim}}}, 1};
    case TensorKind::kv:
      return {{{{BufferRole::kv, element, kv_width}}}, 1};
    case TensorKind::o:
    case TensorKind::o_part:
      return {{{{BufferRole::o, element, model.value_head_dim}, lse}}, 2};
    case TensorKind::d_o:
      return {
          {{{BufferRole::d_o, element, model.value_head_dim}, lse, {BufferRole::delta, ElementType::f32, 1}}},
          3};
    case TensorKind::dq:
      return {{{{BufferRole::dq, ElementType::f32, model.head_dim}}}, 1};
    case TensorKind::dkv:
      return {{{{BufferRole::dkv, ElementType::f32, kv_width}}}, 1};
  }
  STRATA_CHECK(false, "tensor kind {} cannot be sent", static_cast<int>(tensor));
}

}  // namespace strata::detail
