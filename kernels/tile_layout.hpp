// SPDX-License-Identifier: Apache-2.0
// How a tile lies in a worker's scratch memory. A tile's own rows are *lanes*: transposed, so that a vector
// holds the same head-dimension element of consecutive rows and the softmax needs no horizontal operation.
// Rows of the other side stay in their natural order and are broadcast one element at a time; they need no
// transposition at all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention_types.hpp"

namespace strata::kernels {

/// Lanes of one tile: rows x query heads of the group for query tiles, rows for key tiles. A multiple of
/// three vectors of 4, 8 or 16 floats.
inline constexpr std::int64_t kTileLanes = 192;
/// Other-side rows handled at a time. Two strips of scores and one operand strip of so many rows fit a 48 KiB
/// first-level cache.
inline constexpr std::int64_t kBlockRows = 128;
/// Micro-kernels read up to this many rows, or columns, past a ragged end.
inline constexpr std::int64_t kRowPadding = 8;
inline constexpr std::int64_t kMaxStripLanes = 48;
/// Rows that are transposed together, at most.
inline constexpr std::int64_t kMaxGroupLanes = 16;
/// Natural rows lie at a constant distance, so that a micro-kernel addresses all its rows from one register.
/// Head dimensions above kChunkColumns continue in a further chunk. The distance is 17 cache lines, so that
/// consecutive rows spread over the sets.
inline constexpr std::int64_t kChunkColumns = 256;
inline constexpr std::int64_t kRowStride = 272;
inline constexpr std::int64_t kChunkFloats = (kBlockRows + kRowPadding) * kRowStride;

constexpr std::int64_t padded_dim(std::int64_t dim) {
  return (dim + kRowPadding - 1) / kRowPadding * kRowPadding;
}
constexpr std::int64_t chunk_count(std::int64_t dim) { return (dim + kChunkColumns - 1) / kChunkColumns; }

/// Pointers into the scratch memory of one worker, each aligned to 64 bytes.
struct TileBuffers {
  float* natural_k = nullptr;  // [chunk][row][kRowStride]: K (query tiles) or Q (key tiles)
  float* natural_v = nullptr;  // the same for V or grad_out
  float* lanes_k = nullptr;    // strip after strip of [k_dim][strip lanes]: Q or K, scaled
  float* lanes_v = nullptr;    // grad_out or V
  float* sums_k = nullptr;     // accumulators laid out like lanes_k: grad_q or grad_k
  float* sums_v = nullptr;     // out or grad_v
  float* scores = nullptr;     // [row][strip lanes]: S, then P
  float* slopes = nullptr;     // dP, then dS
  float* maximum = nullptr;    // per lane (query tiles)
  float* total = nullptr;
  float* lane_lse = nullptr;
  float* lane_delta = nullptr;
  float* row_lse = nullptr;  // per natural row (key tiles)
  float* row_delta = nullptr;
  float* row = nullptr;  // kMaxGroupLanes finished rows on their way out
};

/// Carves `memory` up; with memory == nullptr only the size in `bytes` is meaningful.
TileBuffers layout_buffers(const AttentionShape& shape, std::byte* memory, std::size_t* bytes);

}  // namespace strata::kernels
