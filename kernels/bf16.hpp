// SPDX-License-Identifier: Apache-2.0
// Scalar bf16, bit-identical to the vector conversions. The tails of rows use it, and so do the GPU's row
// kernels.
#pragma once

#include <cstdint>

#include "kernels/host_device.hpp"

namespace strata::kernels {

/// Storage of one bf16 value: the upper half of the bits of a float.
struct Bf16 {
  std::uint16_t bits;
};

STRATA_HOST_DEVICE inline std::uint32_t float_bits(float value) {
  return __builtin_bit_cast(std::uint32_t, value);
}
STRATA_HOST_DEVICE inline float float_of_bits(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

STRATA_HOST_DEVICE inline float widen(float value) { return value; }
STRATA_HOST_DEVICE inline float widen(Bf16 value) {
  return float_of_bits(static_cast<std::uint32_t>(value.bits) << 16);
}

/// Round to nearest even; a NaN stays a (quiet) NaN.
STRATA_HOST_DEVICE inline void narrow(float value, Bf16* target) {
#if defined(__CUDA_ARCH__)
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(target->bits) : "f"(value));
#else
  const std::uint32_t bits = float_bits(value);
  const std::uint32_t rounded = bits + 0x7FFFU + ((bits >> 16) & 1U);
  target->bits = static_cast<std::uint16_t>((value == value ? rounded : bits | 0x400000U) >> 16);
#endif
}
STRATA_HOST_DEVICE inline void narrow(float value, float* target) { *target = value; }

}  // namespace strata::kernels
