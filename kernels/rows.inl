// SPDX-License-Identifier: Apache-2.0
// Moving rows between their storage type and fp32 tiles: widening, narrowing, transposition into lanes and
// back. Compiled once per instruction set.
// clang-format off
#if defined(STRATA_KERNELS_ROWS_INL_) == defined(HWY_TARGET_TOGGLE)
#ifdef STRATA_KERNELS_ROWS_INL_
#undef STRATA_KERNELS_ROWS_INL_
#else
#define STRATA_KERNELS_ROWS_INL_
#endif
// clang-format on

#include "kernels/bf16.hpp"
#include "kernels/simd.inl"

HWY_BEFORE_NAMESPACE();
namespace strata::kernels::HWY_NAMESPACE {

template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const Bf16* from) {
  const hn::Rebind<std::uint16_t, D> half;
  const hn::RebindToUnsigned<D> word;
  const auto bits = hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(word, bits)));
}

HWY_INLINE void store_floats(Vector value, float* to) { hn::StoreU(value, Floats(), to); }
HWY_INLINE void store_floats(Vector value, Bf16* to) {
  const hn::RebindToUnsigned<Floats> word;
  const hn::RebindToSigned<Floats> signed_word;
  const hn::Rebind<std::uint16_t, Floats> half;
  const auto bits = hn::BitCast(word, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(word, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(word, 0x7FFF)));
  const auto quiet = hn::Or(bits, hn::Set(word, 0x400000));
  // In integers: a floating-point "not equal" is false for NaN on some instruction sets.
  const auto magnitude = hn::BitCast(signed_word, hn::And(bits, hn::Set(word, 0x7FFFFFFF)));
  const auto nan = hn::RebindMask(word, hn::Gt(magnitude, hn::Set(signed_word, 0x7F800000)));
  const auto upper = hn::ShiftRight<16>(hn::IfThenElse(nan, quiet, rounded));
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(signed_word, upper)), half, reinterpret_cast<std::uint16_t*>(to));
}

/// target = source, converted.
template <class Target, class Source>
HWY_INLINE void convert_row(Target* HWY_RESTRICT target, const Source* HWY_RESTRICT source,
                            std::int64_t columns) {
  const std::int64_t n = vector_lanes();
  std::int64_t column = 0;
  for (; column + n <= columns; column += n)
    store_floats(load_floats(Floats(), source + column), target + column);
  for (; column < columns; ++column) narrow(widen(source[column]), target + column);
}

/// target += source.
template <class Source>
HWY_INLINE void add_row(float* HWY_RESTRICT target, const Source* HWY_RESTRICT source, std::int64_t columns) {
  const Floats d;
  const std::int64_t n = vector_lanes();
  std::int64_t column = 0;
  for (; column + n <= columns; column += n) {
    hn::StoreU(hn::Add(hn::LoadU(d, target + column), load_floats(d, source + column)), d, target + column);
  }
  for (; column < columns; ++column) target[column] += widen(source[column]);
}

/// target = target * old_weight + source * weight.
HWY_INLINE void blend_row(float* HWY_RESTRICT target, float old_weight, const float* HWY_RESTRICT source,
                          float weight, std::int64_t columns) {
  const Floats d;
  const std::int64_t n = vector_lanes();
  const auto old_factor = hn::Set(d, old_weight);
  const auto factor = hn::Set(d, weight);
  std::int64_t column = 0;
  for (; column + n <= columns; column += n) {
    const auto scaled = hn::Mul(hn::LoadU(d, target + column), old_factor);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, source + column), factor, scaled), d, target + column);
  }
  for (; column < columns; ++column) target[column] = target[column] * old_weight + source[column] * weight;
}

/// Asks for a row that will be needed soon.
template <class T>
HWY_INLINE void prefetch_row(const T* row, std::int64_t columns) {
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t column = 0; column < columns; column += kLine) __builtin_prefetch(row + column, 0, 2);
}

/// Widens one row of `dim` elements into natural row `row` of a chunked block.
template <class T>
HWY_INLINE void pack_natural_row(const T* source, std::int64_t dim, float* natural, std::int64_t row) {
  for (std::int64_t chunk = 0; chunk < chunk_count(dim); ++chunk) {
    const std::int64_t first = chunk * kChunkColumns;
    convert_row(natural + chunk * kChunkFloats + row * kRowStride, source + first,
                std::min(kChunkColumns, dim - first));
  }
}

#if HWY_TARGET == HWY_SCALAR

/// See below; without vectors there is nothing to gain from transposing several rows at a time.
template <class T, class RowOf>
HWY_INLINE void pack_strip(std::int64_t width, std::int64_t valid, std::int64_t dim, float scale,
                           float* lanes, const RowOf& row_of) {
  for (std::int64_t lane = 0; lane < width; ++lane) {
    const T* from = lane < valid ? row_of(lane) : nullptr;
    for (std::int64_t c = 0; c < dim; ++c) {
      lanes[c * width + lane] = from != nullptr ? widen(from[c]) * scale : 0.0F;
    }
  }
}

template <class Sink>
HWY_INLINE void unpack_strip(const float* sums, std::int64_t width, std::int64_t valid, std::int64_t dim,
                             const float* factor, float* row, const Sink& sink) {
  for (std::int64_t lane = 0; lane < valid; ++lane) {
    for (std::int64_t c = 0; c < dim; ++c) row[c] = sums[c * width + lane] * factor[lane];
    sink(lane, row);
  }
}

#else

using Quad = hn::FixedTag<float, 4>;
using QuadVector = hn::Vec<Quad>;

HWY_INLINE void transpose_quads(QuadVector& a, QuadVector& b, QuadVector& c, QuadVector& d) {
  const Quad q;
  const auto ab_low = hn::InterleaveLower(q, a, b);
  const auto cd_low = hn::InterleaveLower(q, c, d);
  const auto ab_high = hn::InterleaveUpper(q, a, b);
  const auto cd_high = hn::InterleaveUpper(q, c, d);
  a = hn::ConcatLowerLower(q, cd_low, ab_low);
  b = hn::ConcatUpperUpper(q, cd_low, ab_low);
  c = hn::ConcatLowerLower(q, cd_high, ab_high);
  d = hn::ConcatUpperUpper(q, cd_high, ab_high);
}

/// lanes[column * width + l] = scale * row_of(l)[column] for the strip's lanes l < valid, 0 up to `width` (a
/// multiple of four).
template <class T, class RowOf>
HWY_INLINE void pack_strip(std::int64_t width, std::int64_t valid, std::int64_t dim, float scale,
                           float* lanes, const RowOf& row_of) {
  const Quad q;
  const auto factor = hn::Set(q, scale);
  for (std::int64_t lane = 0; lane < width; lane += 4) {
    std::int64_t column = 0;
    for (std::int64_t l = lane + 4; l < std::min(lane + 8, valid); ++l) prefetch_row(row_of(l), dim);
    if (lane + 4 <= valid) {
      const T* from0 = row_of(lane);
      const T* from1 = row_of(lane + 1);
      const T* from2 = row_of(lane + 2);
      const T* from3 = row_of(lane + 3);
      for (; column + 4 <= dim; column += 4) {
        auto a = load_floats(q, from0 + column);
        auto b = load_floats(q, from1 + column);
        auto c = load_floats(q, from2 + column);
        auto e = load_floats(q, from3 + column);
        transpose_quads(a, b, c, e);
        float* to = lanes + column * width + lane;
        hn::StoreU(hn::Mul(a, factor), q, to);
        hn::StoreU(hn::Mul(b, factor), q, to + width);
        hn::StoreU(hn::Mul(c, factor), q, to + 2 * width);
        hn::StoreU(hn::Mul(e, factor), q, to + 3 * width);
      }
    }
    for (std::int64_t l = lane; l < lane + 4; ++l) {
      const T* from = l < valid ? row_of(l) : nullptr;
      for (std::int64_t c = column; c < dim; ++c) {
        lanes[c * width + l] = from != nullptr ? widen(from[c]) * scale : 0.0F;
      }
    }
  }
}

/// The way back: hands row `lane` of a strip of sums, each lane multiplied by factor[lane], to sink(lane,
/// row). `row` has room for four padded rows.
template <class Sink>
HWY_INLINE void unpack_strip(const float* sums, std::int64_t width, std::int64_t valid, std::int64_t dim,
                             const float* factor, float* row, const Sink& sink) {
  const Quad q;
  const std::int64_t stride = padded_dim(dim);
  for (std::int64_t lane = 0; lane < valid; lane += 4) {
    const auto scale = hn::LoadU(q, factor + lane);
    for (std::int64_t column = 0; column < stride; column += 4) {
      const float* from = sums + column * width + lane;
      auto a = hn::Mul(hn::LoadU(q, from), scale);
      auto b = hn::Mul(hn::LoadU(q, from + width), scale);
      auto c = hn::Mul(hn::LoadU(q, from + 2 * width), scale);
      auto e = hn::Mul(hn::LoadU(q, from + 3 * width), scale);
      transpose_quads(a, b, c, e);
      hn::StoreU(a, q, row + column);
      hn::StoreU(b, q, row + stride + column);
      hn::StoreU(c, q, row + 2 * stride + column);
      hn::StoreU(e, q, row + 3 * stride + column);
    }
    const std::int64_t count = std::min<std::int64_t>(4, valid - lane);
    for (std::int64_t l = 0; l < count; ++l) sink(lane + l, row + l * stride);
  }
}

#endif

}  // namespace strata::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
