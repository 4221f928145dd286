// SPDX-License-Identifier: Apache-2.0
// Attention work as the tensor-core kernels read it: flat arrays of 32-byte entries in device memory. Rows
// are 32 bits wide, element offsets are computed with 64.
#pragma once

#include <cstdint>

#include "kernels/attention_types.hpp"

namespace strata::kernels {

/// Rows of one source and one head that a block owns. Head: query head of query tiles, KV head of key tiles.
struct DeviceTile {
  std::int32_t row = 0;
  std::int32_t count = 0;
  std::int32_t source = 0;
  std::int32_t head = 0;
  std::int32_t segment_begin = 0;
  std::int32_t segment_end = 0;
  std::int32_t reserved[2] = {0, 0};
};

/// A band of rows of the other side: tile row and segment row count from 0, the pair (query i, key j) is
/// allowed iff lo <= j * stride - i <= hi. Bounds are within +-kDeviceBound, as is every j * stride and i.
struct DeviceSegment {
  std::int32_t row = 0;
  std::int32_t count = 0;
  std::int32_t lo = 0;
  std::int32_t hi = 0;
  std::int32_t stride = 1;
  std::int32_t source = 0;
  std::int32_t head_begin = 0;  // query heads; key tiles take those that are in their group
  std::int32_t head_count = 0;
};

static_assert(sizeof(DeviceTile) == 32 && sizeof(DeviceSegment) == 32);

/// Small enough that the distance of a bound and a position fits 32 bits.
inline constexpr std::int32_t kDeviceBound = std::int32_t{1} << 29;

/// Counters of one launch, both 0 at its start: tiles that blocks have taken, and blocks that have asked to
/// leave their multiprocessor to communication.
struct AttentionTickets {
  std::int32_t taken = 0;
  std::int32_t leavers = 0;
};

/// Arguments of every attention kernel; all pointers are to device memory.
struct AttentionArguments {
  const DeviceTile* tiles = nullptr;
  const DeviceSegment* segments = nullptr;
  const QueryRows* queries = nullptr;
  const KeyRows* keys = nullptr;
  AttentionTickets* tickets = nullptr;
  std::int32_t tile_count = 0;
  std::int32_t group = 1;  // query heads per KV head
  float scale = 1.0F;      // positive
  OutputMode mode = OutputMode::write;
  // See AttentionGrid: a block on this multiprocessor or a later one leaves, unless so many have left before.
  std::int32_t first_left = 0;
  std::int32_t most_leavers = 0;
};

}  // namespace strata::kernels
