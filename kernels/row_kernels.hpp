// SPDX-License-Identifier: Apache-2.0
// Memory-bound kernels over rows: strided copies (which pack and unpack head slices), sums, conversion, the
// merge of partial attention outputs and the delta of the backward pass. All work on the rows that they are
// given, so callers split by row range. A stride is the distance between the starts of consecutive rows.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/attention_types.hpp"

namespace strata::kernels {

/// Copies `rows` rows of `row_bytes` bytes; strides in bytes. A slice of heads of a [rows, heads, dim] array
/// is a source at the first head with the full row as its stride. Ranges must not overlap.
void copy_rows(void* target, std::int64_t target_stride, const void* source, std::int64_t source_stride,
               std::int64_t row_bytes, std::int64_t rows);

/// The same with stores that go around the caches: about twice as fast for data that does not fit there,
/// slower for data that somebody reads soon.
void stream_rows(void* target, std::int64_t target_stride, const void* source, std::int64_t source_stride,
                 std::int64_t row_bytes, std::int64_t rows);

/// target += source, in fp32; `columns` elements a row, strides in elements of the respective array.
void add_rows(float* target, std::int64_t target_stride, const void* source, Element source_element,
              std::int64_t source_stride, std::int64_t columns, std::int64_t rows);

/// Converts between storage types, rounding to nearest even; NaN stays NaN, and a value above the target's
/// range becomes infinite. Strides in elements.
void convert_rows(void* target, Element target_element, std::int64_t target_stride, const void* source,
                  Element source_element, std::int64_t source_stride, std::int64_t columns,
                  std::int64_t rows);

/// Sets `count` floats to `value` (0 for gradients and outputs, -infinity for an empty lse).
void fill(float* target, float value, std::int64_t count);
/// The same with stores that go around the caches.
void stream_fill(float* target, float value, std::int64_t count);

/// One partial attention result: out [rows, heads, dim] with heads dense inside a row, lse [rows, heads]
/// natural. Strides between rows in elements (0 means dense).
struct PartialOutput {
  const void* out = nullptr;
  const float* lse = nullptr;
  Element element = Element::f32;
  std::int64_t out_stride = 0;
  std::int64_t lse_stride = 0;
};

/// Where a merge goes. May be the same memory as one of the parts with the same element and strides.
struct MergedOutput {
  void* out = nullptr;
  float* lse = nullptr;
  Element element = Element::f32;
  std::int64_t out_stride = 0;
  std::int64_t lse_stride = 0;
};

inline constexpr std::int64_t kMaxMergeParts = 1024;

/// Merges 1..kMaxMergeParts partial results of `rows` rows and `heads` heads, in the order given:
/// M = max lse, w = exp(lse - M), lse' = M + log(sum w), out' = sum (w / sum w) out, all in fp32. A part with
/// lse = -inf contributes nothing and its out is not read; all parts empty gives out = 0 and lse = -inf.
void merge_partials(const MergedOutput& target, std::span<const PartialOutput> parts, std::int64_t rows,
                    std::int64_t heads, std::int64_t dim);

/// delta[row, head] = sum over dim of grad_out * out. All arrays dense.
void compute_delta(float* delta, const void* grad_out, Element grad_out_element, const void* out,
                   Element out_element, std::int64_t rows, std::int64_t heads, std::int64_t dim);

}  // namespace strata::kernels
