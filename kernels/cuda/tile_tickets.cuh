// SPDX-License-Identifier: Apache-2.0
// How the blocks of a persistent grid come to their tiles: by numbers from one counter.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_lists.hpp"
#include "kernels/cuda/simt.hpp"

namespace strata::kernels {

/// By one thread of the block: the number of its next tile, beyond the last when there are no more.
STRATA_DEVICE std::uint32_t next_ticket(const AttentionArguments& arguments) {
  return static_cast<std::uint32_t>(simt::take_ticket(&arguments.tickets->taken));
}

/// The same for the first tile: none when the block leaves its multiprocessor to communication.
STRATA_DEVICE std::uint32_t first_ticket(const AttentionArguments& arguments) {
  if (arguments.most_leavers > 0 && simt::multiprocessor_index() >= arguments.first_left &&
      simt::take_ticket(&arguments.tickets->leavers) < arguments.most_leavers) {
    return static_cast<std::uint32_t>(arguments.tile_count);
  }
  return next_ticket(arguments);
}

}  // namespace strata::kernels
