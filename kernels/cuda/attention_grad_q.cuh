// SPDX-License-Identifier: Apache-2.0
// Attention backward on tensor cores, the half that owns queries: a block owns a tile of query rows of one
// head, walks the keys of its segments and keeps grad_q in registers. It computes weights and slopes once
// more, which costs three products in all and spares a shared accumulator: results have fixed bits.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_grad_tiles.cuh"
#include "kernels/cuda/key_block.cuh"

namespace strata::kernels {

template <Element kElement, int kKeyDim, int kValueDim>
class AttentionGradQ {
 public:
  static constexpr GradientShape kShape = grad_q_shape(kKeyDim, kValueDim);
  static_assert(kShape.rows > 0, "no tile shape for these head dimensions");

  STRATA_DEVICE static void run(const AttentionArguments& arguments) {
    take_tiles(arguments, ticket_word(), [&](const DeviceTile& tile) { run_tile(arguments, tile); });
  }

 private:
  static constexpr int kRowSteps = kShape.rows / kShape.warps / kMmaRows;
  using Tile = GradientTile<kElement, kRowSteps, kShape.columns>;
  using KeyFill = TileFill<kKeyDim, kShape.threads()>;
  using ValueFill = TileFill<kValueDim, kShape.threads()>;
  using Sums = typename Tile::template Sums<kKeyDim>;

  /// Without rows after the last segment.
  using Block = KeyBlock<kKeyDim, kValueDim, KeyFill>;
  using Memory = GradientMemory<kShape>;

  STRATA_DEVICE static simt::Shared statistics_begin() { return Memory::slot_begin(GradientShape::kSlots); }
  STRATA_DEVICE static simt::Shared ticket_word() {
    return statistics_begin() + static_cast<simt::Shared>(kShape.statistics_bytes());
  }

  /// Goes to the first block of the first segment from block.segment on that has one.
  STRATA_DEVICE static void enter(const AttentionArguments& arguments, const DeviceTile& tile, Block& block) {
    block.rows = 0;
    STRATA_NO_UNROLL
    for (; block.segment < tile.segment_end; ++block.segment) {
      const DeviceSegment& segment = arguments.segments[block.segment];
      if (segment.count <= 0) continue;
      block.enter(arguments, tile, segment);
      return;
    }
  }
  STRATA_DEVICE static void advance(const AttentionArguments& arguments, const DeviceTile& tile,
                                    Block& block) {
    block.advance(kShape.columns);
    if (block.rows > 0) return;
    ++block.segment;
    enter(arguments, tile, block);
  }

  STRATA_DEVICE static std::int64_t cell_of(const QueryRows& source, const DeviceTile& tile, int row) {
    return (std::int64_t{tile.row} + row) * source.head_count + (tile.head - source.head_begin);
  }

  STRATA_DEVICE static void load_owned(const AttentionArguments& arguments, const DeviceTile& tile) {
    const QueryRows& source = arguments.queries[tile.source];
    const std::int64_t key_bytes = std::int64_t{source.head_count} * (kKeyDim * 2);
    const std::int64_t value_bytes = std::int64_t{source.head_count} * (kValueDim * 2);
    KeyFill::template start<kShape.rows>(Memory::owned_begin(),
                                         static_cast<const char*>(source.q) +
                                             cell_of(source, tile, KeyFill::row()) * (kKeyDim * 2) +
                                             KeyFill::chunk() * kChunkBytes,
                                         key_bytes, tile.count);
    ValueFill::template start<kShape.rows>(Memory::owned_values(),
                                           static_cast<const char*>(source.grad_out) +
                                               cell_of(source, tile, ValueFill::row()) * (kValueDim * 2) +
                                               ValueFill::chunk() * kChunkBytes,
                                           value_bytes, tile.count);
  }

  STRATA_DEVICE static void load_block(const Block& block, int slot) {
    static_assert(KeyFill::kLanes == ValueFill::kLanes, "one pointer serves both");
    KeyFill::template start<kShape.columns>(Memory::slot_begin(slot), block.from, block.row_bytes,
                                            block.rows);
    ValueFill::template start<kShape.columns>(Memory::slot_values(slot), block.from + kKeyDim * 2,
                                              block.row_bytes, block.rows);
  }

  /// exponent, delta of the tile's rows into shared memory: registers are what the products need.
  STRATA_DEVICE static void store_statistics(const AttentionArguments& arguments, const DeviceTile& tile) {
    static_assert(kShape.rows <= kShape.threads());
    const int row = simt::thread_index_here();
    if (row >= kShape.rows) return;
    const QueryRows& source = arguments.queries[tile.source];
    const std::int64_t cell = cell_of(source, tile, row);
    const float lse = row < tile.count ? source.lse[cell] : -__builtin_inff();
    const float delta = lse == -__builtin_inff() ? 0.0F : source.delta[cell];
    const simt::Shared to = statistics_begin() + static_cast<simt::Shared>(row * 4);
    simt::store_float(to, exponent_of(lse));
    simt::store_float(to + kShape.rows * 4, delta);
  }

  STRATA_DEVICE static void run_tile(const AttentionArguments& arguments, const DeviceTile& tile) {
    Block block;
    block.segment = tile.segment_begin;
    enter(arguments, tile, block);
    if (block.rows > 0) {
      load_owned(arguments, tile);
      load_block(block, 0);
    }
    simt::commit_copies();
    if (simt::thread_index_here() == 0) store_ticket(arguments, ticket_word());
    store_statistics(arguments, tile);
    Sums sums;
    Tile::clear(sums);
    const std::int32_t count = tile.count;
    int slot = 0;
    STRATA_NO_UNROLL
    while (block.rows > 0) {
      // Asked for before the wait, which hides how long the answer takes.
      const BlockBand band = band_of_warp(arguments, block);
      const Sight sight = band.sight(Tile::rows_of_warp(count), kShape.columns);
      simt::wait_copies<0>();
      simt::block_barrier();
      advance(arguments, tile, block);
      if (block.rows > 0) load_block(block, 1 - slot);
      simt::commit_copies();
      if (sight != Sight::none) use_block(arguments, band, sight, slot, sums);
      slot = 1 - slot;
    }
    const QueryRows& target = arguments.queries[tile.source];
    Tile::template put<kKeyDim>(sums, arguments.scale, arguments.mode,
                                target.grad_q + cell_of(target, tile, Tile::warp_row()) * kKeyDim,
                                std::int64_t{target.head_count} * kKeyDim, tile.count - Tile::warp_row());
  }

  /// lo <= j * stride - i <= hi with j the columns and i the rows.
  STRATA_DEVICE static BlockBand band_of_warp(const AttentionArguments& arguments, const Block& block) {
    const DeviceSegment& segment = arguments.segments[block.segment];
    const std::int32_t shift = Tile::warp_row() - (segment.count - block.rows) * segment.stride;
    return {segment.lo + shift, segment.hi + shift, block.rows * segment.stride, 1, segment.stride};
  }

  STRATA_DEVICE static void use_block(const AttentionArguments& arguments, const BlockBand& band, Sight sight,
                                      int slot, Sums& sums) {
    typename Tile::Scores weights;
    Tile::template multiply<kKeyDim>(Memory::owned_begin(), Memory::slot_begin(slot), weights);
    if (sight == Sight::some) Tile::hide(band, weights);
    typename Tile::Scores slopes;
    Tile::template multiply<kValueDim>(Memory::owned_values(), Memory::slot_values(slot), slopes);
    slope(arguments, weights, slopes);
    typename Tile::Operand operand;
    Tile::round(slopes, operand);
    Tile::template accumulate<kKeyDim>(operand, Memory::slot_begin(slot), sums);
  }
  STRATA_DEVICE static void slope(const AttentionArguments& arguments, const typename Tile::Scores& scores,
                                  typename Tile::Scores& slopes) {
    const float scale = exponent_of(arguments.scale);
    const simt::Shared statistics =
        statistics_begin() + static_cast<simt::Shared>((Tile::warp_row() + Tile::row_of(0, 0)) * 4);
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        const simt::Shared from = statistics + static_cast<simt::Shared>((m * kMmaRows + r * 8) * 4);
        const float exponent = simt::load_float(from);
        const float delta = simt::load_float(from + kShape.rows * 4);
        STRATA_UNROLL
        for (int n = 0; n < Tile::kColumnSteps; ++n) {
          STRATA_UNROLL
          for (int i = 2 * r; i < 2 * r + 2; ++i) {
            const float weight = simt::exp2_fast(scores[m][n][i] * scale - exponent);
            slopes[m][n][i] = weight * (slopes[m][n][i] - delta);
          }
        }
      }
    }
  }
};

}  // namespace strata::kernels
