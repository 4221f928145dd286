// SPDX-License-Identifier: Apache-2.0
// Attention backward on tensor cores, the half that owns keys: a block owns a tile of keys of one KV head,
// walks the query rows that see them, segment by segment and for each the query heads of the group in
// ascending order, and keeps grad_k and grad_v in registers. The scores are computed transposed, keys by
// queries, so that weights and slopes are left operands where they arise. No sum is shared between blocks:
// results have fixed bits.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention_grad_kv_pairs.cuh"
#include "kernels/cuda/attention_grad_kv_parts.cuh"

namespace strata::kernels {

/// Every warp has rows of its own and does all their products.
template <Element kElement, int kKeyDim, int kValueDim>
class GradKvWarps {
 public:
  static constexpr GradientShape kShape = grad_kv_shape(kKeyDim, kValueDim);

  STRATA_DEVICE static void run(const AttentionArguments& arguments) {
    take_tiles(arguments, Parts::ticket_word(), [&](const DeviceTile& tile) { run_tile(arguments, tile); });
  }

 private:
  using Parts = GradKvParts<kElement, kKeyDim, kValueDim>;
  using Tile = typename Parts::Tile;
  using KeyFill = typename Parts::KeyFill;
  using ValueFill = typename Parts::ValueFill;
  using Memory = typename Parts::Memory;
  static constexpr int kRowSteps = Parts::kRowSteps;
  using KeySums = typename Tile::template Sums<kKeyDim>;
  using ValueSums = typename Tile::template Sums<kValueDim>;

  /// Query rows [row, row + columns) of a segment for one head.
  struct Block {
    std::int32_t segment;
    std::int32_t head;
    std::int32_t row;
  };

  /// The first block of the first segment from `segment` on that has one.
  STRATA_DEVICE static Block enter(const AttentionArguments& arguments, const DeviceTile& tile,
                                   std::int32_t segment) {
    STRATA_NO_UNROLL
    for (; segment < tile.segment_end; ++segment) {
      const DeviceSegment& next = arguments.segments[segment];
      const std::int32_t head = Parts::first_head(arguments, tile, next);
      if (next.count > 0 && head < Parts::end_head(arguments, tile, next)) return {segment, head, 0};
    }
    return {segment, 0, 0};
  }

  STRATA_DEVICE static Block after(const AttentionArguments& arguments, const DeviceTile& tile, Block block) {
    const DeviceSegment& segment = arguments.segments[block.segment];
    block.row += kShape.columns;
    if (block.row < segment.count) return block;
    ++block.head;
    block.row = 0;
    if (block.head < Parts::end_head(arguments, tile, segment)) return block;
    return enter(arguments, tile, block.segment + 1);
  }

  STRATA_DEVICE static void load_block(const AttentionArguments& arguments, const Block& block, int slot) {
    const DeviceSegment& segment = arguments.segments[block.segment];
    const QueryRows& source = arguments.queries[segment.source];
    const std::int64_t cell =
        (std::int64_t{segment.row} + block.row) * source.head_count + (block.head - source.head_begin);
    const std::int32_t rows = segment.count - block.row;
    const std::int64_t key_bytes = std::int64_t{source.head_count} * (kKeyDim * 2);
    const std::int64_t value_bytes = std::int64_t{source.head_count} * (kValueDim * 2);
    KeyFill::template start<kShape.columns>(Memory::slot_begin(slot),
                                            static_cast<const char*>(source.q) + cell * (kKeyDim * 2) +
                                                KeyFill::row() * key_bytes + KeyFill::chunk() * kChunkBytes,
                                            key_bytes, rows);
    ValueFill::template start<kShape.columns>(Memory::slot_values(slot),
                                              static_cast<const char*>(source.grad_out) +
                                                  cell * (kValueDim * 2) + ValueFill::row() * value_bytes +
                                                  ValueFill::chunk() * kChunkBytes,
                                              value_bytes, rows);
  }

  /// This thread's query row of the block; rows beyond the segment get weights of 0.
  STRATA_DEVICE static typename Parts::Statistics load_statistics(const AttentionArguments& arguments,
                                                                  const Block& block) {
    const int column = simt::thread_index_here();
    const DeviceSegment& segment = arguments.segments[block.segment];
    if (column >= kShape.columns || block.row + column >= segment.count) return {__builtin_inff(), 0.0F};
    const QueryRows& source = arguments.queries[segment.source];
    const std::int64_t cell = (std::int64_t{segment.row} + block.row + column) * source.head_count +
                              (block.head - source.head_begin);
    const float lse = source.lse[cell];
    return {exponent_of(lse), lse == -__builtin_inff() ? 0.0F : source.delta[cell]};
  }

  STRATA_DEVICE static void run_tile(const AttentionArguments& arguments, const DeviceTile& tile) {
    Parts::load_owned(arguments, tile);
    KeySums keys;
    ValueSums values;
    if constexpr (kShape.two_walks) {
      walk<false, true>(arguments, tile, keys, values);
      put_values(arguments, tile, values);
      simt::block_barrier();  // the second walk fills the slots anew
      walk<true, false>(arguments, tile, keys, values);
      put_keys(arguments, tile, keys);
    } else {
      walk<true, true>(arguments, tile, keys, values);
      put_keys(arguments, tile, keys);
      put_values(arguments, tile, values);
    }
  }

  template <bool kKeys, bool kValues>
  STRATA_DEVICE static void walk(const AttentionArguments& arguments, const DeviceTile& tile, KeySums& keys,
                                 ValueSums& values) {
    if constexpr (kKeys) Tile::clear(keys);
    if constexpr (kValues) Tile::clear(values);
    Block block = enter(arguments, tile, tile.segment_begin);
    int slot = 0;
    if (block.segment < tile.segment_end) {
      load_block(arguments, block, slot);
      Parts::store_statistics(slot, load_statistics(arguments, block));
    }
    simt::commit_copies();
    if (kKeys && simt::thread_index_here() == 0) store_ticket(arguments, Parts::ticket_word());
    STRATA_NO_UNROLL
    while (block.segment < tile.segment_end) {
      simt::wait_copies<0>();
      simt::block_barrier();
      const Block next = after(arguments, tile, block);
      const bool more = next.segment < tile.segment_end;
      typename Parts::Statistics statistics{};
      if (more) {
        load_block(arguments, next, 1 - slot);
        statistics = load_statistics(arguments, next);
      }
      simt::commit_copies();
      use_block<kKeys, kValues>(arguments, tile, block, slot, keys, values);
      if (more) Parts::store_statistics(1 - slot, statistics);
      block = next;
      slot = 1 - slot;
    }
    simt::wait_copies<0>();
  }

  template <bool kKeys, bool kValues>
  STRATA_DEVICE static void use_block(const AttentionArguments& arguments, const DeviceTile& tile,
                                      const Block& block, int slot, KeySums& keys, ValueSums& values) {
    const DeviceSegment& segment = arguments.segments[block.segment];
    // lo <= j * stride - i <= hi with i the columns and j the rows.
    const std::int32_t shift = Tile::warp_row() * segment.stride - block.row;
    const BlockBand band{shift - segment.hi, shift - segment.lo, segment.count - block.row, segment.stride,
                         1};
    const Sight sight = band.sight(Tile::rows_of_warp(tile.count), kShape.columns);
    if (sight == Sight::none) return;
    typename Tile::Scores weights;
    Tile::template multiply<kKeyDim>(Memory::owned_begin(), Memory::slot_begin(slot), weights);
    if (sight == Sight::some) Tile::hide(band, weights);
    Parts::weigh(arguments, slot, weights);
    typename Tile::Operand operand;
    if constexpr (kValues) {
      Tile::round(weights, operand);
      Tile::template accumulate<kValueDim>(operand, Memory::slot_values(slot), values);
    }
    if constexpr (kKeys) {
      typename Tile::Scores slopes;
      Tile::template multiply<kValueDim>(Memory::owned_values(), Memory::slot_values(slot), slopes);
      slope(slot, weights, slopes);
      Tile::round(slopes, operand);
      Tile::template accumulate<kKeyDim>(operand, Memory::slot_begin(slot), keys);
    }
  }

  STRATA_DEVICE static void slope(int slot, const typename Tile::Scores& weights,
                                  typename Tile::Scores& slopes) {
    STRATA_UNROLL
    for (int n = 0; n < Tile::kColumnSteps; ++n) {
      float exponent[2];
      float delta[2];
      Parts::load_columns(slot, n, exponent, delta);
      STRATA_UNROLL
      for (int m = 0; m < kRowSteps; ++m) {
        STRATA_UNROLL
        for (int i = 0; i < 4; ++i) slopes[m][n][i] = weights[m][n][i] * (slopes[m][n][i] - delta[i % 2]);
      }
    }
  }

  STRATA_DEVICE static void put_keys(const AttentionArguments& arguments, const DeviceTile& tile,
                                     const KeySums& keys) {
    Parts::template put<kKeyDim>(arguments, tile, keys, arguments.scale, 0);
  }
  STRATA_DEVICE static void put_values(const AttentionArguments& arguments, const DeviceTile& tile,
                                       const ValueSums& values) {
    Parts::template put<kValueDim>(arguments, tile, values, 1.0F, kKeyDim);
  }
};

template <Element kElement, int kKeyDim, int kValueDim>
using AttentionGradKv =
    std::conditional_t<grad_kv_shape(kKeyDim, kValueDim).pairs, GradKvPairs<kElement, kKeyDim, kValueDim>,
                       GradKvWarps<kElement, kKeyDim, kValueDim>>;

}  // namespace strata::kernels
