// SPDX-License-Identifier: Apache-2.0
// Attention backward on tensor cores, the half that owns queries: a block owns a tile of query rows of one
// head, walks the keys of its segments and keeps grad_q in registers. It computes weights and slopes once
// more, which costs three products in all and spares a shared accumulator: results have fixed bits.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_grad_tiles.cuh"

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

  /// Keys [row, row + columns) of a segment.
  struct Block {
    std::int32_t segment;
    std::int32_t row;
  };
  /// Of this thread's rows.
  struct Statistics {
    float exponent[kRowSteps][2];
    float delta[kRowSteps][2];
  };

  STRATA_DEVICE static simt::Shared gradients_begin() {
    return simt::shared_begin() + static_cast<simt::Shared>(kShape.rows * kKeyDim * 2);
  }
  STRATA_DEVICE static simt::Shared slot_begin(int slot) {
    return simt::shared_begin() +
           static_cast<simt::Shared>(kShape.owned_bytes() + slot * kShape.slot_bytes());
  }
  STRATA_DEVICE static simt::Shared slot_values(int slot) {
    return slot_begin(slot) + static_cast<simt::Shared>(kShape.columns * kKeyDim * 2);
  }
  STRATA_DEVICE static simt::Shared ticket_word() { return slot_begin(GradientShape::kSlots); }

  STRATA_DEVICE static Block enter(const AttentionArguments& arguments, const DeviceTile& tile,
                                   std::int32_t segment) {
    STRATA_NO_UNROLL
    while (segment < tile.segment_end && arguments.segments[segment].count <= 0) ++segment;
    return {segment, 0};
  }
  STRATA_DEVICE static Block after(const AttentionArguments& arguments, const DeviceTile& tile, Block block) {
    block.row += kShape.columns;
    if (block.row < arguments.segments[block.segment].count) return block;
    return enter(arguments, tile, block.segment + 1);
  }

  STRATA_DEVICE static std::int64_t cell_of(const QueryRows& source, const DeviceTile& tile, int row) {
    return (std::int64_t{tile.row} + row) * source.head_count + (tile.head - source.head_begin);
  }

  STRATA_DEVICE static void load_owned(const AttentionArguments& arguments, const DeviceTile& tile) {
    const QueryRows& source = arguments.queries[tile.source];
    const std::int64_t key_bytes = std::int64_t{source.head_count} * (kKeyDim * 2);
    const std::int64_t value_bytes = std::int64_t{source.head_count} * (kValueDim * 2);
    KeyFill::template start<kShape.rows>(simt::shared_begin(),
                                         static_cast<const char*>(source.q) +
                                             cell_of(source, tile, KeyFill::row()) * (kKeyDim * 2) +
                                             KeyFill::chunk() * kChunkBytes,
                                         key_bytes, tile.count);
    ValueFill::template start<kShape.rows>(gradients_begin(),
                                           static_cast<const char*>(source.grad_out) +
                                               cell_of(source, tile, ValueFill::row()) * (kValueDim * 2) +
                                               ValueFill::chunk() * kChunkBytes,
                                           value_bytes, tile.count);
  }

  STRATA_DEVICE static void load_block(const AttentionArguments& arguments, const DeviceTile& tile,
                                       const Block& block, int slot) {
    const DeviceSegment& segment = arguments.segments[block.segment];
    const KeyRows& source = arguments.keys[segment.source];
    constexpr std::int32_t kHeadBytes = (kKeyDim + kValueDim) * 2;
    const std::int64_t row_bytes = std::int64_t{source.head_count} * kHeadBytes;
    const std::int32_t rows = segment.count - block.row;
    const char* head = static_cast<const char*>(source.kv) + (segment.row + block.row) * row_bytes +
                       (tile.head / arguments.group - source.head_begin) * kHeadBytes;
    KeyFill::template start<kShape.columns>(
        slot_begin(slot), head + KeyFill::row() * row_bytes + KeyFill::chunk() * kChunkBytes, row_bytes,
        rows);
    ValueFill::template start<kShape.columns>(
        slot_values(slot),
        head + kKeyDim * 2 + ValueFill::row() * row_bytes + ValueFill::chunk() * kChunkBytes, row_bytes,
        rows);
  }

  STRATA_DEVICE static Statistics load_statistics(const AttentionArguments& arguments,
                                                  const DeviceTile& tile) {
    const QueryRows& source = arguments.queries[tile.source];
    Statistics statistics;
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int row = Tile::warp_row() + Tile::row_of(m, r);
        const std::int64_t cell = cell_of(source, tile, row);
        const float lse = row < tile.count ? source.lse[cell] : -__builtin_inff();
        statistics.exponent[m][r] = exponent_of(lse);
        statistics.delta[m][r] = lse == -__builtin_inff() ? 0.0F : source.delta[cell];
      }
    }
    return statistics;
  }

  STRATA_DEVICE static void run_tile(const AttentionArguments& arguments, const DeviceTile& tile) {
    Block block = enter(arguments, tile, tile.segment_begin);
    if (block.segment < tile.segment_end) {
      load_owned(arguments, tile);
      load_block(arguments, tile, block, 0);
    }
    simt::commit_copies();
    if (simt::thread_index_here() == 0) store_ticket(arguments, ticket_word());
    const Statistics statistics = load_statistics(arguments, tile);
    Sums sums;
    Tile::clear(sums);
    int slot = 0;
    STRATA_NO_UNROLL
    while (block.segment < tile.segment_end) {
      simt::wait_copies<0>();
      simt::block_barrier();
      const Block next = after(arguments, tile, block);
      if (next.segment < tile.segment_end) load_block(arguments, tile, next, 1 - slot);
      simt::commit_copies();
      use_block(arguments, tile, block, slot, statistics, sums);
      block = next;
      slot = 1 - slot;
    }
    const QueryRows& target = arguments.queries[tile.source];
    Tile::template put<kKeyDim>(sums, arguments.scale, arguments.mode,
                                target.grad_q + cell_of(target, tile, Tile::warp_row()) * kKeyDim,
                                std::int64_t{target.head_count} * kKeyDim, tile.count - Tile::warp_row());
  }

  STRATA_DEVICE static void use_block(const AttentionArguments& arguments, const DeviceTile& tile,
                                      const Block& block, int slot, const Statistics& statistics,
                                      Sums& sums) {
    const DeviceSegment& segment = arguments.segments[block.segment];
    // lo <= j * stride - i <= hi with j the columns and i the rows.
    const std::int32_t shift = Tile::warp_row() - block.row * segment.stride;
    const BlockBand band{segment.lo + shift, segment.hi + shift, (segment.count - block.row) * segment.stride,
                         1, segment.stride};
    int rows = tile.count - Tile::warp_row();
    rows = rows < kRowSteps * kMmaRows ? rows : kRowSteps * kMmaRows;
    const Sight sight = band.sight(rows, kShape.columns);
    if (sight == Sight::none) return;
    typename Tile::Scores weights;
    Tile::template multiply<kKeyDim>(simt::shared_begin(), slot_begin(slot), weights);
    if (sight == Sight::some) Tile::hide(band, weights);
    typename Tile::Scores slopes;
    Tile::template multiply<kValueDim>(gradients_begin(), slot_values(slot), slopes);
    const float scale = exponent_of(arguments.scale);
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int n = 0; n < Tile::kColumnSteps; ++n) {
        STRATA_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float weight = simt::exp2_fast(weights[m][n][i] * scale - statistics.exponent[m][i / 2]);
          slopes[m][n][i] = weight * (slopes[m][n][i] - statistics.delta[m][i / 2]);
        }
      }
    }
    typename Tile::Operand operand;
    Tile::round(slopes, operand);
    Tile::template accumulate<kKeyDim>(operand, slot_begin(slot), sums);
  }
};

}  // namespace strata::kernels
