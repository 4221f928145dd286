// SPDX-License-Identifier: Apache-2.0
// Strong unit types: only arithmetic that makes physical sense compiles. Simulated time is an integer
// number of nanoseconds so that results are exact and comparable; FLOPs are double because a million
// tokens through eighty layers nears the end of int64.
#pragma once

#include <cmath>
#include <compare>
#include <cstdint>

#include "core/base/checked.hpp"

namespace strata {

/// A count of payload or memory bytes. Sums and products that do not fit stay at kUncountable.
struct Bytes {
  std::int64_t count = 0;
  auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes other) { return count = checked_sum(count, other.count), *this; }
};
constexpr Bytes operator+(Bytes a, Bytes b) { return {checked_sum(a.count, b.count)}; }
constexpr Bytes operator-(Bytes a, Bytes b) { return {a.count - b.count}; }
constexpr Bytes operator*(Bytes a, std::int64_t n) { return {checked_product(a.count, n)}; }
constexpr Bytes operator*(std::int64_t n, Bytes a) { return a * n; }

/// A length of simulated or measured time, integer nanoseconds.
struct Duration {
  std::int64_t ns = 0;
  auto operator<=>(const Duration&) const = default;
  constexpr Duration& operator+=(Duration other) { return ns = checked_sum(ns, other.ns), *this; }
};
constexpr Duration operator+(Duration a, Duration b) { return {checked_sum(a.ns, b.ns)}; }
constexpr Duration operator-(Duration a, Duration b) { return {a.ns - b.ns}; }
constexpr Duration operator*(Duration a, std::int64_t n) { return {checked_product(a.ns, n)}; }
constexpr Duration operator*(std::int64_t n, Duration a) { return a * n; }

/// The longest time that is reckoned with, 73 years: two such times still add up within int64.
inline constexpr std::int64_t kLongestNs = std::int64_t{1} << 61;
/// Whole nanoseconds, rounded up: an event never ends early. A time longer than kLongestNs becomes
/// kLongestNs.
inline std::int64_t whole_ns(double ns) {
  return ns < static_cast<double>(kLongestNs) ? static_cast<std::int64_t>(std::ceil(ns)) : kLongestNs;
}

/// Floating point operations (a multiply-add counts two).
struct Flops {
  double count = 0;
  auto operator<=>(const Flops&) const = default;
  constexpr Flops& operator+=(Flops other) { return count += other.count, *this; }
};
constexpr Flops operator+(Flops a, Flops b) { return {a.count + b.count}; }

struct BytesPerSecond {
  double value = 0;
  auto operator<=>(const BytesPerSecond&) const = default;
};

struct FlopsPerSecond {
  double value = 0;
  auto operator<=>(const FlopsPerSecond&) const = default;
};

/// Time to move or compute at a rate.
inline Duration operator/(Bytes bytes, BytesPerSecond rate) {
  return {whole_ns(static_cast<double>(bytes.count) / rate.value * 1e9)};
}
inline Duration operator/(Flops flops, FlopsPerSecond rate) {
  return {whole_ns(flops.count / rate.value * 1e9)};
}

}  // namespace strata
