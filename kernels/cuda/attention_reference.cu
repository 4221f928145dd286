// SPDX-License-Identifier: Apache-2.0
// Launches the plain fp32 attention: a thread per row and head, neighbouring threads on neighbouring rows, so
// that a warp mostly reads the same rows of the other side.
#include "kernels/cuda/attention_reference.hpp"

#include "kernels/cuda/launch_status.cuh"

namespace strata::kernels::cuda {
namespace {

constexpr int kBlockThreads = 128;

struct RowPlace {
  bool inside;
  std::int64_t row;
  std::int32_t head;
};

/// This thread's row of `rows` and head of those from `head_begin`; heads run along the grid's y.
template <class Rows>
__device__ __forceinline__ RowPlace place_of(const Rows& rows) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kBlockThreads + threadIdx.x;
  return {row < rows.rows, row, rows.head_begin + static_cast<std::int32_t>(blockIdx.y)};
}

template <class Kernel, class Rows>
Status launch_source(Kernel kernel, const char* what, const ReferenceAttention& work, const Rows& rows,
                     std::int32_t source, void* stream) {
  if (rows.rows == 0 || rows.head_count == 0) return {};
  const dim3 grid(static_cast<unsigned>((rows.rows + kBlockThreads - 1) / kBlockThreads),
                  static_cast<unsigned>(rows.head_count));
  kernel<<<grid, kBlockThreads, 0, stream_of(stream)>>>(work, source);
  return launch_status(what);
}

Status check(const ReferenceLaunch& launch) {
  const AttentionShape& shape = launch.work.shape;
  if (shape.k_dim > kReferenceMaxDim || shape.v_dim > kReferenceMaxDim) {
    return {static_cast<int>(cudaErrorInvalidValue), "reference attention", "head dimension above 256"};
  }
  return {};
}

}  // namespace

extern "C" {
__global__ void __launch_bounds__(kBlockThreads)
    strata_reference_forward(ReferenceAttention work, std::int32_t source) {
  const RowPlace at = place_of(work.queries[source]);
  if (at.inside) reference_forward_row(work, source, at.row, at.head);
}
__global__ void __launch_bounds__(kBlockThreads)
    strata_reference_grad_q(ReferenceAttention work, std::int32_t source) {
  const RowPlace at = place_of(work.queries[source]);
  if (at.inside) reference_grad_q_row(work, source, at.row, at.head);
}
__global__ void __launch_bounds__(kBlockThreads)
    strata_reference_grad_kv(ReferenceAttention work, std::int32_t source) {
  const RowPlace at = place_of(work.keys[source]);
  if (at.inside) reference_grad_kv_row(work, source, at.row, at.head);
}
}

Status reference_forward(const ReferenceLaunch& launch, void* stream) {
  Status status = check(launch);
  for (std::int32_t s = 0; s < launch.query_sources && status.ok(); ++s) {
    status = launch_source(strata_reference_forward, "reference forward", launch.work, launch.queries[s], s,
                           stream);
  }
  return status;
}

Status reference_backward(const ReferenceLaunch& launch, void* stream) {
  Status status = check(launch);
  for (std::int32_t s = 0; s < launch.query_sources && status.ok(); ++s) {
    status =
        launch_source(strata_reference_grad_q, "reference grad_q", launch.work, launch.queries[s], s, stream);
  }
  for (std::int32_t s = 0; s < launch.key_sources && status.ok(); ++s) {
    status =
        launch_source(strata_reference_grad_kv, "reference grad_kv", launch.work, launch.keys[s], s, stream);
  }
  return status;
}

}  // namespace strata::kernels::cuda
