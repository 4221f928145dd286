// SPDX-License-Identifier: Apache-2.0
// How a block of threads that owns query rows walks the keys of its tile's segments.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_lists.hpp"
#include "kernels/cuda/simt.hpp"

namespace strata::kernels {

/// A block of keys, and what it takes to copy it and to come to the next one of its segment. KeyFill is the
/// TileFill of K; V, kKeyDim elements further, is filled by the same threads.
template <int kKeyDim, int kValueDim, class KeyFill>
struct KeyBlock {
  const char* from = nullptr;  // this thread's chunk of K in its first row of the block
  std::int32_t row_bytes = 0;
  std::int32_t rows = 0;  // left in the segment
  std::int32_t segment = 0;

  /// Goes to the first block of `entered`, the segment with the number `segment`.
  STRATA_DEVICE void enter(const AttentionArguments& arguments, const DeviceTile& tile,
                           const DeviceSegment& entered) {
    const KeyRows& source = arguments.keys[entered.source];
    constexpr std::int32_t kHeadBytes = (kKeyDim + kValueDim) * 2;
    row_bytes = source.head_count * kHeadBytes;
    rows = entered.count;
    from = static_cast<const char*>(source.kv) + (entered.row + KeyFill::row()) * std::int64_t{row_bytes} +
           (tile.head / arguments.group - source.head_begin) * kHeadBytes + KeyFill::chunk() * kChunkBytes;
  }
  /// Goes `columns` rows on; no rows are left behind the last block.
  STRATA_DEVICE void advance(int columns) {
    from += columns * std::int64_t{row_bytes};
    rows -= columns;
  }
};

}  // namespace strata::kernels
