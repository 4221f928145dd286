// SPDX-License-Identifier: Apache-2.0
// Integer geometry of a band lo <= j * stride - i <= hi: which rows of one side a range of the other side
// sees.
#pragma once

#include <algorithm>
#include <cstdint>

namespace strata::kernels {

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - ((a % b != 0 && a < 0) ? 1 : 0);
}
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return -floor_div(-a, b); }

/// Half-open range of rows; empty when end <= begin.
struct RowRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  [[nodiscard]] bool empty() const { return end <= begin; }
  [[nodiscard]] RowRange clipped(std::int64_t low, std::int64_t high) const {
    return {std::max(begin, low), std::min(end, high)};
  }
};

/// Query i sees key j iff lo <= j * stride - i <= hi.
struct Band {
  std::int64_t lo = 0;
  std::int64_t hi = 0;
  std::int64_t stride = 1;

  /// Keys that at least one of the queries first..last (inclusive) sees; exact when first == last.
  [[nodiscard]] RowRange keys_seen_by_any(std::int64_t first, std::int64_t last) const {
    return {ceil_div(first + lo, stride), floor_div(last + hi, stride) + 1};
  }
  /// Keys that every query first..last sees.
  [[nodiscard]] RowRange keys_seen_by_all(std::int64_t first, std::int64_t last) const {
    return {ceil_div(last + lo, stride), floor_div(first + hi, stride) + 1};
  }
  /// Queries that see at least one of the keys first..last (inclusive); exact when first == last.
  [[nodiscard]] RowRange queries_seeing_any(std::int64_t first, std::int64_t last) const {
    return {first * stride - hi, last * stride - lo + 1};
  }
  /// Queries that see every key first..last.
  [[nodiscard]] RowRange queries_seeing_all(std::int64_t first, std::int64_t last) const {
    return {last * stride - hi, first * stride - lo + 1};
  }
};

}  // namespace strata::kernels
