// SPDX-License-Identifier: Apache-2.0
// Vector building blocks, compiled once per instruction set: exp2 and the one matrix micro-kernel from which
// all seven products of attention are made.
// clang-format off
#if defined(STRATA_KERNELS_SIMD_INL_) == defined(HWY_TARGET_TOGGLE)
#ifdef STRATA_KERNELS_SIMD_INL_
#undef STRATA_KERNELS_SIMD_INL_
#else
#define STRATA_KERNELS_SIMD_INL_
#endif
// clang-format on

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/band.hpp"
#include "kernels/tile_layout.hpp"

HWY_BEFORE_NAMESPACE();
namespace strata::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Floats>;

/// Micro-tile: kMicroRows broadcast rows by up to three vectors of lanes; accumulators, lanes and one
/// broadcast value fill the 16 registers of AVX2 and most of the 32 of AVX-512 and NEON.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_EMU128
inline constexpr int kMicroRows = 4;
#else
inline constexpr int kMicroRows = 8;
#endif
inline constexpr int kMaxVectors = 3;

HWY_INLINE std::int64_t vector_lanes() { return static_cast<std::int64_t>(hn::Lanes(Floats())); }

/// 2^x for x <= 127, relative error 3e-9 before rounding; exactly 0 from x <= -127 on, and NaN stays NaN (the
/// operand order of the maximum matters). Coefficients: minimax of (2^f - 1) / f on [-1/2, 1/2], fitted for
/// this file.
HWY_INLINE Vector exp2_below(Vector x) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  x = hn::Max(hn::Set(d, -127.0F), x);
  const auto magic =
      hn::Set(d, 12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer kept in the low bits
  const auto shifted = hn::Add(x, magic);
  const auto f = hn::Sub(x, hn::Sub(shifted, magic));
  auto p = hn::Set(d, 1.559467782e-04F);
  p = hn::MulAdd(p, f, hn::Set(d, 1.340664341e-03F));
  p = hn::MulAdd(p, f, hn::Set(d, 9.617692791e-03F));
  p = hn::MulAdd(p, f, hn::Set(d, 5.550310388e-02F));
  p = hn::MulAdd(p, f, hn::Set(d, 2.402265221e-01F));
  p = hn::MulAdd(p, f, hn::Set(d, 6.931472421e-01F));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0F));
  return hn::BitCast(d, hn::Add(hn::BitCast(du, p), hn::ShiftLeft<23>(hn::BitCast(du, shifted))));
}

/// What a micro-kernel does with its sums: store them, add them to the target, or add them to target *
/// factor.
enum class Finish { store, add, scale_add };

/// target[r][lane] = sum over step of broadcast[r * kRowStep + step * kStep] * lanes[step][lane] for
/// kMicroRows rows and kVectors vectors of lanes. Named accumulators: compilers spill arrays of them.
template <Finish kFinish, int kVectors, std::int64_t kRowStep, std::int64_t kStep>
HWY_INLINE void micro_product(const float* HWY_RESTRICT broadcast, const float* HWY_RESTRICT lanes,
                              std::int64_t steps, float* HWY_RESTRICT target,
                              const float* HWY_RESTRICT factor) {
  const Floats d;
  const std::int64_t n = vector_lanes();
  const std::int64_t width = kVectors * n;
  // clang-format off
#define STRATA_ROWS(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define STRATA_DECLARE(r) auto a##r = hn::Zero(d), b##r = a##r, c##r = a##r;
  STRATA_ROWS(STRATA_DECLARE)
#define STRATA_STEP(r)                                                                    \
  if constexpr (r < kMicroRows) {                                                         \
    const auto x = hn::Set(d, broadcast[r * kRowStep]);                                   \
    a##r = hn::MulAdd(x, u, a##r);                                                        \
    if constexpr (kVectors > 1) b##r = hn::MulAdd(x, v, b##r);                            \
    if constexpr (kVectors > 2) c##r = hn::MulAdd(x, w, c##r);                            \
  }
  for (std::int64_t step = 0; step < steps; ++step) {
    const auto u = hn::Load(d, lanes);
    const auto v = hn::Load(d, lanes + (kVectors > 1 ? n : 0));
    const auto w = hn::Load(d, lanes + (kVectors > 2 ? 2 * n : 0));
    STRATA_ROWS(STRATA_STEP)
    broadcast += kStep;
    lanes += width;
  }
  const auto finish = [&](std::int64_t row, std::int64_t vector, Vector sum) HWY_ATTR {
    float* place = target + row * width + vector * n;
    if constexpr (kFinish == Finish::add) sum = hn::Add(sum, hn::Load(d, place));
    if constexpr (kFinish == Finish::scale_add) {
      sum = hn::MulAdd(hn::Load(d, place), hn::Load(d, factor + vector * n), sum);
    }
    hn::Store(sum, d, place);
  };
#define STRATA_FINISH(r)                                                                  \
  if constexpr (r < kMicroRows) {                                                         \
    finish(r, 0, a##r);                                                                   \
    if constexpr (kVectors > 1) finish(r, 1, b##r);                                       \
    if constexpr (kVectors > 2) finish(r, 2, c##r);                                       \
  }
  STRATA_ROWS(STRATA_FINISH)
#undef STRATA_FINISH
#undef STRATA_STEP
#undef STRATA_DECLARE
#undef STRATA_ROWS
  // clang-format on
}

/// Rows of memory that will be needed soon, `bytes` of each.
struct RowsAhead {
  const std::byte* next = nullptr;
  std::int64_t stride = 0;
  std::int64_t bytes = 0;
  std::int64_t rows = 0;
};

/// Asks for memory while products are computed, a few rows after every micro-tile, so that who needs it later
/// does not wait: a list of rows, in the order in which they will be needed.
class RowPrefetch {
 public:
  HWY_INLINE void add(const RowsAhead& rows) {
    if (rows.rows <= 0 || count_ == kMaxLists) return;
    lists_[count_++] = rows;
    bytes_ += rows.rows * rows.bytes;
  }
  /// From now on everything shall have been asked for after `calls` calls of advance.
  HWY_INLINE void set_pace(std::int64_t calls) { bytes_at_a_time_ = (bytes_ + calls - 1) / calls; }

  HWY_INLINE void advance() {
    constexpr std::int64_t kLine = 64;
    for (std::int64_t asked = 0; asked < bytes_at_a_time_ && current_ < count_;) {
      RowsAhead& rows = lists_[current_];
      for (std::int64_t byte = 0; byte < rows.bytes; byte += kLine) {
        __builtin_prefetch(rows.next + byte, 0, 2);  // into the second-level cache
      }
      rows.next += rows.stride;
      asked += rows.bytes;
      bytes_ -= rows.bytes;
      if (--rows.rows == 0) ++current_;
    }
  }

 private:
  static constexpr int kMaxLists = 6;
  RowsAhead lists_[kMaxLists];
  int count_ = 0;
  int current_ = 0;
  std::int64_t bytes_ = 0;
  std::int64_t bytes_at_a_time_ = 0;
};

/// What a tile asks for ahead: the next block while it works on one, and during its last blocks what follows
/// it, its own results and the next tile's rows.
struct TilePrefetch {
  static constexpr std::int64_t kBlocksAhead = 4;
  RowPrefetch block;
  RowPrefetch tile;

  /// A block of so many micro-tiles begins; with it, `blocks` blocks are left of the tile.
  HWY_INLINE void start_block(std::int64_t micro_tiles, std::int64_t blocks) {
    block.set_pace(micro_tiles);
    if (blocks <= kBlocksAhead) tile.set_pace(micro_tiles * blocks);
  }

  HWY_INLINE void advance() {
    block.advance();
    tile.advance();
  }
};

/// products[row][lane] = sum over dim of natural[row][dim] * lanes[dim][lane] for `rows` rows, rounded up to
/// whole micro-tiles: the caller's buffers have the padding, and what is computed there is not used.
template <int kVectors>
HWY_INLINE void row_products(const float* natural, const float* lanes, std::int64_t dim, std::int64_t rows,
                             float* products, TilePrefetch* prefetch = nullptr) {
  const std::int64_t width = kVectors * vector_lanes();
  for (std::int64_t chunk = 0; chunk < chunk_count(dim); ++chunk) {
    const std::int64_t columns = std::min(kChunkColumns, dim - chunk * kChunkColumns);
    const float* rows_of_chunk = natural + chunk * kChunkFloats;
    const float* lanes_of_chunk = lanes + chunk * kChunkColumns * width;
    for (std::int64_t row = 0; row < rows; row += kMicroRows) {
      const float* from = rows_of_chunk + row * kRowStride;
      if (chunk == 0) {
        micro_product<Finish::store, kVectors, kRowStride, 1>(from, lanes_of_chunk, columns,
                                                              products + row * width, nullptr);
      } else {
        micro_product<Finish::add, kVectors, kRowStride, 1>(from, lanes_of_chunk, columns,
                                                            products + row * width, nullptr);
      }
      if (prefetch != nullptr) prefetch->advance();
    }
  }
}

/// sums[dim][lane] (+)= sum over row of natural[row][dim] * weights[row][lane], with the old sums first
/// multiplied by factor[lane] for Finish::scale_add. Sums of one block start from zero, so their rounding
/// does not grow with length.
template <Finish kFinish, int kVectors>
HWY_INLINE void column_products(const float* natural, const float* weights, std::int64_t rows,
                                std::int64_t dim, float* sums, const float* factor) {
  const std::int64_t width = kVectors * vector_lanes();
  for (std::int64_t column = 0; column < dim; column += kMicroRows) {
    const float* from = natural + column / kChunkColumns * kChunkFloats + column % kChunkColumns;
    micro_product<kFinish, kVectors, 1, kRowStride>(from, weights, rows, sums + column * width, factor);
  }
}

/// Sets products[row][lane] to -infinity for lanes outside [range.begin, range.end), lane 0 being the strip's
/// first.
template <int kVectors>
HWY_INLINE void mask_row(float* products, RowRange range) {
  const Floats d;
  const std::int64_t n = vector_lanes();
  const auto begin = hn::Set(d, static_cast<float>(std::clamp<std::int64_t>(range.begin, 0, kMaxStripLanes)));
  const auto end = hn::Set(d, static_cast<float>(std::clamp<std::int64_t>(range.end, 0, kMaxStripLanes)));
  const auto masked = hn::Set(d, -std::numeric_limits<float>::infinity());
  for (int vector = 0; vector < kVectors; ++vector) {
    float* place = products + vector * n;
    const auto lane = hn::Iota(d, static_cast<float>(vector * n));
    const auto inside = hn::And(hn::Ge(lane, begin), hn::Lt(lane, end));
    hn::Store(hn::IfThenElse(inside, hn::Load(d, place), masked), d, place);
  }
}

}  // namespace strata::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
