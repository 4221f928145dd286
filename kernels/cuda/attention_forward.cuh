// SPDX-License-Identifier: Apache-2.0
// Attention forward on tensor cores, after FlashAttention-2 (Dao 2023, arXiv 2307.08691): a block owns query
// rows of one head, walks the keys of all its segments with an online softmax and keeps scores, weights and
// sums in registers. The grid is persistent and takes tiles from a counter; since a tile has one owner and
// its blocks of keys a fixed order, results do not depend on who computes what when.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_lists.hpp"
#include "kernels/cuda/key_block.cuh"
#include "kernels/cuda/simt.hpp"
#include "kernels/cuda/tile_memory.cuh"
#include "kernels/cuda/tile_shapes.hpp"
#include "kernels/cuda/tile_tickets.cuh"

namespace strata::kernels {

template <Element kElement, int kKeyDim, int kValueDim>
class AttentionForward {
 public:
  static constexpr ForwardShape kShape = forward_shape(kKeyDim, kValueDim);
  static_assert(kShape.rows > 0, "no tile shape for these head dimensions");

  STRATA_DEVICE static void run(const AttentionArguments& arguments) {
    // Even the first tile comes from the counter, as a block may start late.
    if (simt::thread_index() == 0) simt::store_word(ticket_word(), first_ticket(arguments));
    STRATA_NO_UNROLL
    while (true) {
      simt::block_barrier();
      const std::uint32_t ticket = simt::load_word(ticket_word());
      if (simt::thread_index() == 0) simt::store_word(current_word(), ticket);
      simt::block_barrier();
      if (ticket >= static_cast<std::uint32_t>(arguments.tile_count)) return;
      run_tile(arguments, ticket);
    }
  }

 private:
  static constexpr int kWarpRows = kShape.rows / kShape.warps;
  static constexpr int kRowSteps = kWarpRows / kMmaRows;             // of a warp
  static constexpr int kColumnSteps = kShape.columns / kMmaColumns;  // of a block of keys
  static constexpr int kValueSteps = kValueDim / kMmaColumns;
  static constexpr float kInfinity = __builtin_inff();
  static constexpr float kLog2E = 1.44269504088896340736F;
  static constexpr float kLn2 = 0.69314718055994530942F;
  static_assert(kWarpRows % kMmaRows == 0 && kShape.columns % 16 == 0 && kValueDim <= kKeyDim);

  using KeyFill = TileFill<kKeyDim, kShape.threads()>;
  using ValueFill = TileFill<kValueDim, kShape.threads()>;
  using KeyLanes = TileLanes<kKeyDim>;
  using ValueLanes = TileLanes<kValueDim>;

  /// Runs ahead over the segments' blocks and starts their copies, K and V in turn.
  using Loader = KeyBlock<kKeyDim, kValueDim, KeyFill>;
  /// The block of keys that is being used: the rest of its segment, with the band relative to its first key.
  struct Cursor {
    std::int32_t segment = 0;
    std::int32_t rows = 0;
    std::int32_t lo = 0;
    std::int32_t hi = 0;
  };
  /// What a thread holds of the rows of its warp: rows lane / 4 and lane / 4 + 8 of every step of 16.
  struct Sums {
    float out[kRowSteps][kValueSteps][4];
    float maximum[kRowSteps][2];
    float total[kRowSteps][2];  // of this thread's columns only
  };
  struct Weights {
    std::uint32_t words[kRowSteps][kColumnSteps][2];
  };
  enum class Sight { none, some, all };

  /// First row of the warp, and lane in it, of a thread.
  /// Unsigned: a compiler that thinks of negative threads spends instructions on them.
  STRATA_DEVICE static int warp_row(int thread) {
    return static_cast<int>(static_cast<unsigned>(thread) / kWarpLanes) * kWarpRows;
  }
  STRATA_DEVICE static int lane_of(int thread) {
    return static_cast<int>(static_cast<unsigned>(thread) % kWarpLanes);
  }
  STRATA_DEVICE static simt::Shared ticket_word() {
    return simt::shared_begin() +
           static_cast<simt::Shared>(kShape.query_bytes() + kShape.slots * kShape.slot_bytes());
  }
  STRATA_DEVICE static simt::Shared current_word() { return ticket_word() + 4; }
  STRATA_DEVICE static simt::Shared slot_begin(int slot) {
    return simt::shared_begin() +
           static_cast<simt::Shared>(kShape.query_bytes() + slot * kShape.slot_bytes());
  }
  STRATA_DEVICE static int after(int slot) { return slot + 1 == kShape.slots ? 0 : slot + 1; }
  STRATA_DEVICE static int before(int slot) { return slot == 0 ? kShape.slots - 1 : slot - 1; }

  STRATA_DEVICE static void enter_segment(const AttentionArguments& arguments, const DeviceTile& tile,
                                          Loader& loader) {
    if (loader.segment >= tile.segment_end) return;
    loader.enter(arguments, tile, arguments.segments[loader.segment]);
  }

  /// Starts the next copy, if any is left, and closes its group in any case.
  template <bool kValue>
  STRATA_DEVICE static void load_next(const AttentionArguments& arguments, const DeviceTile& tile,
                                      Loader& loader, int slot) {
    if (loader.segment < tile.segment_end) {
      if constexpr (!kValue) {
        KeyFill::template start<kShape.columns>(slot_begin(slot), loader.from, loader.row_bytes, loader.rows);
      } else {
        static_assert(KeyFill::kLanes == ValueFill::kLanes, "one pointer serves both");
        ValueFill::template start<kShape.columns>(slot_begin(slot), loader.from + kKeyDim * 2,
                                                  loader.row_bytes, loader.rows);
        loader.advance(kShape.columns);
        if (loader.rows <= 0) {
          ++loader.segment;
          enter_segment(arguments, tile, loader);
        }
      }
    }
    simt::commit_copies();
  }

  STRATA_DEVICE static void load_queries(const AttentionArguments& arguments, const DeviceTile& tile) {
    const QueryRows& source = arguments.queries[tile.source];
    const std::int32_t row_bytes = source.head_count * kKeyDim * 2;
    const char* from = static_cast<const char*>(source.q) +
                       (tile.row + KeyFill::row()) * std::int64_t{row_bytes} +
                       (tile.head - source.head_begin) * kKeyDim * 2 + KeyFill::chunk() * kChunkBytes;
    KeyFill::template start<kShape.rows>(simt::shared_begin(), from, row_bytes, tile.count);
  }

  STRATA_DEVICE static void run_tile(const AttentionArguments& arguments, std::uint32_t ticket) {
    Sums sums;
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int n = 0; n < kValueSteps; ++n) {
        STRATA_UNROLL
        for (int i = 0; i < 4; ++i) sums.out[m][n][i] = 0;
      }
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        sums.maximum[m][r] = -kInfinity;
        sums.total[m][r] = 0;
      }
    }
    const DeviceTile tile = arguments.tiles[ticket];
    walk_segments(arguments, tile, sums);
    // Read again: to hold it, or even its number, costs registers that the loop needs.
    finish_rows(arguments, arguments.tiles[simt::load_word(current_word())], sums);
  }

  STRATA_DEVICE static void walk_segments(const AttentionArguments& arguments, const DeviceTile& tile,
                                          Sums& sums) {
    constexpr bool kValueAhead = kShape.slots % 2 == 0;  // what is slots - 1 copies after a K
    Loader loader;
    loader.segment = tile.segment_begin;
    enter_segment(arguments, tile, loader);
    if (loader.segment < tile.segment_end) load_queries(arguments, tile);
    STRATA_UNROLL
    for (int slot = 0; slot < kShape.slots - 1; ++slot) {
      if (slot % 2 == 0) {
        load_next<false>(arguments, tile, loader, slot);
      } else {
        load_next<true>(arguments, tile, loader, slot);
      }
    }
    // Late enough for the counter's answer to come while the first rows do.
    if (simt::thread_index() == 0) simt::store_word(ticket_word(), next_ticket(arguments));
    Cursor cursor;
    cursor.segment = tile.segment_begin;
    enter_segment(arguments, tile, cursor);
    int slot = 0;
    STRATA_NO_UNROLL
    while (cursor.segment < tile.segment_end) {
      simt::wait_copies<kShape.slots - 2>();
      simt::block_barrier();
      load_next<kValueAhead>(arguments, tile, loader, before(slot));
      const std::int32_t stride = arguments.segments[cursor.segment].stride;
      const Sight sight = sight_of_warp(tile, cursor, stride);
      Weights weights;
      if (sight != Sight::none) weigh_keys(arguments, cursor, stride, sight, slot_begin(slot), sums, weights);
      slot = after(slot);
      simt::wait_copies<kShape.slots - 2>();
      simt::block_barrier();
      load_next<!kValueAhead>(arguments, tile, loader, before(slot));
      if (sight != Sight::none) add_values(slot_begin(slot), weights, sums);
      slot = after(slot);
      advance(arguments, tile, stride, cursor);
    }
  }

  STRATA_DEVICE static void enter_segment(const AttentionArguments& arguments, const DeviceTile& tile,
                                          Cursor& cursor) {
    if (cursor.segment >= tile.segment_end) return;
    const DeviceSegment& segment = arguments.segments[cursor.segment];
    cursor.rows = segment.count;
    cursor.lo = segment.lo;
    cursor.hi = segment.hi;
  }

  STRATA_DEVICE static void advance(const AttentionArguments& arguments, const DeviceTile& tile,
                                    std::int32_t stride, Cursor& cursor) {
    const std::int32_t shift = kShape.columns * stride;
    cursor.rows -= kShape.columns;
    cursor.lo -= shift;
    cursor.hi -= shift;
    if (cursor.rows > 0) return;
    ++cursor.segment;
    enter_segment(arguments, tile, cursor);
  }

  /// How much of the block of keys the rows of this warp see.
  STRATA_DEVICE static Sight sight_of_warp(const DeviceTile& tile, const Cursor& cursor,
                                           std::int32_t stride) {
    const int first_row = warp_row(simt::thread_index_here());
    const int last_row = min_of(first_row + kWarpRows, tile.count) - 1;
    const int last = (min_of(kShape.columns, cursor.rows) - 1) * stride;
    if (last_row < first_row || -last_row > cursor.hi || last - first_row < cursor.lo) return Sight::none;
    const bool all = kShape.columns <= cursor.rows && last - first_row <= cursor.hi && -last_row >= cursor.lo;
    return all ? Sight::all : Sight::some;
  }
  STRATA_DEVICE static int min_of(int a, int b) { return a < b ? a : b; }
  STRATA_DEVICE static int max_of(int a, int b) { return a > b ? a : b; }

  /// Scores of a block of keys, their weights relative to the new maximum, and the sums so far brought to it.
  STRATA_DEVICE static void weigh_keys(const AttentionArguments& arguments, const Cursor& cursor,
                                       std::int32_t stride, Sight sight, simt::Shared keys, Sums& sums,
                                       Weights& weights) {
    float scores[kRowSteps][kColumnSteps][4];
    multiply_keys(keys, scores);
    if (sight == Sight::some) hide(cursor, stride, scores);
    const float scale = arguments.scale * kLog2E;
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        float maximum = sums.maximum[m][r];
        STRATA_UNROLL
        for (int n = 0; n < kColumnSteps; ++n) {
          maximum = fmaxf(maximum, fmaxf(scores[m][n][2 * r], scores[m][n][2 * r + 1]));
        }
        maximum = fmaxf(maximum, simt::shuffle_xor(maximum, 1));
        maximum = fmaxf(maximum, simt::shuffle_xor(maximum, 2));
        // A row that has seen no key yet: any finite reference makes its weights 2^-inf = 0.
        const float reference = maximum == -kInfinity ? 0.0F : maximum * scale;
        const float correction = simt::exp2_fast(sums.maximum[m][r] * scale - reference);
        sums.maximum[m][r] = maximum;
        float total = sums.total[m][r] * correction;
        STRATA_UNROLL
        for (int n = 0; n < kColumnSteps; ++n) {
          const float low = simt::exp2_fast(scores[m][n][2 * r] * scale - reference);
          const float high = simt::exp2_fast(scores[m][n][2 * r + 1] * scale - reference);
          total += low + high;
          weights.words[m][n][r] = simt::pack<kElement>(low, high);
        }
        sums.total[m][r] = total;
        STRATA_UNROLL
        for (int n = 0; n < kValueSteps; ++n) {
          sums.out[m][n][2 * r] *= correction;
          sums.out[m][n][2 * r + 1] *= correction;
        }
      }
    }
  }

  STRATA_DEVICE static void multiply_keys(simt::Shared keys, float (&scores)[kRowSteps][kColumnSteps][4]) {
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int n = 0; n < kColumnSteps; ++n) {
        STRATA_UNROLL
        for (int i = 0; i < 4; ++i) scores[m][n][i] = 0;
      }
    }
    const int thread = simt::thread_index_here();
    const int lane = lane_of(thread);
    const simt::Shared query_lane =
        simt::shared_begin() + KeyLanes::first(warp_row(thread) + left_row(lane), left_chunk(lane));
    const simt::Shared key_lane = keys + KeyLanes::first(right_row(lane), right_chunk(lane));
    // Steps whose addresses differ by a constant follow each other, so that few addresses are held at a time.
    constexpr int kSteps = kKeyDim / kMmaDepth;
    constexpr int kApart = KeyLanes::kSwizzleBytes / (2 * kChunkBytes);
    STRATA_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      const int step = i / (kSteps / kApart) + i % (kSteps / kApart) * kApart;
      std::uint32_t query[kRowSteps][4];
      STRATA_UNROLL
      for (int m = 0; m < kRowSteps; ++m) {
        simt::load_matrix<4>(query[m], KeyLanes::at(query_lane, step, m * kMmaRows));
      }
      STRATA_UNROLL
      for (int n = 0; n < kColumnSteps; n += 2) {
        std::uint32_t key[4];
        simt::load_matrix<4>(key, KeyLanes::at(key_lane, step, n * kMmaColumns));
        STRATA_UNROLL
        for (int m = 0; m < kRowSteps; ++m) {
          simt::mma<kElement>(scores[m][n], query[m], key[0], key[1]);
          simt::mma<kElement>(scores[m][n + 1], query[m], key[2], key[3]);
        }
      }
    }
  }

  /// Scores of pairs that are not allowed become -inf.
  STRATA_DEVICE static void hide(const Cursor& cursor, std::int32_t stride,
                                 float (&scores)[kRowSteps][kColumnSteps][4]) {
    const int thread = simt::thread_index_here();
    const int lane = lane_of(thread);
    const int first = lane % 4 * 2 * stride;
    const int first_row = warp_row(thread) + lane / 4;
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int row = first_row + m * kMmaRows + r * 8;
        const int low = cursor.lo + row;
        const int high = min_of(cursor.hi + row, cursor.rows * stride - 1);
        // One comparison for both bounds: what is below wraps to the top.
        const auto width = static_cast<unsigned>(max_of(high - low + 1, 0));
        STRATA_UNROLL
        for (int n = 0; n < kColumnSteps; ++n) {
          STRATA_UNROLL
          for (int i = 0; i < 2; ++i) {
            const int position = first + (n * kMmaColumns + i) * stride;
            if (static_cast<unsigned>(position - low) >= width) scores[m][n][2 * r + i] = -kInfinity;
          }
        }
      }
    }
  }

  STRATA_DEVICE static void add_values(simt::Shared values, const Weights& weights, Sums& sums) {
    const int lane = lane_of(simt::thread_index_here());
    const simt::Shared value_lane = values + ValueLanes::first(left_row(lane), left_chunk(lane));
    STRATA_UNROLL
    for (int step = 0; step < kShape.columns / kMmaDepth; ++step) {
      std::uint32_t weight[kRowSteps][4];
      STRATA_UNROLL
      for (int m = 0; m < kRowSteps; ++m) {
        STRATA_UNROLL
        for (int w = 0; w < 4; ++w) weight[m][w] = weights.words[m][2 * step + w / 2][w % 2];
      }
      STRATA_UNROLL
      for (int n = 0; n < kValueSteps; n += 2) {
        std::uint32_t value[4];
        simt::load_matrix_transposed<4>(value, ValueLanes::at(value_lane, n / 2, step * kMmaDepth));
        STRATA_UNROLL
        for (int m = 0; m < kRowSteps; ++m) {
          simt::mma<kElement>(sums.out[m][n], weight[m], value[0], value[1]);
          simt::mma<kElement>(sums.out[m][n + 1], weight[m], value[2], value[3]);
        }
      }
    }
  }

  STRATA_DEVICE static void finish_rows(const AttentionArguments& arguments, const DeviceTile& tile,
                                        Sums& sums) {
    float lse[kRowSteps][2];
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        float total = sums.total[m][r];
        total += simt::shuffle_xor(total, 1);
        total += simt::shuffle_xor(total, 2);
        const bool empty = total == 0;  // the maximum itself weighs 1; NaN is not empty
        lse[m][r] = empty ? -kInfinity : sums.maximum[m][r] * arguments.scale + simt::log_accurate(total);
        const float factor = empty ? 0.0F : 1.0F / total;
        STRATA_UNROLL
        for (int n = 0; n < kValueSteps; ++n) {
          sums.out[m][n][2 * r] *= factor;
          sums.out[m][n][2 * r + 1] *= factor;
        }
      }
    }
    const QueryRows& target = arguments.queries[tile.source];
    if (arguments.mode == OutputMode::write) {
      write_rows(target, tile, sums, lse);
    } else {
      merge_rows(target, tile, sums, lse);
    }
  }

  STRATA_DEVICE static std::int64_t place_of(const QueryRows& target, const DeviceTile& tile, int row) {
    return (std::int64_t{tile.row} + row) * target.head_count + (tile.head - target.head_begin);
  }

  /// Rounds the rows into the warp's own part of the query tile, which nobody reads any more, and writes
  /// whole chunks from there.
  STRATA_DEVICE static void write_rows(const QueryRows& target, const DeviceTile& tile, const Sums& sums,
                                       const float (&lse)[kRowSteps][2]) {
    const int thread = simt::thread_index_here();
    const int lane = lane_of(thread);
    const int first_row = warp_row(thread);
    const simt::Shared staging = simt::shared_begin() + static_cast<simt::Shared>(first_row * kKeyDim * 2);
    const simt::Shared mine =
        staging + swizzled_offset(lane / 4, 0, ValueLanes::kChunks) + static_cast<simt::Shared>(lane % 4 * 4);
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int row = first_row + m * kMmaRows + r * 8 + lane / 4;
        if (lane % 4 == 0 && row < tile.count) target.lse[place_of(target, tile, row)] = lse[m][r];
        STRATA_UNROLL
        for (int n = 0; n < kValueSteps; ++n) {
          simt::store_word(ValueLanes::chunk_at(mine, n, m * kMmaRows + r * 8),
                           simt::pack<kElement>(sums.out[m][n][2 * r], sums.out[m][n][2 * r + 1]));
        }
      }
    }
    simt::warp_barrier();
    copy_rows_out(target, tile, staging);
  }

  STRATA_DEVICE static void copy_rows_out(const QueryRows& target, const DeviceTile& tile,
                                          simt::Shared staging) {
    constexpr int kLanes = ValueFill::kLanes;
    constexpr int kRows = kWarpLanes / kLanes;  // of one pass
    const int thread = simt::thread_index_here();
    const int chunk = lane_of(thread) % kLanes;
    const int row = lane_of(thread) / kLanes;
    const int first_row = warp_row(thread) + row;
    char* to = static_cast<char*>(target.out) +
               (place_of(target, tile, first_row) * kValueDim + chunk * kChunkElements) * 2;
    STRATA_UNROLL
    for (int pass = 0; pass < kWarpRows / kRows; ++pass) {
      if (first_row + pass * kRows < tile.count) {
        const simt::Shared from = staging + swizzled_offset(row + pass * kRows, chunk, ValueLanes::kChunks);
        STRATA_UNROLL
        for (int c = 0; c < ValueLanes::kChunks / kLanes; ++c) {
          std::uint32_t words[4];
          simt::load_words(words, from + c * kLanes * kChunkBytes);
          simt::store_global(to + c * kLanes * kChunkBytes, words);
        }
      }
      to += kRows * std::int64_t{target.head_count} * kValueDim * 2;
    }
  }

  /// Combines the rows with the f32 rows and lse that are there; a row that saw no key stays as it is.
  STRATA_DEVICE static void merge_rows(const QueryRows& target, const DeviceTile& tile, const Sums& sums,
                                       const float (&lse)[kRowSteps][2]) {
    const int thread = simt::thread_index_here();
    const int lane = lane_of(thread);
    const int first_row = warp_row(thread) + lane / 4;
    STRATA_UNROLL
    for (int m = 0; m < kRowSteps; ++m) {
      STRATA_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int row = first_row + m * kMmaRows + r * 8;
        const bool merges = row < tile.count && lse[m][r] != -kInfinity;
        const std::int64_t place = place_of(target, tile, row);
        const float before_lse = merges ? target.lse[place] : 0.0F;
        const float high = fmaxf(before_lse, lse[m][r]);
        const float low = fminf(before_lse, lse[m][r]);
        const float merged = high + simt::log1p_accurate(simt::exp_accurate(low - high));
        const float keep = simt::exp_accurate(before_lse - merged);
        const float add = simt::exp_accurate(lse[m][r] - merged);
        simt::warp_barrier();  // all four lanes of the row have read its lse
        if (!merges) continue;
        if (lane % 4 == 0) target.lse[place] = merged;
        float* to = static_cast<float*>(target.out) + place * kValueDim + lane % 4 * 2;
        STRATA_UNROLL
        for (int n = 0; n < kValueSteps; ++n) {
          STRATA_UNROLL
          for (int i = 0; i < 2; ++i) {
            float& value = to[n * kMmaColumns + i];
            value = value * keep + sums.out[m][n][2 * r + i] * add;
          }
        }
      }
    }
  }
};

}  // namespace strata::kernels
