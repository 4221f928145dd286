// SPDX-License-Identifier: Apache-2.0
// A stable 128-bit content digest (two independent 64-bit FNV-1a style lanes with a final avalanche) for
// telling plans, inputs and programs apart. It is not cryptographic: lint recomputes everything and trusts no
// digest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace strata {

class Digest {
 public:
  void add_bytes(const void* data, std::size_t size);
  void add(std::string_view text);  ///< the length first, so that concatenations differ
  template <typename Integer>
  requires std::is_integral_v<Integer> || std::is_enum_v<Integer>
  void add(Integer value) { add_word(static_cast<std::uint64_t>(value)); }
  /// Two words at the price of one, for long lists: each lane takes both, mixed in its own way.
  void add_pair(std::uint64_t a, std::uint64_t b) {
    first_ = (first_ ^ a ^ (b * 0xff51afd7ed558ccdULL)) * kFirst;
    first_ ^= first_ >> 29;
    second_ = (second_ + (b ^ (a * 0xc4ceb9fe1a85ec53ULL))) * kSecond;
    second_ ^= second_ >> 32;
  }
  /// 32 lower-case hexadecimal digits.
  std::string text() const;

 private:
  void add_word(std::uint64_t word) {
    first_ = (first_ ^ word) * kFirst;
    first_ ^= first_ >> 29;
    second_ = (second_ + word) * kSecond;
    second_ ^= second_ >> 32;
  }
  static constexpr std::uint64_t kFirst = 0x100000001b3ULL;
  static constexpr std::uint64_t kSecond = 0x9e3779b97f4a7c15ULL;
  std::uint64_t first_ = 0x9ae16a3b2f90404fULL;
  std::uint64_t second_ = 0xc949d7c7509e6557ULL;
};

std::string digest_of(std::string_view text);

}  // namespace strata
