// SPDX-License-Identifier: Apache-2.0
// How many blocks of a persistent attention kernel a launch has, and which of them make room for
// communication.
#pragma once

#include <algorithm>
#include <cstdint>

namespace strata::kernels {

/// Blocks spread over all multiprocessors before any gets its second, so fewer blocks would leave halves of
/// multiprocessors, which a kernel of NCCL does not fit. Therefore the grid fills the device, and blocks that
/// find themselves on one of the last `left` multiprocessors leave. No more than most_leavers() may leave,
/// whatever multiprocessors the others run on, so there is always a block to take the tiles.
struct AttentionGrid {
  std::int32_t multiprocessors = 1;
  std::int32_t resident = 1;  // blocks of the kernel that a multiprocessor holds
  std::int32_t left = 0;      // multiprocessors for communication, below `multiprocessors`

  constexpr std::int32_t first_left() const { return multiprocessors - left; }
  constexpr std::int32_t most_leavers() const { return left * resident; }
  /// As many blocks as fit, but no more than leave a block per tile after all leavers have left.
  constexpr std::int32_t blocks(std::int32_t tile_count) const {
    return std::min(multiprocessors * resident, tile_count + most_leavers());
  }
};

}  // namespace strata::kernels
