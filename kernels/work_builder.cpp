// SPDX-License-Identifier: Apache-2.0
// Gathers the tiles of attention blocks into the items of the CPU's work lists.
#include "kernels/attention_work.hpp"
#include "kernels/block_cutter.hpp"
#include "kernels/tile_layout.hpp"

namespace strata::kernels {
namespace {

/// Small tiles are batched until an item costs about as much as its dispatch is worth.
constexpr std::int64_t kItemPairs = 65536;
constexpr std::int64_t kItemTiles = 32;

AttentionWork empty_work(const AttentionShape& shape, OutputMode mode) {
  AttentionWork work;
  work.shape = shape;
  work.mode = mode;
  return work;
}

bool same_rows_and_heads(const AttentionTile& a, const AttentionTile& b) {
  return a.source == b.source && a.kv_head == b.kv_head && a.head_begin == b.head_begin;
}

/// Appends the tiles of one kind. An item does not reach beyond one source and one set of heads.
void append(AttentionWork& work, WorkKind kind, CutBlocks cut) {
  const auto first_segment = static_cast<std::int64_t>(work.segments.size());
  work.segments.insert(work.segments.end(), cut.segments.begin(), cut.segments.end());
  WorkItem item;
  item.kind = kind;
  item.tile_begin = item.tile_end = static_cast<std::int64_t>(work.tiles.size());
  const auto close = [&] {
    if (item.tile_end > item.tile_begin) work.items.push_back(item);
    item.tile_begin = item.tile_end;
    item.pairs = 0;
  };
  for (std::size_t t = 0; t < cut.tiles.size(); ++t) {
    AttentionTile tile = cut.tiles[t];
    if (t > 0 && !same_rows_and_heads(tile, cut.tiles[t - 1])) close();
    tile.segment_begin += first_segment;
    tile.segment_end += first_segment;
    item.pairs += tile_pairs(work.shape, kind, tile, work.segments);
    work.tiles.push_back(tile);
    ++item.tile_end;
    if (item.pairs >= kItemPairs || item.tile_end - item.tile_begin >= kItemTiles) close();
  }
  close();
}

constexpr TileLimits kLimits{kTileLanes, kTileLanes};

}  // namespace

AttentionWork build_forward_work(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                                 OutputMode mode) {
  AttentionWork work = empty_work(shape, mode);
  append(work, WorkKind::forward, cut_blocks(shape, blocks, WorkKind::forward, kLimits));
  return work;
}

AttentionWork build_backward_work(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                                  OutputMode mode) {
  AttentionWork work = empty_work(shape, mode);
  append(work, WorkKind::grad_q, cut_blocks(shape, blocks, WorkKind::grad_q, kLimits));
  append(work, WorkKind::grad_kv, cut_blocks(shape, blocks, WorkKind::grad_kv, kLimits));
  return work;
}

}  // namespace strata::kernels
