// SPDX-License-Identifier: Apache-2.0
// How the rest of the program calls the GPU: plain C++ without CUDA headers. A stream is CUDA's handle as a
// void* (null: the default stream); pointers in arguments are device memory unless said otherwise. Nothing
// here waits, throws or prints; a status says what went wrong, also for asynchronous errors that surface
// here.
#pragma once

#include <cstdint>

#include "kernels/attention_work.hpp"
#include "kernels/cuda/attention_grid.hpp"
#include "kernels/cuda/attention_reference.hpp"
#include "kernels/cuda/device_lists.hpp"
#include "kernels/functors/head_functors.hpp"
#include "kernels/functors/row_functors.hpp"

namespace strata::kernels::cuda {

/// `code` is the CUDA runtime's (0: fine); both texts live for ever.
struct Status {
  int code = 0;
  const char* what = "";  // the call or kernel that failed
  const char* text = "";

  [[nodiscard]] bool ok() const { return code == 0; }
};

struct DeviceInfo {
  char name[256] = {};
  std::int32_t compute_major = 0;
  std::int32_t compute_minor = 0;
  std::int32_t multiprocessors = 0;
  // Of CUDA as the driver knows it, 13000 for 13.0.
  std::int32_t driver_version = 0;
  std::int32_t runtime_version = 0;  // of the CUDA that this program was built with
  std::int64_t memory_bytes = 0;
  std::int64_t shared_bytes_block = 0;  // most that a block may ask for
};

/// Number of devices that can run kernels; an error where there is no driver.
Status device_count(std::int32_t* count);
Status device_info(std::int32_t device, DeviceInfo* info);

/// Ranges and their parts, laid out by lay_out_ranges, which gave `tiles`.
template <class Range>
struct RowLaunch {
  const Range* ranges = nullptr;
  std::int32_t range_count = 0;
  std::int64_t tiles = 0;
};

Status copy_rows(const RowLaunch<CopyRange>& launch, void* stream);
Status add_rows(const RowLaunch<AddRange>& launch, const AddPart* parts, void* stream);
Status cast_rows(const RowLaunch<CastRange>& launch, void* stream);
Status fill_rows(const RowLaunch<FillRange>& launch, void* stream);
Status merge_rows(const RowLaunch<MergeRange>& launch, const MergePart* parts, void* stream);
Status delta_rows(const RowLaunch<DeltaRange>& launch, void* stream);

/// The plain fp32 kernels. `work` holds device pointers; `queries` and `keys` are host copies of its
/// descriptors, whose sizes say how many threads run.
struct ReferenceLaunch {
  ReferenceAttention work;
  const QueryRows* queries = nullptr;
  std::int32_t query_sources = 0;
  const KeyRows* keys = nullptr;
  std::int32_t key_sources = 0;
};
Status reference_forward(const ReferenceLaunch& launch, void* stream);
/// grad_q and grad_kv.
Status reference_backward(const ReferenceLaunch& launch, void* stream);

/// Rows of a tile of the tensor-core kernel for this kind, type and pair of head dimensions, with which its
/// lists are built; 0 where there is no such kernel (fp32, other dimensions) and the plain one must do.
std::int32_t attention_tile_rows(WorkKind kind, const AttentionShape& shape);

/// To be called once per kernel and device before the first launch. Lets the kernel have its shared memory,
/// and says what grid fills the current device. `left` of its multiprocessors (all but one at most) go to
/// communication.
Status prepare_attention(WorkKind kind, const AttentionShape& shape, std::int32_t left, AttentionGrid* grid);

/// One launch over lists of `kind` built for `shape`: grad_q and grad_kv are the two halves of backward.
/// `group` and `scale` of the arguments come from the shape, `first_left` and `most_leavers` from the grid.
/// The counters that `tickets` points to are set to 0 first, so launches that may run at the same time need
/// counters of their own.
Status launch_attention(WorkKind kind, const AttentionShape& shape, const AttentionArguments& arguments,
                        const AttentionGrid& grid, void* stream);

}  // namespace strata::kernels::cuda
