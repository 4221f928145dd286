// SPDX-License-Identifier: Apache-2.0
// Finds the tensor-core kernel of a kind, type and pair of head dimensions.
#include <algorithm>

#include "kernels/cuda/attention_instance.hpp"
#include "kernels/cuda/gradient_shapes.hpp"
#include "kernels/cuda/launch_status.cuh"
#include "kernels/cuda/tile_shapes.hpp"

namespace strata::kernels::cuda {
namespace {

/// The entry points of one instance.
struct Entry {
  Status (*prepare)(std::int32_t*) = nullptr;
  Status (*launch)(const AttentionArguments&, std::int32_t, void*) = nullptr;
};

template <WorkKind kKind, Element kElement, int kKeyDim, int kValueDim>
Entry entry() {
  using Instance = AttentionInstance<kKind, kElement, kKeyDim, kValueDim>;
  return {Instance::prepare, Instance::launch};
}

template <WorkKind kKind, Element kElement>
Entry entry_for_dims(const AttentionShape& shape) {
  const auto is = [&](int k_dim, int v_dim) { return shape.k_dim == k_dim && shape.v_dim == v_dim; };
  if (is(64, 64)) return entry<kKind, kElement, 64, 64>();
  if (is(96, 96)) return entry<kKind, kElement, 96, 96>();
  if (is(128, 128)) return entry<kKind, kElement, 128, 128>();
  if (is(192, 128)) return entry<kKind, kElement, 192, 128>();
  if (is(192, 192)) return entry<kKind, kElement, 192, 192>();
  if (is(256, 256)) return entry<kKind, kElement, 256, 256>();
  return {};
}

template <WorkKind kKind>
Entry entry_for(const AttentionShape& shape) {
  if (shape.element == Element::bf16) return entry_for_dims<kKind, Element::bf16>(shape);
  if (shape.element == Element::f16) return entry_for_dims<kKind, Element::f16>(shape);
  return {};
}

Entry find_entry(WorkKind kind, const AttentionShape& shape) {
  if (kind == WorkKind::forward) return entry_for<WorkKind::forward>(shape);
  if (kind == WorkKind::grad_q) return entry_for<WorkKind::grad_q>(shape);
  return entry_for<WorkKind::grad_kv>(shape);
}

Status no_kernel() {
  return {static_cast<int>(cudaErrorInvalidValue), "attention",
          "no kernel for this type and head dimensions"};
}

}  // namespace

std::int32_t attention_tile_rows(WorkKind kind, const AttentionShape& shape) {
  if (shape.element == Element::f32) return 0;
  if (kind == WorkKind::forward) return forward_shape(shape.k_dim, shape.v_dim).rows;
  if (kind == WorkKind::grad_q) return grad_q_shape(shape.k_dim, shape.v_dim).rows;
  return grad_kv_shape(shape.k_dim, shape.v_dim).rows;
}

Status prepare_attention(WorkKind kind, const AttentionShape& shape, std::int32_t left, AttentionGrid* grid) {
  *grid = {};
  const Entry found = find_entry(kind, shape);
  if (found.prepare == nullptr) return no_kernel();
  Status status = multiprocessors(&grid->multiprocessors);
  if (status.ok()) status = found.prepare(&grid->resident);
  if (!status.ok()) return status;
  grid->left = std::clamp(left, 0, grid->multiprocessors - 1);
  if (grid->resident > 0) return status;
  return {static_cast<int>(cudaErrorInvalidConfiguration), "attention",
          "the kernel does not fit this device"};
}

Status launch_attention(WorkKind kind, const AttentionShape& shape, const AttentionArguments& arguments,
                        const AttentionGrid& grid, void* stream) {
  const Entry found = find_entry(kind, shape);
  if (found.launch == nullptr) return no_kernel();
  // The softmax takes the largest product for the largest score.
  if (!(shape.scale > 0)) {
    return {static_cast<int>(cudaErrorInvalidValue), "attention", "the scale of the scores must be positive"};
  }
  if (arguments.tile_count == 0) return {};
  const cudaError_t error =
      cudaMemsetAsync(arguments.tickets, 0, sizeof(AttentionTickets), stream_of(stream));
  if (error != cudaSuccess) return status_of(error, "attention tickets");
  AttentionArguments complete = arguments;
  complete.group = shape.group();
  complete.scale = shape.scale;
  complete.first_left = grid.first_left();
  complete.most_leavers = grid.most_leavers();
  return found.launch(complete, grid.blocks(arguments.tile_count), stream);
}

}  // namespace strata::kernels::cuda
