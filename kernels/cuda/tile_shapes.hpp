// SPDX-License-Identifier: Apache-2.0
// How the tensor-core kernels cut their work for each head dimension: rows and columns of a tile, warps of a
// block and shared memory. Host and device read the same table, so lists, launches and kernels cannot
// disagree.
#pragma once

#include <cstdint>

#include "kernels/host_device.hpp"

namespace strata::kernels {

/// Forward: a block owns `rows` query rows of one head and walks the keys `columns` at a time. K and V blocks
/// alternate in a ring of `slots` buffers; slots - 1 of them are on their way while one is used.
struct ForwardShape {
  int k_dim = 0;
  int v_dim = 0;
  int rows = 0;
  int columns = 0;
  int warps = 0;
  int slots = 0;

  [[nodiscard]] STRATA_HOST_DEVICE constexpr int threads() const { return warps * 32; }
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int query_bytes() const { return rows * k_dim * 2; }
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int slot_bytes() const {
    return columns * (k_dim > v_dim ? k_dim : v_dim) * 2;
  }
  /// Queries, ring, and the numbers of the next and the current tile.
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int shared_bytes() const {
    return query_bytes() + slots * slot_bytes() + 16;
  }
};

/// The shape for a pair of head dimensions; all zero for a pair that has no kernel. From the tiles that are
/// known to suit sm_80: up to 128 a warp owns 32 rows, which halves the shared memory traffic per product;
/// above, its sums need the registers, and it owns 16.
STRATA_HOST_DEVICE constexpr ForwardShape forward_shape(int k_dim, int v_dim) {
  if (k_dim == 64 && v_dim == 64) return {64, 64, 128, 112, 4, 3};
  if (k_dim == 96 && v_dim == 96) return {96, 96, 128, 64, 4, 3};
  if (k_dim == 128 && v_dim == 128) return {128, 128, 128, 64, 4, 3};
  if (k_dim == 192 && v_dim == 128) return {192, 128, 128, 64, 8, 2};
  if (k_dim == 192 && v_dim == 192) return {192, 192, 128, 64, 8, 2};
  if (k_dim == 256 && v_dim == 256) return {256, 256, 64, 64, 4, 2};
  return {};
}

}  // namespace strata::kernels
