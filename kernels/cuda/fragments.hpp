// SPDX-License-Identifier: Apache-2.0
// Which lane of a warp holds what in the operands of mma.sync.m16n8k16 (16-bit inputs, f32 sums) and
// ldmatrix, and where a tile's 16-byte chunks lie in shared memory. Constants of the PTX ISA (sections on
// "mma.m16n8k16" and "ldmatrix"); used by the kernels, the emulator and their tests alike.
#pragma once

#include <cstdint>

#include "kernels/host_device.hpp"

namespace strata::kernels {

inline constexpr int kWarpLanes = 32;
/// mma.sync.m16n8k16: D[16][8] += A[16][16] * B[16][8].
inline constexpr int kMmaRows = 16;
inline constexpr int kMmaColumns = 8;
inline constexpr int kMmaDepth = 16;
/// ldmatrix moves 8 x 8 matrices of 16-bit elements; one of their rows is a chunk.
inline constexpr int kChunkBytes = 16;
inline constexpr int kChunkElements = 8;

struct FragmentPlace {
  int row = 0;
  int column = 0;
};

/// Place in A [16 rows][16 depth] of half `half` (0 low, 1 high) of register `word` (0..3) of `lane`.
STRATA_HOST_DEVICE constexpr FragmentPlace place_in_a(int lane, int word, int half) {
  return {lane / 4 + (word % 2) * 8, (lane % 4) * 2 + half + (word / 2) * 8};
}

/// Place in B [16 depth][8 columns] of half `half` of register `word` (0..1) of `lane`.
STRATA_HOST_DEVICE constexpr FragmentPlace place_in_b(int lane, int word, int half) {
  return {(lane % 4) * 2 + half + word * 8, lane / 4};
}

/// Place in C and D [16 rows][8 columns] of float `index` (0..3) of `lane`.
STRATA_HOST_DEVICE constexpr FragmentPlace place_in_c(int lane, int index) {
  return {lane / 4 + (index / 2) * 8, (lane % 4) * 2 + index % 2};
}

/// Place in an 8 x 8 matrix of half `half` of the register that ldmatrix gives `lane`.
STRATA_HOST_DEVICE constexpr FragmentPlace place_in_matrix(int lane, int half, bool transposed) {
  const int along = (lane % 4) * 2 + half;
  return transposed ? FragmentPlace{along, lane / 4} : FragmentPlace{lane / 4, along};
}

/// Which matrix, and which of its rows, `lane` gives the address of in ldmatrix.
STRATA_HOST_DEVICE constexpr int ldmatrix_matrix(int lane) { return lane / 8; }
STRATA_HOST_DEVICE constexpr int ldmatrix_row(int lane) { return lane % 8; }

/// What a row of `row_chunks` chunks exclusive-ors its chunk numbers with, so that the same chunk of eight
/// consecutive rows (the first a multiple of eight) lies in eight different groups of four banks, as
/// ldmatrix wants it. `row_chunks` is a multiple of 4, or odd, where nothing needs to be done.
STRATA_HOST_DEVICE constexpr int swizzle_of_row(int row, int row_chunks) {
  if (row_chunks % 8 == 0) return row % 8;
  if (row_chunks % 4 == 0) return (row / 2) % 4;
  return 0;
}

/// Byte offset in a tile of rows of `row_chunks` chunks.
STRATA_HOST_DEVICE constexpr std::uint32_t swizzled_offset(int row, int chunk, int row_chunks) {
  return static_cast<std::uint32_t>((row * row_chunks + (chunk ^ swizzle_of_row(row, row_chunks))) *
                                    kChunkBytes);
}

}  // namespace strata::kernels
