// SPDX-License-Identifier: Apache-2.0
// Scalar IEEE binary16, bit-identical to the vector conversions. The tails of rows use it, and so do the
// GPU's row kernels.
#pragma once

#include <cstdint>

#include "kernels/bf16.hpp"
#include "kernels/host_device.hpp"

namespace strata::kernels {

/// Storage of one binary16 value: 1 sign, 5 exponent and 10 fraction bits.
struct F16 {
  std::uint16_t bits;
};

/// Exact; a signalling NaN becomes a quiet one.
STRATA_HOST_DEVICE inline float widen(F16 value) {
#if defined(__CUDA_ARCH__)
  float result = 0;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
  const std::uint32_t magnitude = value.bits & 0x7FFFU;
  const std::uint32_t quiet = magnitude > 0x7C00U ? 0x400000U : 0U;
  if (magnitude >= 0x7C00U) return float_of_bits(sign | 0x7F800000U | quiet | (magnitude << 13));
  // The exponent is read as if it were a float's: 2^112 too small, subnormals included.
  return float_of_bits(sign | float_bits(float_of_bits(magnitude << 13) * 0x1p112F));
#endif
}

/// Round to nearest even, above 65519 to infinity; a NaN stays a (quiet) NaN.
STRATA_HOST_DEVICE inline void narrow(float value, F16* target) {
#if defined(__CUDA_ARCH__)
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(target->bits) : "f"(value));
#else
  const std::uint32_t sign = (float_bits(value) >> 16) & 0x8000U;
  const std::uint32_t magnitude = float_bits(value) & 0x7FFFFFFFU;
  std::uint32_t result = 0;
  if (magnitude > 0x7F800000U) {
    result = 0x7E00U | ((magnitude >> 13) & 0x3FFU);
  } else if (magnitude >= 0x477FF000U) {
    result = 0x7C00U;
  } else if (magnitude >= 0x38800000U) {  // normal: shift the exponent by 112 and round 13 bits away
    result = (magnitude - 0x38000000U + 0xFFFU + ((magnitude >> 13) & 1U)) >> 13;
  } else {
    // Subnormal: adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded by the addition.
    result = float_bits(float_of_bits(magnitude) + 0.5F) - 0x3F000000U;
  }
  target->bits = static_cast<std::uint16_t>(sign | result);
#endif
}

}  // namespace strata::kernels
