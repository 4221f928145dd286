// SPDX-License-Identifier: Apache-2.0
// How the backward kernels cut their work for each pair of head dimensions; read by lists, launches and
// kernels alike. All shapes fit the 99 KiB of shared memory that the smallest supported GPU gives a block.
#pragma once

#include <cstdint>

#include "kernels/host_device.hpp"

namespace strata::kernels {

/// A block owns `rows` rows of one side (keys for grad_kv, queries for grad_q) and walks the other side's
/// rows `columns` at a time, the next ones on their way while one lot is used. With `two_walks` it makes
/// grad_v in a first walk and grad_k in a second, because the sums of both do not fit the registers. With
/// `pairs` two warps share the rows. One makes the weights and grad_v. The other is handed the weights, and
/// makes the slopes and grad_k.
struct GradientShape {
  int k_dim = 0;
  int v_dim = 0;
  int rows = 0;
  int columns = 0;
  int warps = 0;
  bool two_walks = false;
  bool pairs = false;

  static constexpr int kSlots = 2;

  [[nodiscard]] STRATA_HOST_DEVICE constexpr int threads() const { return warps * 32; }
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int owned_bytes() const { return rows * (k_dim + v_dim) * 2; }
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int slot_bytes() const { return columns * (k_dim + v_dim) * 2; }
  /// Bytes of exponent and delta of query rows. These rows fill the slots for grad_kv and are the owned ones
  /// for grad_q.
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int slot_statistics_bytes() const { return columns * 8; }
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int statistics_bytes() const {
    return kSlots * columns > rows ? kSlots * slot_statistics_bytes() : rows * 8;
  }
  /// Bytes of the f32 weights of the block that one warp of a pair hands to the other.
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int weights_bytes() const {
    return pairs ? rows * columns * 4 : 0;
  }
  /// Rows of a warp.
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int warp_rows() const {
    return rows / (pairs ? warps / 2 : warps);
  }
  /// Owned rows, slots, their statistics, handed weights, and the number of the next tile.
  [[nodiscard]] STRATA_HOST_DEVICE constexpr int shared_bytes() const {
    return owned_bytes() + kSlots * slot_bytes() + statistics_bytes() + weights_bytes() + 16;
  }
};

/// All zero for a pair that has no kernel. Warps own 32 rows where the sums leave registers for that, which
/// nearly halves what they read from shared memory for a product; otherwise 16.
STRATA_HOST_DEVICE constexpr GradientShape grad_kv_shape(int k_dim, int v_dim) {
  if (k_dim == 64 && v_dim == 64) return {64, 64, 128, 32, 4, false};
  if (k_dim == 96 && v_dim == 96) return {96, 96, 128, 64, 8, false};
  if (k_dim == 128 && v_dim == 128) return {128, 128, 64, 32, 4, false, true};
  if (k_dim == 192 && v_dim == 128) return {192, 128, 64, 32, 4, true};
  if (k_dim == 192 && v_dim == 192) return {192, 192, 64, 32, 4, true};
  if (k_dim == 256 && v_dim == 256) return {256, 256, 64, 16, 4, true};
  return {};
}

STRATA_HOST_DEVICE constexpr GradientShape grad_q_shape(int k_dim, int v_dim) {
  if (k_dim == 64 && v_dim == 64) return {64, 64, 128, 32, 4, false};
  if (k_dim == 96 && v_dim == 96) return {96, 96, 128, 32, 4, false};
  if (k_dim == 128 && v_dim == 128) return {128, 128, 128, 32, 4, false};
  if (k_dim == 192 && v_dim == 128) return {192, 128, 64, 32, 4, false};
  if (k_dim == 192 && v_dim == 192) return {192, 192, 64, 32, 4, false};
  if (k_dim == 256 && v_dim == 256) return {256, 256, 64, 16, 4, false};
  return {};
}

}  // namespace strata::kernels
