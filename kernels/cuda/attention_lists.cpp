// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/attention_lists.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "kernels/block_cutter.hpp"

namespace strata::kernels {
namespace {

std::int32_t narrowed(std::int64_t value, const char* what) {
  if (value < 0 || value > kDeviceBound) {
    throw std::invalid_argument("attention lists: " + std::string(what) + " " + std::to_string(value) +
                                " is beyond what the kernels' 32-bit rows hold");
  }
  return static_cast<std::int32_t>(value);
}

/// "No bound", and any bound that no pair within the limits reaches, becomes the limit.
std::int32_t clamped(std::int64_t bound) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(bound, -kDeviceBound, kDeviceBound));
}

DeviceSegment device_segment(const TileSegment& segment, std::int64_t key_rows) {
  DeviceSegment result;
  result.row = narrowed(segment.begin, "row");
  result.count = narrowed(segment.count, "row count");
  narrowed(segment.begin + segment.count, "row");
  narrowed(key_rows * segment.key_stride, "distance of keys");
  result.lo = clamped(segment.lo);
  result.hi = clamped(segment.hi);
  result.stride = narrowed(segment.key_stride, "key stride");
  result.source = segment.source;
  result.head_begin = segment.head_begin;
  result.head_count = segment.head_count;
  return result;
}

DeviceTile device_tile(const AttentionTile& tile, WorkKind kind) {
  DeviceTile result;
  result.row = narrowed(tile.begin, "row");
  result.count = tile.count;
  narrowed(tile.begin + tile.count, "row");
  result.source = tile.source;
  result.head = kind == WorkKind::grad_kv ? tile.kv_head : tile.head_begin;
  result.segment_begin = narrowed(tile.segment_begin, "segment");
  result.segment_end = narrowed(tile.segment_end, "segment");
  return result;
}

}  // namespace

AttentionLists build_attention_lists(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                                     WorkKind kind, std::int32_t tile_rows) {
  const CutBlocks cut = cut_blocks(shape, blocks, kind, {tile_rows, 1});
  AttentionLists lists;
  lists.kind = kind;
  lists.tile_rows = tile_rows;
  for (const TileSegment& segment : cut.segments) {
    lists.segments.push_back(device_segment(segment, kind == WorkKind::grad_kv ? tile_rows : segment.count));
  }
  std::vector<std::int64_t> pairs;
  for (const AttentionTile& tile : cut.tiles) pairs.push_back(tile_pairs(shape, kind, tile, cut.segments));
  lists.pairs = std::accumulate(pairs.begin(), pairs.end(), std::int64_t{0});
  // Longest first, so that what is left when the first blocks run out of work is small.
  std::vector<std::size_t> order(cut.tiles.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return pairs[a] > pairs[b]; });
  narrowed(static_cast<std::int64_t>(order.size()), "number of tiles");
  for (const std::size_t tile : order) lists.tiles.push_back(device_tile(cut.tiles[tile], kind));
  return lists;
}

}  // namespace strata::kernels
