// SPDX-License-Identifier: Apache-2.0
// Scalar bf16, bit-identical to the vector conversions; the tails of rows use it.
#pragma once

#include <bit>
#include <cstdint>

namespace strata::kernels {

/// Storage of one bf16 value: the upper half of the bits of a float.
struct Bf16 {
  std::uint16_t bits;
};

inline float widen(float value) { return value; }
inline float widen(Bf16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16); }

/// Round to nearest even; a NaN stays a (quiet) NaN.
inline void narrow(float value, Bf16* target) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = bits + 0x7FFFU + ((bits >> 16) & 1U);
  target->bits = static_cast<std::uint16_t>((value == value ? rounded : bits | 0x400000U) >> 16);
}
inline void narrow(float value, float* target) { *target = value; }

}  // namespace strata::kernels
