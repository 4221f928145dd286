// SPDX-License-Identifier: Apache-2.0
// The grid that runs the row functors: warps take tiles of the ranges until none is left, teams of lanes the
// units of a tile.
#include <algorithm>

#include "kernels/cuda/launch_status.cuh"

namespace strata::kernels::cuda {
namespace {

constexpr int kBlockThreads = 256;
constexpr int kBlockWarps = kBlockThreads / kTeamLanes;
/// Resident at once, which caps the registers of a thread: 64, and where a unit keeps a state as well 85.
constexpr int kBlocks = 4;
constexpr int kBlocksWithState = 3;

/// lay_out_ranges makes a tile a multiple of the teams' number, but the last one of a range may be ragged:
/// `active` teams have a unit, all lanes take part in the shuffles.
template <class Functor>
__device__ __forceinline__ void run_tile(const Functor& functor, const typename Functor::Range& range,
                                         const WarpTile& tile) {
  const int lane = static_cast<int>(threadIdx.x) % kTeamLanes;
  const int lanes = range.span.lanes;
  const int teams = kTeamLanes / lanes;
  STRATA_ROLLED
  for (std::int64_t first = tile.begin; first < tile.end; first += teams) {
    const std::int64_t unit = first + lane / lanes;
    const bool active = unit < tile.end;
    if constexpr (!Functor::kFinishes) {
      if (active) functor.lane(range, unit, lane % lanes, functor.begin(range, unit));
    } else {
      const std::int64_t safe = active ? unit : first;
      const auto state = functor.begin(range, safe);
      float sum = active ? functor.lane(range, unit, lane % lanes, state) : 0.0F;
      STRATA_ROLLED
      for (int distance = lanes / 2; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, distance);
      }
      __syncwarp();
      if (active && lane % lanes == 0) functor.finish(range, unit, state, sum);
    }
  }
}

template <class Functor>
__device__ __forceinline__ void run_ranges(const Functor& functor, const typename Functor::Range* ranges,
                                           std::int32_t count, std::int64_t tiles) {
  const std::int64_t warps = std::int64_t{gridDim.x} * kBlockWarps;
  STRATA_ROLLED
  for (std::int64_t t = std::int64_t{blockIdx.x} * kBlockWarps + threadIdx.x / kTeamLanes; t < tiles;
       t += warps) {
    const WarpTile tile = locate_tile(ranges, count, t);
    run_tile(functor, ranges[tile.range], tile);
  }
}

/// Asks for as many blocks as fit the device, or as have work.
template <class Functor, class Kernel>
Status launch_rows(Kernel kernel, const char* what, const RowLaunch<typename Functor::Range>& launch,
                   const Functor& functor, void* stream) {
  if (launch.tiles == 0) return {};
  std::int32_t count = 0;
  const Status status = multiprocessors(&count);
  if (!status.ok()) return status;
  const std::int64_t wanted = (launch.tiles + kBlockWarps - 1) / kBlockWarps;
  const std::int64_t resident = Functor::kFinishes ? kBlocksWithState : kBlocks;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(wanted, std::int64_t{count} * resident));
  kernel<<<blocks, kBlockThreads, 0, stream_of(stream)>>>(functor, launch.ranges, launch.range_count,
                                                          launch.tiles);
  return launch_status(what);
}

}  // namespace

// Names without C++ mangling, as the register table and profilers show them.
extern "C" {
__global__ void __launch_bounds__(kBlockThreads, kBlocks)
    strata_copy_rows(CopyFunctor functor, const CopyRange* ranges, std::int32_t count, std::int64_t tiles) {
  run_ranges(functor, ranges, count, tiles);
}
__global__ void __launch_bounds__(kBlockThreads, kBlocks)
    strata_add_rows(AddFunctor functor, const AddRange* ranges, std::int32_t count, std::int64_t tiles) {
  run_ranges(functor, ranges, count, tiles);
}
__global__ void __launch_bounds__(kBlockThreads, kBlocks)
    strata_cast_rows(CastFunctor functor, const CastRange* ranges, std::int32_t count, std::int64_t tiles) {
  run_ranges(functor, ranges, count, tiles);
}
__global__ void __launch_bounds__(kBlockThreads, kBlocks)
    strata_fill_rows(FillFunctor functor, const FillRange* ranges, std::int32_t count, std::int64_t tiles) {
  run_ranges(functor, ranges, count, tiles);
}
__global__ void __launch_bounds__(kBlockThreads, kBlocksWithState)
    strata_merge_rows(MergeFunctor functor, const MergeRange* ranges, std::int32_t count,
                      std::int64_t tiles) {
  run_ranges(functor, ranges, count, tiles);
}
__global__ void __launch_bounds__(kBlockThreads, kBlocksWithState)
    strata_delta_rows(DeltaFunctor functor, const DeltaRange* ranges, std::int32_t count,
                      std::int64_t tiles) {
  run_ranges(functor, ranges, count, tiles);
}
}

Status copy_rows(const RowLaunch<CopyRange>& launch, void* stream) {
  return launch_rows(strata_copy_rows, "copy rows", launch, CopyFunctor{}, stream);
}
Status add_rows(const RowLaunch<AddRange>& launch, const AddPart* parts, void* stream) {
  AddFunctor functor;
  functor.parts = parts;
  return launch_rows(strata_add_rows, "add rows", launch, functor, stream);
}
Status cast_rows(const RowLaunch<CastRange>& launch, void* stream) {
  return launch_rows(strata_cast_rows, "cast rows", launch, CastFunctor{}, stream);
}
Status fill_rows(const RowLaunch<FillRange>& launch, void* stream) {
  return launch_rows(strata_fill_rows, "fill rows", launch, FillFunctor{}, stream);
}
Status merge_rows(const RowLaunch<MergeRange>& launch, const MergePart* parts, void* stream) {
  MergeFunctor functor;
  functor.parts = parts;
  return launch_rows(strata_merge_rows, "merge rows", launch, functor, stream);
}
Status delta_rows(const RowLaunch<DeltaRange>& launch, void* stream) {
  return launch_rows(strata_delta_rows, "delta rows", launch, DeltaFunctor{}, stream);
}

}  // namespace strata::kernels::cuda
