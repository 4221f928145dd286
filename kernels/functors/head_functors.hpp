// SPDX-License-Identifier: Apache-2.0
// The memory-bound kernels whose unit is a row and head: the merge of partial attention outputs by
// log-sum-exp (ascending part order, M = max lse, w = exp(lse - M), lse' = M + log(sum w), out' = sum (w /
// sum w) out) and the delta of the backward pass.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/functors/row_functors.hpp"

namespace strata::kernels {

STRATA_HOST_DEVICE inline float negative_infinity() { return float_of_bits(0xFF800000U); }

/// One partial result: heads dense inside a row, strides in bytes. Its out is not read where its lse is -inf.
struct MergePart {
  const void* out = nullptr;
  const float* lse = nullptr;
  std::int64_t out_stride = 0;
  std::int64_t lse_stride = 0;
  Element element = Element::f32;
};

/// Rows and heads that merge the same parts. The target may be the memory of a part with the same element and
/// strides.
struct MergeRange {
  RangeSpan span;
  void* out = nullptr;
  float* lse = nullptr;
  std::int64_t out_stride = 0;
  std::int64_t lse_stride = 0;
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  std::int64_t part_begin = 0;
  std::int32_t part_count = 0;
  std::int32_t heads = 0;
  Element element = Element::f32;
};

struct MergeFunctor {
  using Range = MergeRange;
  static constexpr bool kFinishes = true;
  struct State {
    RowHead at;
    float peak;
    float total;
  };
  const MergePart* parts = nullptr;

  static std::int64_t units(const MergeRange& range) { return range.rows * range.heads; }
  static std::int64_t chunks(const MergeRange& range) { return chunks_of(range.dim); }
  static std::int64_t unit_bytes(const MergeRange& range) { return range.dim * 2 * (1 + range.part_count); }

  STRATA_HOST_DEVICE State begin(const MergeRange& range, std::int64_t unit) const {
    State state{row_and_head(unit, range.heads), negative_infinity(), 0.0F};
    STRATA_ROLLED
    for (std::int32_t p = 0; p < range.part_count; ++p) {
      const float lse = part_lse(parts[range.part_begin + p], state.at);
      state.peak = lse > state.peak ? lse : state.peak;
    }
    STRATA_ROLLED
    for (std::int32_t p = 0; p < range.part_count; ++p) {
      state.total += weight(part_lse(parts[range.part_begin + p], state.at), state.peak);
    }
    return state;
  }

  STRATA_HOST_DEVICE float lane(const MergeRange& range, std::int64_t, std::int32_t lane,
                                const State& state) const {
    std::byte* const row = at_byte(range.out, state.at.row * range.out_stride);
    STRATA_ROLLED
    for (std::int32_t chunk = lane; chunk < chunks_of(range.dim); chunk += range.span.lanes) {
      const std::int32_t count = chunk_size(range.dim, chunk);
      const std::int64_t column = state.at.head * range.dim + std::int64_t{chunk} * kRowChunk;
      float sum[kRowChunk] = {};
      STRATA_ROLLED
      for (std::int32_t p = 0; p < range.part_count; ++p) {
        const MergePart part = parts[range.part_begin + p];
        const float lse = part_lse(part, state.at);
        if (lse == negative_infinity()) continue;
        const float share = weight(lse, state.peak) / state.total;
        float values[kRowChunk];
        load_chunk(at_byte(part.out, state.at.row * part.out_stride + column * bytes_of(part.element)),
                   part.element, count, values);
        for (int i = 0; i < kRowChunk; ++i) sum[i] += share * values[i];
      }
      store_chunk(row + column * bytes_of(range.element), range.element, count, sum);
    }
    return 0.0F;
  }

  STRATA_HOST_DEVICE void finish(const MergeRange& range, std::int64_t, const State& state, float) const {
    std::byte* const place = at_byte(range.lse, state.at.row * range.lse_stride + state.at.head * INT64_C(4));
    // Compared so that a NaN stays one.
    store_vector(place, state.total == 0.0F ? negative_infinity() : state.peak + logf(state.total));
  }

 private:
  STRATA_HOST_DEVICE static float part_lse(const MergePart& part, const RowHead& at) {
    return load_vector<float>(at_byte(part.lse, at.row * part.lse_stride + at.head * INT64_C(4)));
  }
  /// The weight of a part: 0 for an empty one, also where all are empty and -inf - -inf would be NaN.
  STRATA_HOST_DEVICE static float weight(float lse, float peak) {
    return lse == negative_infinity() ? 0.0F : expf(lse - peak);
  }
};

/// delta[row, head] = sum over dim of grad_out * out; strides in bytes, heads dense inside a row.
struct DeltaRange {
  RangeSpan span;
  float* delta = nullptr;
  const void* grad_out = nullptr;
  const void* out = nullptr;
  std::int64_t delta_stride = 0;
  std::int64_t grad_out_stride = 0;
  std::int64_t out_stride = 0;
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  std::int32_t heads = 0;
  Element grad_out_element = Element::f32;
  Element out_element = Element::f32;
};

struct DeltaFunctor {
  using Range = DeltaRange;
  static constexpr bool kFinishes = true;

  static std::int64_t units(const DeltaRange& range) { return range.rows * range.heads; }
  static std::int64_t chunks(const DeltaRange& range) { return chunks_of(range.dim); }
  static std::int64_t unit_bytes(const DeltaRange& range) { return range.dim * 4; }

  STRATA_HOST_DEVICE RowHead begin(const DeltaRange& range, std::int64_t unit) const {
    return row_and_head(unit, range.heads);
  }

  STRATA_HOST_DEVICE float lane(const DeltaRange& range, std::int64_t, std::int32_t lane, RowHead at) const {
    float sum = 0.0F;
    STRATA_ROLLED
    for (std::int32_t chunk = lane; chunk < chunks_of(range.dim); chunk += range.span.lanes) {
      const std::int32_t count = chunk_size(range.dim, chunk);
      const std::int64_t column = at.head * range.dim + std::int64_t{chunk} * kRowChunk;
      float a[kRowChunk];
      float b[kRowChunk];
      load_chunk(
          at_byte(range.grad_out, at.row * range.grad_out_stride + column * bytes_of(range.grad_out_element)),
          range.grad_out_element, count, a);
      load_chunk(at_byte(range.out, at.row * range.out_stride + column * bytes_of(range.out_element)),
                 range.out_element, count, b);
      for (int i = 0; i < kRowChunk; ++i) sum += a[i] * b[i];
    }
    return sum;
  }

  STRATA_HOST_DEVICE void finish(const DeltaRange& range, std::int64_t, RowHead at, float sum) const {
    store_vector(at_byte(range.delta, at.row * range.delta_stride + at.head * INT64_C(4)), sum);
  }
};

}  // namespace strata::kernels
