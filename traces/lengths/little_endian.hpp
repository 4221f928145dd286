// SPDX-License-Identifier: Apache-2.0
// Integers as other programs store them: least significant byte first, at any address, on any host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace strata {

/// The integer in the sizeof(Integer) bytes at `bytes`, which need no alignment.
template <typename Integer>
requires std::is_integral_v<Integer>
constexpr Integer load_little_endian(const char* bytes) {
  using Unsigned = std::make_unsigned_t<Integer>;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return static_cast<Integer>(static_cast<Unsigned>(value));
}

}  // namespace strata
