// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/wire_form.hpp"

#include "core/base/check.hpp"
#include "core/schedule/schedule_counts.hpp"

namespace strata::detail {

namespace {

/// The buffer that the tensor's own rows travel in.
BufferRole rows_role(TensorKind tensor) {
  switch (tensor) {
    case TensorKind::q:
      return BufferRole::q;
    case TensorKind::kv:
      return BufferRole::kv;
    case TensorKind::o:
    case TensorKind::o_part:
      return BufferRole::o;
    case TensorKind::d_o:
      return BufferRole::d_o;
    case TensorKind::dq:
      return BufferRole::dq;
    case TensorKind::dkv:
      return BufferRole::dkv;
  }
  STRATA_CHECK(false, "tensor kind {} cannot be sent", static_cast<int>(tensor));
}

BufferRole role_of(TensorKind tensor, WireContent content) {
  switch (content) {
    case WireContent::rows:
      return rows_role(tensor);
    case WireContent::log_sum_exp:
      return BufferRole::lse;
    case WireContent::delta:
      return BufferRole::delta;
  }
  STRATA_CHECK(false, "content {} of a message has no buffer", static_cast<int>(content));
}

}  // namespace

WireBuffers wire_buffers(TensorKind tensor, const ModelShape& model) {
  const strata::WireForm wire = strata::wire_form(tensor, model);
  WireBuffers form;
  for (; form.count < wire.count; ++form.count) {
    const WireField& field = wire.fields[form.count];
    form.buffers[form.count] = {role_of(tensor, field.content), field.type, field.width};
  }
  return form;
}

}  // namespace strata::detail
