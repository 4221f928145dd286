// SPDX-License-Identifier: Apache-2.0
// Strong unit types: only arithmetic that makes physical sense compiles. Simulated time is an integer
// number of nanoseconds so that results are exact and comparable; FLOPs are double because a million
// tokens through eighty layers nears the end of int64.
#pragma once

#include <cmath>
#include <compare>
#include <cstdint>

namespace strata {

/// A count of payload or memory bytes.
struct Bytes {
  std::int64_t count = 0;
  auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes other) { return count += other.count, *this; }
};
constexpr Bytes operator+(Bytes a, Bytes b) { return {a.count + b.count}; }
constexpr Bytes operator-(Bytes a, Bytes b) { return {a.count - b.count}; }
constexpr Bytes operator*(Bytes a, std::int64_t n) { return {a.count * n}; }
constexpr Bytes operator*(std::int64_t n, Bytes a) { return {a.count * n}; }

/// A length of simulated or measured time, integer nanoseconds.
struct Duration {
  std::int64_t ns = 0;
  auto operator<=>(const Duration&) const = default;
  constexpr Duration& operator+=(Duration other) { return ns += other.ns, *this; }
};
constexpr Duration operator+(Duration a, Duration b) { return {a.ns + b.ns}; }
constexpr Duration operator-(Duration a, Duration b) { return {a.ns - b.ns}; }
constexpr Duration operator*(Duration a, std::int64_t n) { return {a.ns * n}; }
constexpr Duration operator*(std::int64_t n, Duration a) { return {a.ns * n}; }

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

/// Time to move or compute at a rate, rounded up to the next nanosecond: an event never ends early.
inline Duration operator/(Bytes bytes, BytesPerSecond rate) {
  return {static_cast<std::int64_t>(std::ceil(static_cast<double>(bytes.count) / rate.value * 1e9))};
}
inline Duration operator/(Flops flops, FlopsPerSecond rate) {
  return {static_cast<std::int64_t>(std::ceil(flops.count / rate.value * 1e9))};
}

}  // namespace strata
