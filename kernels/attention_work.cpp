// SPDX-License-Identifier: Apache-2.0
// Scratch memory and the execution of work items.
#include "kernels/attention_work.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

#include "kernels/attention_tiles.hpp"
#include "kernels/tile_layout.hpp"

namespace strata::kernels {

TileBuffers layout_buffers(const AttentionShape& shape, std::byte* memory, std::size_t* bytes) {
  std::size_t used = 0;
  const auto take = [&](std::int64_t floats) {
    float* place = memory == nullptr ? nullptr : reinterpret_cast<float*>(memory + used);
    used += (static_cast<std::size_t>(floats) * sizeof(float) + 63) / 64 * 64;
    return place;
  };
  const std::int64_t k_pad = padded_dim(shape.k_dim);
  const std::int64_t v_pad = padded_dim(shape.v_dim);
  TileBuffers buffers;
  buffers.natural_k = take(chunk_count(k_pad) * kChunkFloats);
  buffers.natural_v = take(chunk_count(v_pad) * kChunkFloats);
  buffers.lanes_k = take(k_pad * kTileLanes);
  buffers.lanes_v = take(v_pad * kTileLanes);
  buffers.sums_k = take(k_pad * kTileLanes);
  buffers.sums_v = take(v_pad * kTileLanes);
  buffers.scores = take((kBlockRows + kRowPadding) * kMaxStripLanes);
  buffers.slopes = take((kBlockRows + kRowPadding) * kMaxStripLanes);
  buffers.maximum = take(kTileLanes);
  buffers.total = take(kTileLanes);
  buffers.lane_lse = take(kTileLanes);
  buffers.lane_delta = take(kTileLanes);
  buffers.row_lse = take(kBlockRows);
  buffers.row_delta = take(kBlockRows);
  buffers.row = take(kMaxGroupLanes * std::max(k_pad, v_pad));
  *bytes = used;
  return buffers;
}

std::size_t scratch_bytes(const AttentionShape& shape) {
  std::size_t bytes = 0;
  layout_buffers(shape, nullptr, &bytes);
  return bytes;
}

Scratch::Scratch(std::size_t bytes)
    : data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}))), bytes_(bytes) {
  std::memset(data_.get(), 0, bytes);
}

Scratch::Scratch(const AttentionShape& shape) : Scratch(scratch_bytes(shape)) {}

void Scratch::Release::operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{64}); }

std::vector<std::int64_t> longest_first(const AttentionWork& work) {
  std::vector<std::int64_t> order(work.items.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  // A key tile costs four products a pair where a query tile of the backward pass costs three.
  const auto cost = [&](std::int64_t item) {
    const WorkItem& entry = work.items[static_cast<std::size_t>(item)];
    return entry.pairs * (entry.kind == WorkKind::grad_kv ? 4 : 3);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return cost(a) > cost(b); });
  return order;
}

std::int64_t total_pairs(const AttentionWork& work) {
  std::int64_t pairs = 0;
  for (const WorkItem& item : work.items) pairs += item.kind == WorkKind::grad_kv ? 0 : item.pairs;
  return pairs;
}

void run_item(const AttentionWork& work, const Operands& operands, std::int64_t item, Scratch& scratch) {
  std::size_t bytes = 0;
  const TileBuffers buffers = layout_buffers(work.shape, scratch.data(), &bytes);
  const WorkItem& entry = work.items[static_cast<std::size_t>(item)];
  for (std::int64_t t = entry.tile_begin; t < entry.tile_end; ++t) {
    const AttentionTile& tile = work.tiles[static_cast<std::size_t>(t)];
    const AttentionTile* next = t + 1 < entry.tile_end ? &tile + 1 : nullptr;
    switch (entry.kind) {
      case WorkKind::forward:
        forward_tile(work, tile, next, operands, buffers);
        break;
      case WorkKind::grad_q:
        grad_q_tile(work, tile, next, operands, buffers);
        break;
      case WorkKind::grad_kv:
        grad_kv_tile(work, tile, next, operands, buffers);
        break;
    }
  }
}

}  // namespace strata::kernels
