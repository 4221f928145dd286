// SPDX-License-Identifier: Apache-2.0
// Tiles of 16-bit rows in swizzled shared memory: how a block fills them from global memory and how a warp
// reads them as operands.
#pragma once

#include <cstdint>

#include "kernels/cuda/simt.hpp"

namespace strata::kernels {

/// Where the threads of a block put the chunks of rows of kDim elements: kLanes threads share a row, so that
/// a thread's swizzle is the same for all its rows and every address is a constant away from its first.
template <int kDim, int kThreads>
struct TileFill {
  static constexpr int kChunks = kDim / kChunkElements;
  static constexpr int kLanes = kChunks % 8 == 0 ? 8 : 4;
  static constexpr int kRows = kThreads / kLanes;  // of one pass
  static_assert(kDim % 32 == 0 && kRows % 8 == 0);

  STRATA_DEVICE static int row() { return simt::thread_index_here() / kLanes; }
  // Unsigned: a compiler that thinks of negative threads spends instructions on them.
  STRATA_DEVICE static int chunk() {
    return static_cast<int>(static_cast<unsigned>(simt::thread_index_here()) % kLanes);
  }

  /// Starts the copies of kTileRows rows that lie `row_bytes` apart, of which the first `valid` exist; the
  /// rest becomes zero. `from` is this thread's chunk of its first row.
  template <int kTileRows>
  STRATA_DEVICE static void start(simt::Shared tile, const char* from, std::int64_t row_bytes, int valid) {
    static_assert(kTileRows % kRows == 0);
    const simt::Shared to = tile + swizzled_offset(row(), chunk(), kChunks);
    STRATA_UNROLL
    for (int pass = 0; pass < kTileRows / kRows; ++pass) {
      const char* source = from + pass * kRows * row_bytes;
      STRATA_UNROLL
      for (int c = 0; c < kChunks / kLanes; ++c) {
        const int offset = (pass * kRows * kChunks + c * kLanes) * kChunkBytes;
        simt::copy_async(to + static_cast<simt::Shared>(offset), source + c * kLanes * kChunkBytes,
                         pass * kRows + row() < valid);
      }
    }
  }
};

/// The addresses that a lane gives ldmatrix for a tile of rows of kDim elements: `row` is the lane's row and
/// `chunk` (0 or 1) its chunk within a step of 16 elements. Steps along a row differ in bits that the swizzle
/// leaves alone or flips, whence the exclusive or.
template <int kDim>
struct TileLanes {
  static constexpr int kChunks = kDim / kChunkElements;
  static constexpr int kRowBytes = kDim * 2;
  static constexpr int kSwizzleBytes = kChunks % 8 == 0 ? 128 : 64;

  STRATA_DEVICE static simt::Shared first(int row, int chunk) { return swizzled_offset(row, chunk, kChunks); }
  /// Address of step `step` along the row, `rows` (a multiple of 8) further down.
  STRATA_DEVICE static simt::Shared at(simt::Shared first, int step, int rows) {
    return chunk_at(first, step * 2, rows);
  }
  /// The same for any number of chunks along the row, the first being chunk 0 or, for even numbers, 0 or 1.
  STRATA_DEVICE static simt::Shared chunk_at(simt::Shared first, int chunks, int rows) {
    const int bytes = chunks * kChunkBytes;
    return (first ^ static_cast<simt::Shared>(bytes % kSwizzleBytes)) +
           static_cast<simt::Shared>(bytes / kSwizzleBytes * kSwizzleBytes + rows * kRowBytes);
  }
};

/// Lane's row and chunk in a left operand of 16 rows, which is also that of a right operand that is loaded
/// transposed (16 rows along the sum, 16 columns).
STRATA_DEVICE int left_row(int lane) { return lane % 16; }
STRATA_DEVICE int left_chunk(int lane) { return lane / 16; }
/// Lane's row and chunk in a right operand whose 16 columns are rows in memory: words 0 and 1 are the operand
/// of the first eight columns, words 2 and 3 of the others.
STRATA_DEVICE int right_row(int lane) { return lane % 8 + lane / 16 * 8; }
STRATA_DEVICE int right_chunk(int lane) { return lane / 8 % 2; }

}  // namespace strata::kernels
