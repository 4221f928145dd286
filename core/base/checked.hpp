// SPDX-License-Identifier: Apache-2.0
// Sizes that are multiplied and added. A product that no longer fits in 63 bits stays at kUncountable, which
// is above every limit, so that an absurd input is refused where its size is compared and never wraps.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

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

/// A sum of products that is to be compared with a number somebody states. The products may have any sign. A
/// sum that does not fit in int64 is equal to no number.
class Total {
 public:
  void add(std::int64_t a, std::int64_t b, std::int64_t c = 1) {
    std::int64_t product = 0;
    fits_ = !__builtin_mul_overflow(a, b, &product) && !__builtin_mul_overflow(product, c, &product) &&
            !__builtin_add_overflow(value_, product, &value_) && fits_;
  }
  bool is(std::int64_t expected) const { return fits_ && value_ == expected; }
  bool fits() const { return fits_; }
  std::int64_t value() const { return value_; }
  std::string text() const { return fits_ ? std::to_string(value_) : "more than 2^63 - 1"; }

 private:
  std::int64_t value_ = 0;
  bool fits_ = true;
};

}  // namespace strata
