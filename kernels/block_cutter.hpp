// SPDX-License-Identifier: Apache-2.0
// Cuts attention blocks into tiles. The owned side's rows and heads are first cut at every boundary of a
// block, so that all rows of a piece share one list of blocks. The pieces are then cut into tiles of bounded
// size. The work lists of the CPU and of the GPU are both made from such tiles.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention_work.hpp"

namespace strata::kernels {

/// A query tile holds at most `lanes` rows x heads, of at most `heads` query heads of one group; a key tile
/// at most `lanes` rows of one KV head.
struct TileLimits {
  std::int64_t lanes = 1;
  std::int64_t heads = 1;
};

/// Tiles in the order of source, head and row. Tiles that differ in the head only share their segments.
struct CutBlocks {
  std::vector<AttentionTile> tiles;
  std::vector<TileSegment> segments;
};

/// Throws std::invalid_argument for a malformed shape or block. The element type is not looked at.
CutBlocks cut_blocks(const AttentionShape& shape, std::span<const AttentionBlock> blocks, WorkKind kind,
                     const TileLimits& limits);

/// Allowed pairs times query heads of one tile.
std::int64_t tile_pairs(const AttentionShape& shape, WorkKind kind, const AttentionTile& tile,
                        std::span<const TileSegment> segments);

}  // namespace strata::kernels
