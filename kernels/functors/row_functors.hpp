// SPDX-License-Identifier: Apache-2.0
// The memory-bound kernels, written once: what one lane does with its chunks of one unit. Strides are bytes
// between rows, pointers are host or device memory of whoever runs the functor. A functor's `begin` and
// `lane` read what `finish` may overwrite: a team ends all lanes before it finishes. Ranges of one launch
// must not write the same bytes, nor read what another range writes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/functors/row_chunks.hpp"
#include "kernels/functors/row_ranges.hpp"

namespace strata::kernels {

struct NoState {};

/// Base of functors whose units need nothing before and nothing after their lanes.
template <class RangeType>
struct PlainFunctor {
  using Range = RangeType;
  static constexpr bool kFinishes = false;
  STRATA_HOST_DEVICE NoState begin(const Range&, std::int64_t) const { return {}; }
  STRATA_HOST_DEVICE void finish(const Range&, std::int64_t, NoState, float) const {}
};

/// Row and head of a unit that counts both. Division has 32 bits where that is enough, which it nearly always
/// is.
struct RowHead {
  std::int64_t row = 0;
  std::int32_t head = 0;
};
STRATA_HOST_DEVICE inline RowHead row_and_head(std::int64_t unit, std::int32_t heads) {
  if (unit <= INT64_C(0xFFFFFFFF)) {
    const auto small = static_cast<std::uint32_t>(unit);
    const auto row = small / static_cast<std::uint32_t>(heads);
    return {row, static_cast<std::int32_t>(small - row * static_cast<std::uint32_t>(heads))};
  }
  return {unit / heads, static_cast<std::int32_t>(unit % heads)};
}

/// `rows` rows of `row_bytes` bytes. A slice of heads of [rows, heads, dim] is a source (packing for an
/// all-to-all over heads) or target (unpacking) at its first head with the full row as its stride.
struct CopyRange {
  RangeSpan span;
  void* target = nullptr;
  const void* source = nullptr;
  std::int64_t target_stride = 0;
  std::int64_t source_stride = 0;
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;
};

struct CopyFunctor : PlainFunctor<CopyRange> {
  static std::int64_t units(const CopyRange& range) { return range.row_bytes > 0 ? range.rows : 0; }
  static std::int64_t chunks(const CopyRange& range) { return (range.row_bytes + 15) / kRowVectorBytes; }
  static std::int64_t unit_bytes(const CopyRange& range) { return range.row_bytes; }

  STRATA_HOST_DEVICE float lane(const CopyRange& range, std::int64_t unit, std::int32_t lane, NoState) const {
    std::byte* target = at_byte(range.target, unit * range.target_stride);
    const std::byte* source = at_byte(range.source, unit * range.source_stride);
    if (is_aligned(target, 16) && is_aligned(source, 16)) {
      copy<Vector16>(target, source, range.row_bytes, lane, range.span.lanes);
    } else if (is_aligned(target, 4) && is_aligned(source, 4)) {
      copy<std::uint32_t>(target, source, range.row_bytes, lane, range.span.lanes);
    } else {
      copy<std::uint8_t>(target, source, range.row_bytes, lane, range.span.lanes);
    }
    return 0.0F;
  }

 private:
  /// Several loads before the stores, so that a lane has more than one line on its way.
  template <class Vector>
  STRATA_HOST_DEVICE static void copy(std::byte* target, const std::byte* source, std::int64_t bytes,
                                      std::int32_t lane, std::int32_t lanes) {
    constexpr std::int32_t kBatch = 4;
    constexpr std::int64_t kBytes = sizeof(Vector);
    const auto vectors = static_cast<std::int32_t>(bytes / kBytes);
    std::int32_t at = lane;
    STRATA_ROLLED
    for (; at < vectors - (kBatch - 1) * lanes; at += kBatch * lanes) {
      Vector batch[kBatch];
      for (std::int32_t i = 0; i < kBatch; ++i) {
        batch[i] = load_vector<Vector>(source + (at + i * lanes) * kBytes);
      }
      for (std::int32_t i = 0; i < kBatch; ++i) store_vector(target + (at + i * lanes) * kBytes, batch[i]);
    }
    STRATA_ROLLED
    for (; at < vectors; at += lanes) {
      store_vector(target + at * kBytes, load_vector<Vector>(source + at * kBytes));
    }
    STRATA_ROLLED
    for (std::int64_t byte = vectors * kBytes + lane; byte < bytes; byte += lanes)
      target[byte] = source[byte];
  }
};

/// One summand of an addition.
struct AddPart {
  const void* source = nullptr;
  std::int64_t source_stride = 0;
  Element element = Element::f32;
};

/// target += part 0, then += part 1, ...: all that a launch adds to these rows, in the order of the parts.
struct AddRange {
  RangeSpan span;
  float* target = nullptr;
  std::int64_t target_stride = 0;
  std::int64_t columns = 0;
  std::int64_t rows = 0;
  std::int64_t part_begin = 0;
  std::int32_t part_count = 0;
};

struct AddFunctor : PlainFunctor<AddRange> {
  const AddPart* parts = nullptr;

  static std::int64_t units(const AddRange& range) { return range.columns > 0 ? range.rows : 0; }
  static std::int64_t chunks(const AddRange& range) { return chunks_of(range.columns); }
  static std::int64_t unit_bytes(const AddRange& range) { return range.columns * 4 * (1 + range.part_count); }

  STRATA_HOST_DEVICE float lane(const AddRange& range, std::int64_t unit, std::int32_t lane, NoState) const {
    std::byte* const row = at_byte(range.target, unit * range.target_stride);
    STRATA_ROLLED
    for (std::int32_t chunk = lane; chunk < chunks_of(range.columns); chunk += range.span.lanes) {
      const std::int32_t count = chunk_size(range.columns, chunk);
      const std::int64_t column = std::int64_t{chunk} * kRowChunk;
      std::byte* const target = row + column * 4;
      float sum[kRowChunk];
      load_chunk(target, Element::f32, count, sum);
      STRATA_ROLLED
      for (std::int32_t p = 0; p < range.part_count; ++p) {
        const AddPart part = parts[range.part_begin + p];
        float values[kRowChunk];
        load_chunk(at_byte(part.source, unit * part.source_stride + column * bytes_of(part.element)),
                   part.element, count, values);
        for (int i = 0; i < kRowChunk; ++i) sum[i] += values[i];
      }
      store_chunk(target, Element::f32, count, sum);
    }
    return 0.0F;
  }
};

/// Conversion between storage types, rounding to nearest even.
struct CastRange {
  RangeSpan span;
  void* target = nullptr;
  const void* source = nullptr;
  std::int64_t target_stride = 0;
  std::int64_t source_stride = 0;
  std::int64_t columns = 0;
  std::int64_t rows = 0;
  Element target_element = Element::f32;
  Element source_element = Element::f32;
};

struct CastFunctor : PlainFunctor<CastRange> {
  static std::int64_t units(const CastRange& range) { return range.columns > 0 ? range.rows : 0; }
  static std::int64_t chunks(const CastRange& range) { return chunks_of(range.columns); }
  static std::int64_t unit_bytes(const CastRange& range) {
    return range.columns * (bytes_of(range.target_element) + bytes_of(range.source_element));
  }

  STRATA_HOST_DEVICE float lane(const CastRange& range, std::int64_t unit, std::int32_t lane, NoState) const {
    std::byte* const target = at_byte(range.target, unit * range.target_stride);
    const std::byte* const source = at_byte(range.source, unit * range.source_stride);
    STRATA_ROLLED
    for (std::int32_t chunk = lane; chunk < chunks_of(range.columns); chunk += range.span.lanes) {
      const std::int32_t count = chunk_size(range.columns, chunk);
      const std::int64_t column = std::int64_t{chunk} * kRowChunk;
      float values[kRowChunk];
      load_chunk(source + column * bytes_of(range.source_element), range.source_element, count, values);
      store_chunk(target + column * bytes_of(range.target_element), range.target_element, count, values);
    }
    return 0.0F;
  }
};

/// `count` floats set to `value`.
struct FillRange {
  RangeSpan span;
  float* target = nullptr;
  std::int64_t count = 0;
  float value = 0.0F;
};

struct FillFunctor : PlainFunctor<FillRange> {
  static constexpr std::int64_t kUnitFloats = 1024;

  static std::int64_t units(const FillRange& range) { return (range.count + kUnitFloats - 1) / kUnitFloats; }
  static std::int64_t chunks(const FillRange& range) {
    return chunks_of(range.count < kUnitFloats ? range.count : kUnitFloats);
  }
  static std::int64_t unit_bytes(const FillRange& range) {
    return 4 * (range.count < kUnitFloats ? range.count : kUnitFloats);
  }

  STRATA_HOST_DEVICE float lane(const FillRange& range, std::int64_t unit, std::int32_t lane, NoState) const {
    const std::int64_t first = unit * kUnitFloats;
    const std::int64_t rest = range.count - first;
    const std::int64_t columns = rest < kUnitFloats ? rest : kUnitFloats;
    float values[kRowChunk];
    for (float& value : values) value = range.value;
    STRATA_ROLLED
    for (std::int32_t chunk = lane; chunk < chunks_of(columns); chunk += range.span.lanes) {
      store_chunk(at_byte(range.target, (first + std::int64_t{chunk} * kRowChunk) * 4), Element::f32,
                  chunk_size(columns, chunk), values);
    }
    return 0.0F;
  }
};

}  // namespace strata::kernels
