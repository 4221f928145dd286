// SPDX-License-Identifier: Apache-2.0
// Chunks of a row: what one lane loads or stores at a time. 16-byte vectors where the addresses allow it,
// single elements otherwise and at a ragged end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/attention_types.hpp"
#include "kernels/f16.hpp"
#include "kernels/host_device.hpp"

namespace strata::kernels {

/// Elements of a chunk of a typed row: one vector of 16 bits each, or two of fp32.
inline constexpr std::int32_t kRowChunk = 8;
inline constexpr std::int32_t kRowVectorBytes = 16;

struct alignas(16) Vector16 {
  std::uint32_t words[4];
};

/// Loads through memcpy on the host, where the memory has another type, and by a vector instruction on the
/// device.
template <class T>
STRATA_HOST_DEVICE T load_vector(const void* from) {
#if defined(__CUDA_ARCH__)
  return *static_cast<const T*>(from);
#else
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
#endif
}
template <class T>
STRATA_HOST_DEVICE void store_vector(void* to, const T& value) {
#if defined(__CUDA_ARCH__)
  *static_cast<T*>(to) = value;
#else
  std::memcpy(to, &value, sizeof(T));
#endif
}

STRATA_HOST_DEVICE inline const std::byte* at_byte(const void* base, std::int64_t offset) {
  return static_cast<const std::byte*>(base) + offset;
}
STRATA_HOST_DEVICE inline std::byte* at_byte(void* base, std::int64_t offset) {
  return static_cast<std::byte*>(base) + offset;
}

STRATA_HOST_DEVICE inline bool is_aligned(const void* pointer, std::int64_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % static_cast<std::uintptr_t>(bytes) == 0;
}

STRATA_HOST_DEVICE inline std::int64_t bytes_of(Element element) { return element == Element::f32 ? 4 : 2; }

/// A row has fewer than 2^31 elements.
STRATA_HOST_DEVICE inline std::int32_t chunks_of(std::int64_t columns) {
  return static_cast<std::int32_t>((columns + kRowChunk - 1) / kRowChunk);
}
STRATA_HOST_DEVICE inline std::int32_t chunk_size(std::int64_t columns, std::int32_t chunk) {
  const std::int32_t rest = static_cast<std::int32_t>(columns) - chunk * kRowChunk;
  return rest < kRowChunk ? rest : kRowChunk;
}

STRATA_HOST_DEVICE inline float load_element(const void* from, Element element) {
  if (element == Element::f32) return load_vector<float>(from);
  const auto bits = load_vector<std::uint16_t>(from);
  return element == Element::bf16 ? widen(Bf16{bits}) : widen(F16{bits});
}

STRATA_HOST_DEVICE inline std::uint16_t half_bits(float value, Element element) {
  Bf16 bf16{};
  F16 f16{};
  if (element == Element::bf16) {
    narrow(value, &bf16);
    return bf16.bits;
  }
  narrow(value, &f16);
  return f16.bits;
}

STRATA_HOST_DEVICE inline void store_element(void* to, Element element, float value) {
  if (element == Element::f32) {
    store_vector(to, value);
  } else {
    store_vector(to, half_bits(value, element));
  }
}

/// Loads `count` (1..kRowChunk) elements from `from` and zeros for the rest.
STRATA_HOST_DEVICE inline void load_chunk(const void* from, Element element, std::int32_t count,
                                          float (&values)[kRowChunk]) {
  const bool vectors = count == kRowChunk && is_aligned(from, kRowVectorBytes);
  if (element == Element::f32) {
    for (int half = 0; half < 2; ++half) {
      Vector16 words{};
      if (vectors) {
        words = load_vector<Vector16>(at_byte(from, half * kRowVectorBytes));
      } else {
        for (int i = 0; i < 4; ++i) {
          const int at = half * 4 + i;
          if (at < count) words.words[i] = load_vector<std::uint32_t>(at_byte(from, at * 4));
        }
      }
      for (int i = 0; i < 4; ++i) values[half * 4 + i] = float_of_bits(words.words[i]);
    }
    return;
  }
  Vector16 words{};
  if (vectors) {
    words = load_vector<Vector16>(from);
  } else {
    for (int i = 0; i < kRowChunk; ++i) {
      if (i < count)
        words.words[i / 2] |= std::uint32_t{load_vector<std::uint16_t>(at_byte(from, i * 2))} << (i % 2 * 16);
    }
  }
  for (int i = 0; i < kRowChunk; ++i) {
    const auto bits = static_cast<std::uint16_t>(words.words[i / 2] >> (i % 2 * 16));
    values[i] = element == Element::bf16 ? widen(Bf16{bits}) : widen(F16{bits});
  }
}

STRATA_HOST_DEVICE inline void store_chunk(void* to, Element element, std::int32_t count,
                                           const float (&values)[kRowChunk]) {
  const bool vectors = count == kRowChunk && is_aligned(to, kRowVectorBytes);
  if (element == Element::f32) {
    for (int half = 0; half < 2; ++half) {
      Vector16 words;
      for (int i = 0; i < 4; ++i) words.words[i] = float_bits(values[half * 4 + i]);
      if (vectors) {
        store_vector(at_byte(to, half * kRowVectorBytes), words);
      } else {
        for (int i = 0; i < 4; ++i) {
          const int at = half * 4 + i;
          if (at < count) store_vector(at_byte(to, at * 4), words.words[i]);
        }
      }
    }
    return;
  }
  Vector16 words;
  for (int i = 0; i < 4; ++i) {
    words.words[i] = half_bits(values[2 * i], element) |
                     static_cast<std::uint32_t>(half_bits(values[2 * i + 1], element)) << 16;
  }
  if (vectors) {
    store_vector(to, words);
  } else {
    for (int i = 0; i < kRowChunk; ++i) {
      const auto bits = static_cast<std::uint16_t>(words.words[i / 2] >> (i % 2 * 16));
      if (i < count) store_vector(at_byte(to, i * 2), bits);
    }
  }
}

}  // namespace strata::kernels
