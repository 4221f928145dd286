// SPDX-License-Identifier: Apache-2.0
// Memory-bound kernels: one pass over the data, vector loads and stores, no temporary memory.
#include "kernels/row_kernels.hpp"

#include <hwy/cache_control.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/row_kernels.cpp"
#include <hwy/foreach_target.h>

#include "kernels/rows.inl"

HWY_BEFORE_NAMESPACE();
namespace strata::kernels::HWY_NAMESPACE {

template <class Source>
void add_rows_of(float* target, std::int64_t target_stride, const Source* source, std::int64_t source_stride,
                 std::int64_t columns, std::int64_t rows) {
  for (std::int64_t r = 0; r < rows; ++r)
    add_row(target + r * target_stride, source + r * source_stride, columns);
}

void add_rows_target(float* target, std::int64_t target_stride, const void* source, Element element,
                     std::int64_t source_stride, std::int64_t columns, std::int64_t rows) {
  with_storage(element, [&](auto storage) HWY_ATTR {
    using Source = typename decltype(storage)::Type;
    add_rows_of(target, target_stride, static_cast<const Source*>(source), source_stride, columns, rows);
  });
}

template <class Target, class Source>
void convert_rows_of(Target* target, std::int64_t target_stride, const Source* source,
                     std::int64_t source_stride, std::int64_t columns, std::int64_t rows) {
  for (std::int64_t r = 0; r < rows; ++r) {
    convert_row(target + r * target_stride, source + r * source_stride, columns);
  }
}

void convert_rows_target(void* target, Element target_element, std::int64_t target_stride, const void* source,
                         Element source_element, std::int64_t source_stride, std::int64_t columns,
                         std::int64_t rows) {
  with_storage(target_element, [&](auto target_storage) HWY_ATTR {
    using Target = typename decltype(target_storage)::Type;
    with_storage(source_element, [&](auto source_storage) HWY_ATTR {
      using Source = typename decltype(source_storage)::Type;
      convert_rows_of(static_cast<Target*>(target), target_stride, static_cast<const Source*>(source),
                      source_stride, columns, rows);
    });
  });
}

/// One part of a merge as seen by one row and head.
struct WeightedRow {
  const void* row;
  float weight;
  Element element;
};

/// How far ahead of its use the memory of a part is asked for: hardware prefetchers give up at page
/// boundaries and with many parts.
inline constexpr std::int64_t kPrefetchElements = 1024;

/// target = sum over parts of weight * row, in the order given. The target may be one of the rows. `Source`
/// is the type of all parts.
template <class Source, class Target>
HWY_INLINE void weighted_sum(Target* target, const WeightedRow* parts, std::int64_t count, std::int64_t dim) {
  const Floats d;
  const std::int64_t n = vector_lanes();
  const auto row = [&](std::int64_t part) HWY_ATTR { return static_cast<const Source*>(parts[part].row); };
  for (std::int64_t p = 0; p < count; ++p) prefetch_row(row(p) + kPrefetchElements, dim);
  std::int64_t column = 0;
  for (; column + n <= dim; column += n) {
    auto sum = hn::Zero(d);
    for (std::int64_t p = 0; p < count; ++p) {
      sum = hn::MulAdd(load_floats(d, row(p) + column), hn::Set(d, parts[p].weight), sum);
    }
    store_floats(sum, target + column);
  }
  for (; column < dim; ++column) {
    float sum = 0.0F;
    for (std::int64_t p = 0; p < count; ++p) sum += widen(row(p)[column]) * parts[p].weight;
    narrow(sum, target + column);
  }
}

/// The same for parts of several types.
template <class Target>
HWY_INLINE void mixed_sum(Target* target, const WeightedRow* parts, std::int64_t count, std::int64_t dim) {
  for (std::int64_t column = 0; column < dim; ++column) {
    float sum = 0.0F;
    for (std::int64_t p = 0; p < count; ++p) {
      with_storage(parts[p].element, [&](auto storage) HWY_ATTR {
        using Source = typename decltype(storage)::Type;
        sum += widen(static_cast<const Source*>(parts[p].row)[column]) * parts[p].weight;
      });
    }
    narrow(sum, target + column);
  }
}

template <class Target>
HWY_INLINE void sum_parts(Target* target, const WeightedRow* parts, std::int64_t count, std::int64_t dim) {
  const Element element = count == 0 ? Element::f32 : parts[0].element;
  const bool uniform = std::all_of(parts, parts + count,
                                   [&](const WeightedRow& part) HWY_ATTR { return part.element == element; });
  if (!uniform) return mixed_sum(target, parts, count, dim);
  with_storage(element, [&](auto storage) HWY_ATTR {
    weighted_sum<typename decltype(storage)::Type>(target, parts, count, dim);
  });
}

/// Fills `rows` with the contributing parts of one (row, head) and returns their number and, in `lse`, the
/// sum's.
HWY_INLINE std::int64_t weigh_parts(std::span<const PartialOutput> parts, std::int64_t row, std::int64_t head,
                                    std::int64_t heads, std::int64_t dim, WeightedRow* rows, float* lse) {
  constexpr float kEmpty = -std::numeric_limits<float>::infinity();
  std::int64_t count = 0;
  float peak = kEmpty;
  for (const PartialOutput& part : parts) {
    const std::int64_t stride = part.lse_stride == 0 ? heads : part.lse_stride;
    const float value = part.lse[row * stride + head];
    if (value == kEmpty) continue;
    const std::int64_t out_stride = part.out_stride == 0 ? heads * dim : part.out_stride;
    const std::int64_t place = row * out_stride + head * dim;
    const std::byte* out = static_cast<const std::byte*>(part.out) + place * element_bytes(part.element);
    rows[count++] = {out, value, part.element};
    peak = std::max(peak, value);
  }
  *lse = kEmpty;
  if (count == 0) return 0;
  if (count == 1) {  // nothing to weigh: the copy is exact
    *lse = rows[0].weight;
    rows[0].weight = 1.0F;
    return 1;
  }
  float total = 0.0F;
  for (std::int64_t p = 0; p < count; ++p) {
    rows[p].weight = std::exp(rows[p].weight - peak);
    total += rows[p].weight;
  }
  for (std::int64_t p = 0; p < count; ++p) rows[p].weight /= total;
  *lse = peak + std::log(total);
  return count;
}

void merge_target(const MergedOutput& target, std::span<const PartialOutput> parts, std::int64_t rows,
                  std::int64_t heads, std::int64_t dim) {
  WeightedRow weighted[kMaxMergeParts];
  const std::int64_t out_stride = target.out_stride == 0 ? heads * dim : target.out_stride;
  const std::int64_t lse_stride = target.lse_stride == 0 ? heads : target.lse_stride;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t head = 0; head < heads; ++head) {
      float lse = 0.0F;
      const std::int64_t count = weigh_parts(parts, row, head, heads, dim, weighted, &lse);
      const std::int64_t place = row * out_stride + head * dim;
      with_storage(target.element, [&](auto storage) HWY_ATTR {
        sum_parts(static_cast<typename decltype(storage)::Type*>(target.out) + place, weighted, count, dim);
      });
      target.lse[row * lse_stride + head] = lse;
    }
  }
}

/// Copies kStreams runs of `count` floats that lie one after the other, all at the same time: the hardware
/// follows several streams better than one. `to` is aligned, `count` a multiple of the vector.
template <int kStreams>
HWY_INLINE void stream_floats(float* HWY_RESTRICT to, const float* HWY_RESTRICT from, std::int64_t count) {
  const Floats d;
  for (std::int64_t i = 0; i < count; i += vector_lanes()) {
    for (int s = 0; s < kStreams; ++s) hn::Stream(hn::LoadU(d, from + s * count + i), d, to + s * count + i);
  }
}

void stream_bytes(std::byte* to, const std::byte* from, std::int64_t bytes) {
  constexpr std::int64_t kLine = 64;
  constexpr int kStreams = 4;
  constexpr std::int64_t kPage = 4096;
  const auto before = static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(to) % kLine);
  const std::int64_t ragged = std::min(bytes, before);
  std::memcpy(to, from, static_cast<std::size_t>(ragged));
  std::int64_t done = ragged;
  const auto stream = [&](auto streams) HWY_ATTR {
    const std::int64_t run = (bytes - done) / (streams.value * kLine) * kLine;
    stream_floats<streams.value>(reinterpret_cast<float*>(to + done),
                                 reinterpret_cast<const float*>(from + done),
                                 run / static_cast<std::int64_t>(sizeof(float)));
    done += streams.value * run;
  };
  if (bytes >= kStreams * 2 * kPage) stream(std::integral_constant<int, kStreams>());
  stream(std::integral_constant<int, 1>());
  std::memcpy(to + done, from + done, static_cast<std::size_t>(bytes - done));
}

void stream_target(std::byte* to, std::int64_t target_stride, const std::byte* from,
                   std::int64_t source_stride, std::int64_t row_bytes, std::int64_t rows) {
  if (target_stride == row_bytes && source_stride == row_bytes) {
    row_bytes *= rows;
    rows = std::min<std::int64_t>(rows, 1);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::byte* ahead = from + std::min(r + kRowsAhead, rows - 1) * source_stride;
    if (rows > 1) prefetch_row(ahead, row_bytes);
    stream_bytes(to + r * target_stride, from + r * source_stride, row_bytes);
  }
  hwy::FlushStream();
}

void stream_fill_target(float* target, float value, std::int64_t count) {
  const Floats d;
  const std::int64_t n = vector_lanes();
  constexpr std::int64_t kLine = 64;
  constexpr std::int64_t kFloatBytes = sizeof(float);
  const auto before =
      static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(target) % kLine) / kFloatBytes;
  const auto values = hn::Set(d, value);
  std::int64_t i = 0;
  for (; i < std::min(before, count); ++i) target[i] = value;
  for (; i + n <= count; i += n) hn::Stream(values, d, target + i);
  for (; i < count; ++i) target[i] = value;
  hwy::FlushStream();
}

template <class A, class B>
HWY_INLINE void delta_of(float* delta, const A* a, const B* b, std::int64_t count, std::int64_t dim) {
  const Floats d;
  const std::int64_t n = vector_lanes();
  for (std::int64_t i = 0; i < count; ++i, a += dim, b += dim) {
    auto sum = hn::Zero(d);
    std::int64_t column = 0;
    for (; column + n <= dim; column += n) {
      sum = hn::MulAdd(load_floats(d, a + column), load_floats(d, b + column), sum);
    }
    float total = hn::GetLane(hn::SumOfLanes(d, sum));
    for (; column < dim; ++column) total += widen(a[column]) * widen(b[column]);
    delta[i] = total;
  }
}

void delta_target(float* delta, const void* grad_out, Element grad_out_element, const void* out,
                  Element out_element, std::int64_t count, std::int64_t dim) {
  with_storage(grad_out_element, [&](auto grad_storage) HWY_ATTR {
    with_storage(out_element, [&](auto out_storage) HWY_ATTR {
      delta_of(delta, static_cast<const typename decltype(grad_storage)::Type*>(grad_out),
               static_cast<const typename decltype(out_storage)::Type*>(out), count, dim);
    });
  });
}

}  // namespace strata::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace strata::kernels {

HWY_EXPORT(add_rows_target);
HWY_EXPORT(convert_rows_target);
HWY_EXPORT(stream_target);
HWY_EXPORT(stream_fill_target);
HWY_EXPORT(merge_target);
HWY_EXPORT(delta_target);

void copy_rows(void* target, std::int64_t target_stride, const void* source, std::int64_t source_stride,
               std::int64_t row_bytes, std::int64_t rows) {
  auto* to = static_cast<std::byte*>(target);
  const auto* from = static_cast<const std::byte*>(source);
  if (target_stride == row_bytes && source_stride == row_bytes) {
    if (rows > 0) std::memcpy(to, from, static_cast<std::size_t>(rows * row_bytes));
    return;
  }
  constexpr std::int64_t kRowsAhead = 10;  // hardware prefetchers do not follow from one slice to the next
  constexpr std::int64_t kLine = 64;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t ahead = std::min(r + kRowsAhead, rows - 1);
    for (std::int64_t byte = 0; byte < row_bytes; byte += kLine) {
      __builtin_prefetch(from + ahead * source_stride + byte, 0, 2);
      __builtin_prefetch(to + ahead * target_stride + byte, 1, 2);
    }
    std::memcpy(to + r * target_stride, from + r * source_stride, static_cast<std::size_t>(row_bytes));
  }
}

void stream_rows(void* target, std::int64_t target_stride, const void* source, std::int64_t source_stride,
                 std::int64_t row_bytes, std::int64_t rows) {
  HWY_DYNAMIC_DISPATCH(stream_target)
  (static_cast<std::byte*>(target), target_stride, static_cast<const std::byte*>(source), source_stride,
   row_bytes, rows);
}

void add_rows(float* target, std::int64_t target_stride, const void* source, Element source_element,
              std::int64_t source_stride, std::int64_t columns, std::int64_t rows) {
  HWY_DYNAMIC_DISPATCH(add_rows_target)
  (target, target_stride, source, source_element, source_stride, columns, rows);
}

void convert_rows(void* target, Element target_element, std::int64_t target_stride, const void* source,
                  Element source_element, std::int64_t source_stride, std::int64_t columns,
                  std::int64_t rows) {
  if (target_element == source_element) {
    const std::int64_t bytes = element_bytes(target_element);
    copy_rows(target, target_stride * bytes, source, source_stride * bytes, columns * bytes, rows);
  } else {
    HWY_DYNAMIC_DISPATCH(convert_rows_target)
    (target, target_element, target_stride, source, source_element, source_stride, columns, rows);
  }
}

void fill(float* target, float value, std::int64_t count) {
  count = std::max<std::int64_t>(count, 0);
  if (std::bit_cast<std::uint32_t>(value) == 0) {  // the library has the best way to clear memory
    std::memset(target, 0, static_cast<std::size_t>(count) * sizeof(float));
  } else {
    std::fill_n(target, count, value);
  }
}

void stream_fill(float* target, float value, std::int64_t count) {
  HWY_DYNAMIC_DISPATCH(stream_fill_target)(target, value, count);
}

void merge_partials(const MergedOutput& target, std::span<const PartialOutput> parts, std::int64_t rows,
                    std::int64_t heads, std::int64_t dim) {
  HWY_DYNAMIC_DISPATCH(merge_target)(target, parts, rows, heads, dim);
}

void compute_delta(float* delta, const void* grad_out, Element grad_out_element, const void* out,
                   Element out_element, std::int64_t rows, std::int64_t heads, std::int64_t dim) {
  HWY_DYNAMIC_DISPATCH(delta_target)
  (delta, grad_out, grad_out_element, out, out_element, rows * heads, dim);
}

}  // namespace strata::kernels
#endif
