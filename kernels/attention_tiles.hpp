// SPDX-License-Identifier: Apache-2.0
// The seam between work lists and instruction sets: one entry per tile kind, dispatched at run time.
#pragma once

#include "kernels/attention_work.hpp"
#include "kernels/tile_layout.hpp"

namespace strata::kernels {

/// `next` is the tile that the same worker runs afterwards, or null; its rows are fetched ahead.
void forward_tile(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                  const Operands& operands, const TileBuffers& buffers);
void grad_q_tile(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                 const Operands& operands, const TileBuffers& buffers);
void grad_kv_tile(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                  const Operands& operands, const TileBuffers& buffers);

}  // namespace strata::kernels
