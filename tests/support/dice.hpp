// SPDX-License-Identifier: Apache-2.0
// Uniform draws that are the same on every platform, from a state so small that a table of decisions can be
// drawn anew from its key each time (splitmix64; Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", OOPSLA 2014).
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace strata::test {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  /// The dice that belong to a key: equal keys draw alike.
  Dice(std::uint64_t seed, std::initializer_list<std::int64_t> key) : state_(seed) {
    for (const std::int64_t part : key) state_ = next() ^ static_cast<std::uint64_t>(part);
  }

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  /// In [low, high].
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  std::int32_t small(std::int32_t low, std::int32_t high) {
    return static_cast<std::int32_t>(number(low, high));
  }
  bool one_in(std::int64_t n) { return number(1, n) == 1; }
  template <typename Value>
  Value& pick(std::vector<Value>& values) {
    return values[static_cast<std::size_t>(number(0, static_cast<std::int64_t>(values.size()) - 1))];
  }
  /// 0, up to `most` different numbers in (0, length), and length.
  std::vector<std::int64_t> cuts(std::int64_t length, std::int64_t most) {
    std::vector<std::int64_t> borders{0, length};
    for (std::int64_t i = number(0, most); i > 0 && length > 1; --i) borders.push_back(number(1, length - 1));
    std::sort(borders.begin(), borders.end());
    borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
    return borders;
  }

 private:
  std::uint64_t state_;
};

}  // namespace strata::test
