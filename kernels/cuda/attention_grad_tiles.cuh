// SPDX-License-Identifier: Apache-2.0
// What both backward kernels are made of: the products of a warp's rows with a block of the other side's
// rows, the weights and slopes in between, and the way from sums to global memory. A warp's scores become the
// left operand of the next product where they are, in registers.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_lists.hpp"
#include "kernels/cuda/gradient_shapes.hpp"
#include "kernels/cuda/simt.hpp"
#include "kernels/cuda/tile_memory.cuh"
#include "kernels/cuda/tile_tickets.cuh"

namespace strata::kernels {

/// How much of a block the rows of a warp see.
enum class Sight : std::uint8_t { none, some, all };

/// A pair of row r and column c, counted from the warp's first row and the block's first column, is allowed
/// iff low <= c * column_stride - r * row_stride <= high and c * column_stride < end.
struct BlockBand {
  std::int32_t low;
  std::int32_t high;
  std::int32_t end;
  std::int32_t row_stride;
  std::int32_t column_stride;

  /// For `rows` rows (at least one) and `columns` columns.
  STRATA_DEVICE Sight sight(int rows, int columns) const {
    const std::int32_t whole = (columns - 1) * column_stride;
    const std::int32_t last = whole < end ? whole : end - 1;
    const std::int32_t fall = (rows - 1) * row_stride;
    if (rows <= 0 || last < 0 || last < low || -fall > high) return Sight::none;
    return whole < end && -fall >= low && whole <= high ? Sight::all : Sight::some;
  }
};

/// Where a block of threads keeps what its products read: the rows that it owns, as two matrices of kKeyDim
/// and kValueDim columns, and behind them the slots with the other side's rows.
template <GradientShape kShape>
struct GradientMemory {
  STRATA_DEVICE static simt::Shared owned_begin() { return simt::shared_begin(); }
  STRATA_DEVICE static simt::Shared owned_values() {
    return owned_begin() + static_cast<simt::Shared>(kShape.rows * kShape.k_dim * 2);
  }
  STRATA_DEVICE static simt::Shared slot_begin(int slot) {
    return owned_begin() + static_cast<simt::Shared>(kShape.owned_bytes() + slot * kShape.slot_bytes());
  }
  STRATA_DEVICE static simt::Shared slot_values(int slot) {
    return slot_begin(slot) + static_cast<simt::Shared>(kShape.columns * kShape.k_dim * 2);
  }
};

/// Products and element-wise steps of a warp that owns kRowSteps times 16 rows against kColumns columns.
/// `Sums<n>` are n / 8 fragments a row step, as mma leaves them. kSharing consecutive warps own the same
/// rows.
template <Element kElement, int kRowSteps, int kColumns, int kSharing = 1>
struct GradientTile {
  static constexpr int kColumnSteps = kColumns / kMmaColumns;
  static_assert(kColumns % kMmaDepth == 0);
  using Scores = float[kRowSteps][kColumnSteps][4];
  template <int kDim>
  using Sums = float[kRowSteps][kDim / kMmaColumns][4];
  /// Scores rounded to 16 bits: the left operand of a product over the columns.
  struct Operand {
    std::uint32_t words[kRowSteps][kColumnSteps][2];
  };

  // Unsigned: a compiler that thinks of negative threads spends instructions on them.
  STRATA_DEVICE static int lane() {
    return static_cast<int>(static_cast<unsigned>(simt::thread_index_here()) % kWarpLanes);
  }
  STRATA_DEVICE static int warp_row() {
    const unsigned warp = static_cast<unsigned>(simt::thread_index_here()) / (kSharing * kWarpLanes);
    return static_cast<int>(warp) * (kRowSteps * kMmaRows);
  }

  /// How many rows of a tile of `count` are the warp's, or less than one.
  STRATA_DEVICE static int rows_of_warp(int count) {
    const int rows = count - warp_row();
    return rows < kRowSteps * kMmaRows ? rows : kRowSteps * kMmaRows;
  }

  template <int kSteps>
  STRATA_DEVICE static void clear(float (&sums)[kRowSteps][kSteps][4]) {
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int n = 0; n < kSteps; ++n) {
        STRATA_UNROLL
        for (int i = 0; i < 4; ++i) sums[m][n][i] = 0;
      }
    }
  }

  /// scores = owned rows times the block's rows, over kDim.
  template <int kDim>
  STRATA_DEVICE static void multiply(simt::Shared owned, simt::Shared block, Scores& scores) {
    using Lanes = TileLanes<kDim>;
    clear(scores);
    const simt::Shared left = owned + Lanes::first(warp_row() + left_row(lane()), left_chunk(lane()));
    const simt::Shared right = block + Lanes::first(right_row(lane()), right_chunk(lane()));
    STRATA_UNROLL
    for (int step = 0; step < kDim / kMmaDepth; ++step) {
      std::uint32_t own[kRowSteps][4];
      STRATA_UNROLL
      for (int m = 0; m < kRowSteps; ++m) simt::load_matrix<4>(own[m], Lanes::at(left, step, m * kMmaRows));
      STRATA_UNROLL
      for (int n = 0; n < kColumnSteps; n += 2) {
        std::uint32_t other[4];
        simt::load_matrix<4>(other, Lanes::at(right, step, n * kMmaColumns));
        STRATA_UNROLL
        for (int m = 0; m < kRowSteps; ++m) {
          simt::mma<kElement>(scores[m][n], own[m], other[0], other[1]);
          simt::mma<kElement>(scores[m][n + 1], own[m], other[2], other[3]);
        }
      }
    }
  }

  STRATA_DEVICE static void round(const Scores& scores, Operand& operand) {
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int n = 0; n < kColumnSteps; ++n) {
        STRATA_UNROLL
        for (int r = 0; r < 2; ++r) {
          operand.words[m][n][r] = simt::pack<kElement>(scores[m][n][2 * r], scores[m][n][2 * r + 1]);
        }
      }
    }
  }

  /// sums += operand times the block's rows.
  template <int kDim>
  STRATA_DEVICE static void accumulate(const Operand& operand, simt::Shared block, Sums<kDim>& sums) {
    using Lanes = TileLanes<kDim>;
    const simt::Shared first = block + Lanes::first(left_row(lane()), left_chunk(lane()));
    STRATA_UNROLL
    for (int step = 0; step < kColumns / kMmaDepth; ++step) {
      std::uint32_t left[kRowSteps][4];
      STRATA_UNROLL
      for (int m = 0; m < kRowSteps; ++m) {
        STRATA_UNROLL
        for (int w = 0; w < 4; ++w) left[m][w] = operand.words[m][2 * step + w / 2][w % 2];
      }
      STRATA_UNROLL
      for (int n = 0; n < kDim / kMmaColumns; n += 2) {
        std::uint32_t right[4];
        simt::load_matrix_transposed<4>(right, Lanes::at(first, n / 2, step * kMmaDepth));
        STRATA_UNROLL
        for (int m = 0; m < kRowSteps; ++m) {
          simt::mma<kElement>(sums[m][n], left[m], right[0], right[1]);
          simt::mma<kElement>(sums[m][n + 1], left[m], right[2], right[3]);
        }
      }
    }
  }

  /// Scores of pairs that are not allowed become -inf, so that their weight is 0 whatever the row's lse.
  STRATA_DEVICE static void hide(const BlockBand& band, Scores& scores) {
    const int first = lane() % 4 * 2 * band.column_stride;
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int shift = (m * kMmaRows + r * 8 + lane() / 4) * band.row_stride;
        const int low = band.low + shift;
        const int high = band.high + shift < band.end - 1 ? band.high + shift : band.end - 1;
        // One comparison for both bounds: what is below wraps to the top.
        const auto width = static_cast<unsigned>(high < low ? 0 : high - low + 1);
        STRATA_UNROLL
        for (int n = 0; n < kColumnSteps; ++n) {
          STRATA_UNROLL
          for (int i = 0; i < 2; ++i) {
            const int position = first + (n * kMmaColumns + i) * band.column_stride;
            if (static_cast<unsigned>(position - low) >= width) scores[m][n][2 * r + i] = -__builtin_inff();
          }
        }
      }
    }
  }

  /// The address that tells rows of sums from each other: where row `row` of the warp goes, this lane's
  /// columns.
  STRATA_DEVICE static int row_of(int m, int r) { return m * kMmaRows + r * 8 + lane() / 4; }

  /// Writes or adds the rows, times `scale`, to f32 rows that lie `row_floats` apart; `rows` of them exist.
  template <int kDim>
  STRATA_DEVICE static void put(const Sums<kDim>& sums, float scale, OutputMode mode, float* rows_begin,
                                std::int64_t row_floats, int rows) {
    struct alignas(8) Pair {
      float low;
      float high;
    };
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        if (row_of(m, r) >= rows) continue;
        Pair* to = reinterpret_cast<Pair*>(rows_begin + row_of(m, r) * row_floats) + lane() % 4;
        STRATA_UNROLL
        for (int n = 0; n < kDim / kMmaColumns; ++n) {
          Pair pair{sums[m][n][2 * r] * scale, sums[m][n][2 * r + 1] * scale};
          if (mode == OutputMode::merge) {
            const Pair before = to[n * 4];
            pair = {before.low + pair.low, before.high + pair.high};
          }
          to[n * 4] = pair;
        }
      }
    }
  }
};

/// lse as the exponent wants it: in base 2, and for a row without keys infinite, so that all its weights are
/// 0.
STRATA_DEVICE float exponent_of(float lse) {
  constexpr float kLog2E = 1.44269504088896340736F;
  return lse == -__builtin_inff() ? __builtin_inff() : lse * kLog2E;
}

/// By one thread of the block, while copies are on their way: the number of the next tile into shared memory.
STRATA_DEVICE void store_ticket(const AttentionArguments& arguments, simt::Shared word) {
  simt::store_word(word, next_ticket(arguments));
}

/// Calls run_tile(tile), which stores the next ticket, until all tiles are taken.
template <class RunTile>
STRATA_DEVICE void take_tiles(const AttentionArguments& arguments, simt::Shared word,
                              const RunTile& run_tile) {
  if (simt::thread_index() == 0) simt::store_word(word, first_ticket(arguments));
  STRATA_NO_UNROLL
  while (true) {
    simt::block_barrier();
    const auto ticket = static_cast<std::int32_t>(simt::load_word(word));
    simt::block_barrier();
    if (ticket >= arguments.tile_count) return;
    run_tile(arguments.tiles[ticket]);
  }
}

}  // namespace strata::kernels
