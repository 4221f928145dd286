// SPDX-License-Identifier: Apache-2.0
// Attention blocks compiled into what the tensor-core kernels read: tiles of one head with segments of the
// other side, the costly ones first. Plain C++; the caller copies the arrays to the device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention_types.hpp"
#include "kernels/attention_work.hpp"
#include "kernels/cuda/device_lists.hpp"

namespace strata::kernels {

struct AttentionLists {
  WorkKind kind = WorkKind::forward;
  std::int32_t tile_rows = 0;
  std::vector<DeviceTile> tiles;        // by descending allowed pairs, then by source, head and row
  std::vector<DeviceSegment> segments;  // of all tiles; tiles of different heads share them
  std::int64_t pairs = 0;               // allowed pairs times query heads
};

/// Tiles of at most `tile_rows` rows: query tiles with key segments (forward, grad_q) or key tiles with query
/// segments (grad_kv). Every query row and head, or key row and KV head, that a block names is in exactly one
/// tile, whether or not it sees anything. Segments keep the order of their blocks. Throws
/// std::invalid_argument for a malformed shape or block and for rows or distances beyond 2^29, which 32 bits
/// do not hold.
AttentionLists build_attention_lists(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                                     WorkKind kind, std::int32_t tile_rows);

}  // namespace strata::kernels
