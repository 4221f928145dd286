// SPDX-License-Identifier: Apache-2.0
// What both ways to compute grad_k and grad_v share: where a tile's rows, the queries that are walked and
// their statistics lie in shared memory, which heads belong to a tile, and weights from scores.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_grad_tiles.cuh"

namespace strata::kernels {

template <Element kElement, int kKeyDim, int kValueDim>
struct GradKvParts {
  static constexpr GradientShape kShape = grad_kv_shape(kKeyDim, kValueDim);
  static_assert(kShape.rows > 0, "no tile shape for these head dimensions");
  static constexpr int kRowSteps = kShape.warp_rows() / kMmaRows;
  using Tile = GradientTile<kElement, kRowSteps, kShape.columns, kShape.pairs ? 2 : 1>;
  using KeyFill = TileFill<kKeyDim, kShape.threads()>;
  using ValueFill = TileFill<kValueDim, kShape.threads()>;
  using Memory = GradientMemory<kShape>;

  struct Statistics {
    float exponent;
    float delta;
  };

  STRATA_DEVICE static simt::Shared statistics_begin(int slot) {
    return Memory::slot_begin(GradientShape::kSlots) +
           static_cast<simt::Shared>(slot * kShape.slot_statistics_bytes());
  }
  /// Weights on their way from one warp of a pair to the other.
  STRATA_DEVICE static simt::Shared weights_begin() {
    return statistics_begin(0) + static_cast<simt::Shared>(kShape.statistics_bytes());
  }
  STRATA_DEVICE static simt::Shared ticket_word() {
    return weights_begin() + static_cast<simt::Shared>(kShape.weights_bytes());
  }

  /// The segment's heads that belong to the tile's group.
  STRATA_DEVICE static std::int32_t first_head(const AttentionArguments& arguments, const DeviceTile& tile,
                                               const DeviceSegment& segment) {
    const std::int32_t first = tile.head * arguments.group;
    return segment.head_begin > first ? segment.head_begin : first;
  }
  STRATA_DEVICE static std::int32_t end_head(const AttentionArguments& arguments, const DeviceTile& tile,
                                             const DeviceSegment& segment) {
    const std::int32_t end = (tile.head + 1) * arguments.group;
    const std::int32_t other = segment.head_begin + segment.head_count;
    return other < end ? other : end;
  }

  STRATA_DEVICE static void load_owned(const AttentionArguments& arguments, const DeviceTile& tile) {
    const KeyRows& source = arguments.keys[tile.source];
    constexpr std::int32_t kHeadBytes = (kKeyDim + kValueDim) * 2;
    const std::int64_t row_bytes = std::int64_t{source.head_count} * kHeadBytes;
    const char* head = static_cast<const char*>(source.kv) + tile.row * row_bytes +
                       (tile.head - source.head_begin) * kHeadBytes;
    KeyFill::template start<kShape.rows>(Memory::owned_begin(),
                                         head + KeyFill::row() * row_bytes + KeyFill::chunk() * kChunkBytes,
                                         row_bytes, tile.count);
    ValueFill::template start<kShape.rows>(
        Memory::owned_values(),
        head + kKeyDim * 2 + ValueFill::row() * row_bytes + ValueFill::chunk() * kChunkBytes, row_bytes,
        tile.count);
  }

  STRATA_DEVICE static void store_statistics(int slot, const Statistics& statistics) {
    if (simt::thread_index_here() >= kShape.columns) return;
    const simt::Shared to = statistics_begin(slot) + static_cast<simt::Shared>(simt::thread_index_here() * 8);
    simt::store_float(to, statistics.exponent);
    simt::store_float(to + 4, statistics.delta);
  }

  /// exponent, delta of a lane's two columns of fragment n.
  STRATA_DEVICE static void load_columns(int slot, int n, float (&exponent)[2], float (&delta)[2]) {
    std::uint32_t words[4];
    simt::load_words(words, statistics_begin(slot) + static_cast<simt::Shared>(Tile::lane() % 4 * 16) +
                                static_cast<simt::Shared>(n * kMmaColumns * 8));
    exponent[0] = float_of_bits(words[0]);
    delta[0] = float_of_bits(words[1]);
    exponent[1] = float_of_bits(words[2]);
    delta[1] = float_of_bits(words[3]);
  }

  STRATA_DEVICE static void weigh(const AttentionArguments& arguments, int slot,
                                  typename Tile::Scores& scores) {
    const float scale = exponent_of(arguments.scale);
    STRATA_UNROLL
    for (int n = 0; n < Tile::kColumnSteps; ++n) {
      float exponent[2];
      float delta[2];
      load_columns(slot, n, exponent, delta);
      STRATA_UNROLL
      for (int m = 0; m < kRowSteps; ++m) {
        STRATA_UNROLL
        for (int i = 0; i < 4; ++i) {
          scores[m][n][i] = simt::exp2_fast(scores[m][n][i] * scale - exponent[i % 2]);
        }
      }
    }
  }

  /// The warp's rows of grad_kv, kDim columns from `column` on.
  template <int kDim>
  STRATA_DEVICE static void put(const AttentionArguments& arguments, const DeviceTile& tile,
                                const typename Tile::template Sums<kDim>& sums, float scale, int column) {
    const KeyRows& target = arguments.keys[tile.source];
    const std::int64_t row = std::int64_t{tile.row} + Tile::warp_row();
    float* const rows =
        target.grad_kv + (row * target.head_count + (tile.head - target.head_begin)) * (kKeyDim + kValueDim);
    Tile::template put<kDim>(sums, scale, arguments.mode, rows + column,
                             std::int64_t{target.head_count} * (kKeyDim + kValueDim),
                             tile.count - Tile::warp_row());
  }
};

}  // namespace strata::kernels
