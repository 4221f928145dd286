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

#include "kernels/attention_types.hpp"
#include "kernels/bf16.hpp"
#include "kernels/f16.hpp"
#include "kernels/simd.inl"

HWY_BEFORE_NAMESPACE();
namespace strata::kernels::HWY_NAMESPACE {

/// Names the type that holds an element.
template <class T>
struct Storage {
  using Type = T;
};

/// body(Storage<T>()) with the element's T.
template <class Body>
HWY_INLINE void with_storage(Element element, const Body& body) {
  switch (element) {
    case Element::f32:
      return body(Storage<float>());
    case Element::bf16:
      return body(Storage<Bf16>());
    case Element::f16:
      return body(Storage<F16>());
  }
}

/// Whether Highway converts half precision by instructions that round to nearest even and keep NaN. Its
/// substitutes for other instruction sets round towards zero.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)
inline constexpr bool kHalfInstructions = true;
#else
inline constexpr bool kHalfInstructions = false;
#endif

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

/// f16.hpp says what the integers do.
template <class D>
HWY_INLINE hn::Vec<D> load_floats(D d, const F16* from) {
  const hn::Rebind<std::uint16_t, D> half;
  const auto loaded = hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(from));
  if constexpr (kHalfInstructions) {
    const hn::Rebind<hwy::float16_t, D> half_float;
    return hn::PromoteTo(d, hn::BitCast(half_float, loaded));
  } else {
    const hn::RebindToUnsigned<D> word;
    const hn::RebindToSigned<D> signed_word;
    const auto bits = hn::PromoteTo(word, loaded);
    const auto magnitude = hn::And(bits, hn::Set(word, 0x7FFF));
    const auto signed_magnitude = hn::BitCast(signed_word, magnitude);
    const auto infinite = hn::RebindMask(word, hn::Gt(signed_magnitude, hn::Set(signed_word, 0x7BFF)));
    const auto nan = hn::RebindMask(word, hn::Gt(signed_magnitude, hn::Set(signed_word, 0x7C00)));
    const auto shifted = hn::ShiftLeft<13>(magnitude);
    const auto finite = hn::BitCast(word, hn::Mul(hn::BitCast(d, shifted), hn::Set(d, 0x1p112F)));
    const auto other =
        hn::Or(shifted, hn::IfThenElse(nan, hn::Set(word, 0x7FC00000), hn::Set(word, 0x7F800000)));
    const auto sign = hn::ShiftLeft<16>(hn::Xor(bits, magnitude));
    return hn::BitCast(d, hn::Or(sign, hn::IfThenElse(infinite, other, finite)));
  }
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

HWY_INLINE void store_floats(Vector value, F16* to) {
  const hn::Rebind<std::uint16_t, Floats> half;
  auto* const halves = reinterpret_cast<std::uint16_t*>(to);
  if constexpr (kHalfInstructions) {
    const hn::Rebind<hwy::float16_t, Floats> half_float;
    hn::StoreU(hn::BitCast(half, hn::DemoteTo(half_float, value)), half, halves);
  } else {
    const Floats d;
    const hn::RebindToUnsigned<Floats> word;
    const hn::RebindToSigned<Floats> signed_word;
    const auto bits = hn::BitCast(word, value);
    const auto magnitude = hn::And(bits, hn::Set(word, 0x7FFFFFFF));
    const auto above = [&](std::int32_t bound) HWY_ATTR {
      return hn::RebindMask(word, hn::Gt(hn::BitCast(signed_word, magnitude), hn::Set(signed_word, bound)));
    };
    const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(word, 1));
    const auto rounding = hn::Add(odd, hn::Set(word, 0xFFFU - 0x38000000U));
    const auto normal = hn::ShiftRight<13>(hn::Add(magnitude, rounding));
    const auto small = hn::BitCast(word, hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5F)));
    const auto subnormal = hn::Sub(small, hn::Set(word, 0x3F000000));
    const auto payload = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(word, 0x3FF));
    auto result = hn::IfThenElse(above(0x387FFFFF), normal, subnormal);
    result = hn::IfThenElse(above(0x477FEFFF), hn::Set(word, 0x7C00), result);
    result = hn::IfThenElse(above(0x7F800000), hn::Or(payload, hn::Set(word, 0x7E00)), result);
    result = hn::Or(result, hn::ShiftRight<16>(hn::Xor(bits, magnitude)));
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(signed_word, result)), half, halves);
  }
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

/// How many slices of rows ahead of its use memory is asked for: hardware prefetchers do not follow from one
/// slice to the next.
inline constexpr std::int64_t kRowsAhead = 10;

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

/// Lanes that are transposed together: 4 x 4 blocks side by side in one vector.
#if HWY_HAVE_SCALABLE
inline constexpr std::int64_t kGroupLanes = 4;
#else
inline constexpr std::int64_t kGroupLanes = static_cast<std::int64_t>(hn::MaxLanes(Floats()));
#endif
using Group = hn::FixedTag<float, kGroupLanes>;
using GroupVector = hn::Vec<Group>;

/// Transposes every 4 x 4 block.
HWY_INLINE void transpose_blocks(GroupVector& a, GroupVector& b, GroupVector& c, GroupVector& d) {
  const Group g;
  const hn::RepartitionToWide<Group> pairs;
  const auto ab_low = hn::BitCast(pairs, hn::InterleaveLower(g, a, b));
  const auto cd_low = hn::BitCast(pairs, hn::InterleaveLower(g, c, d));
  const auto ab_high = hn::BitCast(pairs, hn::InterleaveUpper(g, a, b));
  const auto cd_high = hn::BitCast(pairs, hn::InterleaveUpper(g, c, d));
  a = hn::BitCast(g, hn::InterleaveLower(pairs, ab_low, cd_low));
  b = hn::BitCast(g, hn::InterleaveUpper(pairs, ab_low, cd_low));
  c = hn::BitCast(g, hn::InterleaveLower(pairs, ab_high, cd_high));
  d = hn::BitCast(g, hn::InterleaveUpper(pairs, ab_high, cd_high));
}

/// Four columns of every fourth row, one row a block.
template <class D, class T>
HWY_INLINE hn::Vec<D> load_blocks(D d, const T* const* rows, std::int64_t column) {
  if constexpr (hn::MaxLanes(d) == 4) {
    return load_floats(d, rows[0] + column);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, load_blocks(half, rows + hn::MaxLanes(half), column),
                       load_blocks(half, rows, column));
  }
}

/// The way back: every block into one of the rows that lie 4 * stride apart.
template <class D>
HWY_INLINE void store_blocks(D d, hn::Vec<D> value, float* row, std::int64_t stride) {
  if constexpr (hn::MaxLanes(d) == 4) {
    hn::StoreU(value, d, row);
  } else {
    const hn::Half<D> half;
    store_blocks(half, hn::LowerHalf(half, value), row, stride);
    store_blocks(half, hn::UpperHalf(half, value),
                 row + static_cast<std::int64_t>(hn::MaxLanes(half)) * stride, stride);
  }
}

/// lanes[column * width + l] = scale * row_of(l)[column] for the strip's lanes l < valid; up to `width` (a
/// multiple of the vector) the last row is repeated: what is computed there is not used.
template <class T, class RowOf>
HWY_INLINE void pack_strip(std::int64_t width, std::int64_t valid, std::int64_t dim, float scale,
                           float* lanes, const RowOf& row_of) {
  const Group g;
  const auto factor = hn::Set(g, scale);
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  const T* rows[2 * kGroupLanes];
  for (std::int64_t l = 0; l < kGroupLanes; ++l) rows[l] = row_of(std::min(l, valid - 1));
  for (std::int64_t lane = 0; lane < width; lane += kGroupLanes) {
    const T** next = rows + kGroupLanes;
    for (std::int64_t l = 0; l < kGroupLanes; ++l)
      next[l] = row_of(std::min(lane + kGroupLanes + l, valid - 1));
    float* to = lanes + lane;
    std::int64_t column = 0;
    for (; column + 4 <= dim; column += 4, to += 4 * width) {
      // The next group's rows, a line of each while this group's line is transposed.
      const std::int64_t part = column % kLine / 4 * (4 * kGroupLanes / kLine);
      for (std::int64_t l = 0; l < 4 * kGroupLanes / kLine; ++l)
        __builtin_prefetch(next[part + l] + column, 0, 3);
      auto a = load_blocks(g, rows, column);
      auto b = load_blocks(g, rows + 1, column);
      auto c = load_blocks(g, rows + 2, column);
      auto e = load_blocks(g, rows + 3, column);
      transpose_blocks(a, b, c, e);
      hn::StoreU(hn::Mul(a, factor), g, to);
      hn::StoreU(hn::Mul(b, factor), g, to + width);
      hn::StoreU(hn::Mul(c, factor), g, to + 2 * width);
      hn::StoreU(hn::Mul(e, factor), g, to + 3 * width);
    }
    for (; column < dim; ++column, to += width) {
      for (std::int64_t l = 0; l < kGroupLanes; ++l) to[l] = widen(rows[l][column]) * scale;
    }
    std::copy_n(next, kGroupLanes, rows);
  }
}

/// The way back: hands row `lane` of a strip of sums, each lane multiplied by factor[lane], to sink(lane,
/// row). `row` has room for kMaxGroupLanes padded rows.
template <class Sink>
HWY_INLINE void unpack_strip(const float* sums, std::int64_t width, std::int64_t valid, std::int64_t dim,
                             const float* factor, float* row, const Sink& sink) {
  const Group g;
  static_assert(kGroupLanes <= kMaxGroupLanes);
  const std::int64_t stride = padded_dim(dim);
  for (std::int64_t lane = 0; lane < valid; lane += kGroupLanes) {
    const auto scale = hn::LoadU(g, factor + lane);
    for (std::int64_t column = 0; column < stride; column += 4) {
      const float* from = sums + column * width + lane;
      auto a = hn::Mul(hn::LoadU(g, from), scale);
      auto b = hn::Mul(hn::LoadU(g, from + width), scale);
      auto c = hn::Mul(hn::LoadU(g, from + 2 * width), scale);
      auto e = hn::Mul(hn::LoadU(g, from + 3 * width), scale);
      transpose_blocks(a, b, c, e);
      store_blocks(g, a, row + column, stride);
      store_blocks(g, b, row + stride + column, stride);
      store_blocks(g, c, row + 2 * stride + column, stride);
      store_blocks(g, e, row + 3 * stride + column, stride);
    }
    const std::int64_t count = std::min(kGroupLanes, valid - lane);
    for (std::int64_t l = 0; l < count; ++l) sink(lane + l, row + l * stride);
  }
}

#endif

}  // namespace strata::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
