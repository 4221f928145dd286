// SPDX-License-Identifier: Apache-2.0
// Sizes that are multiplied and added. A product that no longer fits in 63 bits stays at kUncountable, which
// is above every limit, so that an absurd input is refused where its size is compared and never wraps.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace strata {

inline constexpr std::int64_t kUncountable = std::numeric_limits<std::int64_t>::max();

/// a + b of counts that are not negative.
constexpr std::int64_t checked_sum(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kUncountable : sum;
}

/// a x b of counts that are not negative; 0 times anything is 0.
constexpr std::int64_t checked_product(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (a == 0 || b == 0) return 0;
  if (a == kUncountable || b == kUncountable) return kUncountable;
  return __builtin_mul_overflow(a, b, &product) ? kUncountable : product;
}

template <typename... More>
constexpr std::int64_t checked_sum(std::int64_t a, std::int64_t b, More... more) {
  return checked_sum(checked_sum(a, b), more...);
}

template <typename... More>
constexpr std::int64_t checked_product(std::int64_t a, std::int64_t b, More... more) {
  return checked_product(checked_product(a, b), more...);
}

/// The next whole number of a size that was computed in floating point and is not negative.
inline std::int64_t checked_ceil(double value) {
  constexpr double kMost = 9.2e18;
  return value < kMost ? static_cast<std::int64_t>(std::ceil(value)) : kUncountable;
}

}  // namespace strata
