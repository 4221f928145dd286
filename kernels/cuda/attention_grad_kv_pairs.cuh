// SPDX-License-Identifier: Apache-2.0
// Attention backward on tensor cores, the half that owns keys, by pairs of warps that share 32 rows: the
// first makes the weights and grad_v, the second the slopes, from the weights that it is handed in shared
// memory, and grad_k. Each does two of the four products and holds one sum, so that its rows can be twice as
// many as a warp's that does all four, and what passes through shared memory for a product is less by three
// tenths.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_grad_kv_parts.cuh"

namespace strata::kernels {

template <Element kElement, int kKeyDim, int kValueDim>
class GradKvPairs {
 public:
  static constexpr GradientShape kShape = grad_kv_shape(kKeyDim, kValueDim);
  static_assert(kShape.pairs && kKeyDim == kValueDim, "both warps run the same products");

  STRATA_DEVICE static void run(const AttentionArguments& arguments) {
    take_tiles(arguments, Parts::ticket_word(), [&](const DeviceTile& tile) { run_tile(arguments, tile); });
  }

 private:
  using Parts = GradKvParts<kElement, kKeyDim, kValueDim>;
  using Tile = typename Parts::Tile;
  using KeyFill = typename Parts::KeyFill;
  using ValueFill = typename Parts::ValueFill;
  using Memory = typename Parts::Memory;
  using Sums = typename Tile::template Sums<kKeyDim>;
  static constexpr int kRowSteps = Parts::kRowSteps;

  /// A block of query rows of one head, and how to come to the next one without asking global memory.
  struct Block {
    const char* q = nullptr;  // this thread's chunk in its first row of the block, and for grad_out
    const char* gradients = nullptr;
    const float* lse = nullptr;  // of the row of the block that is this thread's number, and delta
    const float* delta = nullptr;
    std::int32_t head_count = 0;  // of the source: rows lie that many cells apart
    std::int32_t rows = 0;        // left in the segment
    std::int32_t low = 0;         // the band, relative to the block's first row; see band_of_warp
    std::int32_t high = 0;
    std::int32_t stride = 0;
    std::int32_t segment = 0;
    std::int32_t head = 0;
  };

  /// Goes to the first block of the first segment and head, from the block's own on, that have one.
  STRATA_DEVICE static void enter(const AttentionArguments& arguments, const DeviceTile& tile,
                                  std::int32_t segment_end, Block& block) {
    STRATA_NO_UNROLL
    for (; block.segment < segment_end; ++block.segment) {
      const DeviceSegment& segment = arguments.segments[block.segment];
      const std::int32_t first = Parts::first_head(arguments, tile, segment);
      if (block.head < first) block.head = first;
      if (segment.count > 0 && block.head < Parts::end_head(arguments, tile, segment)) {
        enter_rows(arguments, segment, block);
        return;
      }
      block.head = 0;
    }
  }
  STRATA_DEVICE static void enter_rows(const AttentionArguments& arguments, const DeviceSegment& segment,
                                       Block& block) {
    const QueryRows& source = arguments.queries[segment.source];
    block.head_count = source.head_count;
    block.rows = segment.count;
    block.low = -segment.hi;
    block.high = -segment.lo;
    block.stride = segment.stride;
    const std::int64_t cell = std::int64_t{segment.row} * source.head_count + block.head - source.head_begin;
    const std::int64_t fill_cell = cell + KeyFill::row() * std::int64_t{source.head_count};
    block.q = static_cast<const char*>(source.q) + fill_cell * (kKeyDim * 2) + KeyFill::chunk() * kChunkBytes;
    static_assert(KeyFill::kLanes == ValueFill::kLanes, "a thread fills the same rows of both");
    block.gradients = static_cast<const char*>(source.grad_out) + fill_cell * (kValueDim * 2) +
                      ValueFill::chunk() * kChunkBytes;
    const std::int64_t row_cell = cell + simt::thread_index_here() * std::int64_t{source.head_count};
    block.lse = source.lse + row_cell;
    block.delta = source.delta + row_cell;
  }

  STRATA_DEVICE static void advance(const AttentionArguments& arguments, const DeviceTile& tile,
                                    std::int32_t segment_end, Block& block) {
    const std::int64_t cells = kShape.columns * std::int64_t{block.head_count};
    block.q += cells * (kKeyDim * 2);
    block.gradients += cells * (kValueDim * 2);
    block.lse += cells;
    block.delta += cells;
    block.rows -= kShape.columns;
    block.low -= kShape.columns;
    block.high -= kShape.columns;
    if (block.rows > 0) return;
    ++block.head;
    enter(arguments, tile, segment_end, block);
  }

  STRATA_DEVICE static void load_block(const Block& block, int slot) {
    KeyFill::template start<kShape.columns>(Memory::slot_begin(slot), block.q,
                                            block.head_count * (kKeyDim * 2), block.rows);
    ValueFill::template start<kShape.columns>(Memory::slot_values(slot), block.gradients,
                                              block.head_count * (kValueDim * 2), block.rows);
  }

  /// This thread's query row of the block; rows beyond the segment get weights of 0.
  STRATA_DEVICE static typename Parts::Statistics load_statistics(const Block& block) {
    const int column = simt::thread_index_here();
    if (column >= kShape.columns || column >= block.rows) return {__builtin_inff(), 0.0F};
    const float lse = *block.lse;
    return {exponent_of(lse), lse == -__builtin_inff() ? 0.0F : *block.delta};
  }

  STRATA_DEVICE static void run_tile(const AttentionArguments& arguments, const DeviceTile& tile) {
    Parts::load_owned(arguments, tile);
    Sums sums;
    walk(arguments, tile, sums);
    put_share(arguments, tile, sums);
  }

  STRATA_DEVICE static void walk(const AttentionArguments& arguments, const DeviceTile& tile, Sums& sums) {
    Tile::clear(sums);
    const std::int32_t segment_end = tile.segment_end;
    const std::int32_t count = tile.count;
    Block block;
    block.segment = tile.segment_begin;
    enter(arguments, tile, segment_end, block);
    int slot = 0;
    if (block.segment < segment_end) {
      load_block(block, slot);
      Parts::store_statistics(slot, load_statistics(block));
    }
    simt::commit_copies();
    if (simt::thread_index_here() == 0) store_ticket(arguments, Parts::ticket_word());
    STRATA_NO_UNROLL
    while (block.segment < segment_end) {
      simt::wait_copies<0>();
      simt::block_barrier();
      const BlockBand band = band_of_warp(block);
      advance(arguments, tile, segment_end, block);
      const bool more = block.segment < segment_end;
      typename Parts::Statistics statistics{};
      if (more) {
        load_block(block, 1 - slot);
        statistics = load_statistics(block);
      }
      simt::commit_copies();
      share_block(arguments, band, count, slot, sums);
      if (more) Parts::store_statistics(1 - slot, statistics);
      slot = 1 - slot;
    }
    simt::wait_copies<0>();
  }

  /// lo <= j * stride - i <= hi with i the columns and j the rows.
  STRATA_DEVICE static BlockBand band_of_warp(const Block& block) {
    const std::int32_t shift = Tile::warp_row() * block.stride;
    return {block.low + shift, block.high + shift, block.rows, block.stride, 1};
  }

  /// Of a pair of warps, the one that makes slopes and grad_k.
  STRATA_DEVICE static bool makes_slopes() {
    return static_cast<unsigned>(simt::thread_index_here()) / kWarpLanes % 2 != 0;
  }
  /// Where this lane's weights of row step m, fragment n are handed over: lane after lane 16 bytes.
  STRATA_DEVICE static simt::Shared handed(int m, int n) {
    const unsigned thread = static_cast<unsigned>(simt::thread_index_here());
    const unsigned pair = thread / (2 * kWarpLanes);
    return Parts::weights_begin() + pair * (kRowSteps * Tile::kColumnSteps * kWarpLanes * 16U) +
           thread % kWarpLanes * 16U +
           static_cast<simt::Shared>((m * Tile::kColumnSteps + n) * kWarpLanes * 16);
  }

  /// A block of queries by a pair of warps, each of which does two products out of four: `sums` are of grad_v
  /// in the first and of grad_k in the second.
  STRATA_DEVICE static void share_block(const AttentionArguments& arguments, const BlockBand& band,
                                        std::int32_t count, int slot, Sums& sums) {
    const Sight sight = band.sight(Tile::rows_of_warp(count), kShape.columns);
    const bool slopes = makes_slopes();
    typename Tile::Scores scores;
    if (sight != Sight::none) {
      Tile::template multiply<kKeyDim>(slopes ? Memory::owned_values() : Memory::owned_begin(),
                                       slopes ? Memory::slot_values(slot) : Memory::slot_begin(slot), scores);
      if (!slopes) {
        if (sight == Sight::some) Tile::hide(band, scores);
        Parts::weigh(arguments, slot, scores);
        hand_over(scores);
      }
    }
    simt::block_barrier();
    if (sight == Sight::none) return;
    if (slopes) slope_handed(slot, scores);
    typename Tile::Operand operand;
    Tile::round(scores, operand);
    Tile::template accumulate<kKeyDim>(operand, slopes ? Memory::slot_begin(slot) : Memory::slot_values(slot),
                                       sums);
  }
  STRATA_DEVICE static void hand_over(const typename Tile::Scores& weights) {
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int n = 0; n < Tile::kColumnSteps; ++n) {
        std::uint32_t words[4];
        STRATA_UNROLL
        for (int i = 0; i < 4; ++i) words[i] = float_bits(weights[m][n][i]);
        simt::store_words(handed(m, n), words);
      }
    }
  }
  STRATA_DEVICE static void slope_handed(int slot, typename Tile::Scores& slopes) {
    STRATA_UNROLL
    for (int n = 0; n < Tile::kColumnSteps; ++n) {
      float exponent[2];
      float delta[2];
      Parts::load_columns(slot, n, exponent, delta);
      STRATA_UNROLL
      for (int m = 0; m < kRowSteps; ++m) {
        std::uint32_t words[4];
        simt::load_words(words, handed(m, n));
        STRATA_UNROLL
        for (int i = 0; i < 4; ++i) {
          slopes[m][n][i] = float_of_bits(words[i]) * (slopes[m][n][i] - delta[i % 2]);
        }
      }
    }
  }

  /// What this warp of a pair summed.
  STRATA_DEVICE static void put_share(const AttentionArguments& arguments, const DeviceTile& tile,
                                      const Sums& sums) {
    const bool slopes = makes_slopes();
    Parts::template put<kKeyDim>(arguments, tile, sums, slopes ? arguments.scale : 1.0F,
                                 slopes ? 0 : kKeyDim);
  }
};

}  // namespace strata::kernels
