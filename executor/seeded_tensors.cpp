// SPDX-License-Identifier: Apache-2.0
#include "executor/seeded_tensors.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/base/check.hpp"
#include "executor/kernel_arguments.hpp"
#include "kernels/f16.hpp"
#include "kernels/row_kernels.hpp"

namespace strata {

namespace {

/// A bijective 64-bit mix (the finalizer of SplitMix64).
constexpr std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// 32-bit words only from here on: compilers turn such loops into vector code.
inline std::uint32_t word(std::uint32_t low, std::uint32_t high, std::uint32_t dim) {
  std::uint32_t x = low + dim * 0x9e3779b9U;
  x = (x ^ (x >> 16)) * 0x85ebca6bU;
  x = (x ^ (x >> 13) ^ high) * 0xc2b2ae35U;
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  return x ^ (x >> 15);
}

/// -ln(a) for a in (0, 1]. A series instead of the library, whose last digit differs between versions.
inline float negative_log(float a) {
  constexpr std::uint32_t three_quarters = 0x3f400000U;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(a) - three_quarters;
  const auto exponent = static_cast<float>(static_cast<std::int32_t>(bits) >> 23);
  const float mantissa = std::bit_cast<float>((bits & 0x007fffffU) + three_quarters);  // in [0.75, 1.5)
  const float s = (mantissa - 1.0F) / (mantissa + 1.0F);
  const float s2 = s * s;
  const float series =
      2.0F * s * (1.0F + s2 * (1.0F / 3 + s2 * (1.0F / 5 + s2 * (1.0F / 7 + s2 * (1.0F / 9)))));
  return -(exponent * 0.693147181F + series);
}

/// sqrt(2) * erfinv(x) / x in the middle of the distribution, w = -ln(1 - x * x) below 5.
inline float central(float w) {
  w -= 2.5F;
  float p = 2.81022636e-08F;
  p = 3.43273939e-07F + p * w;
  p = -3.5233877e-06F + p * w;
  p = -4.39150654e-06F + p * w;
  p = 0.00021858087F + p * w;
  p = -0.00125372503F + p * w;
  p = -0.00417768164F + p * w;
  p = 0.246640727F + p * w;
  return 1.41421356F * (1.50140941F + p * w);
}

/// The same in the tails, about one value in three hundred.
inline float tail(float w) {
  w = std::sqrt(w) - 3.0F;
  float p = -0.000200214257F;
  p = 0.000100950558F + p * w;
  p = 0.00134934322F + p * w;
  p = -0.00367342844F + p * w;
  p = 0.00573950773F + p * w;
  p = -0.0076224613F + p * w;
  p = 0.00943887047F + p * w;
  p = 1.00167406F + p * w;
  return 1.41421356F * (2.83297682F + p * w);
}

/// Words below this lie in the tails: 1 - x < 0.003374, where w passes 5.
constexpr auto kTailBits = static_cast<std::uint32_t>(0.003374 * 4294967296.0);

/// Distance of the uniform variable from 1, kept small numbers exact so that the tails are not cut off.
inline float from_one(std::uint32_t bits) {
  return (static_cast<float>(static_cast<std::int32_t>(bits >> 1)) + 0.5F) * 0x1p-31F;
}

inline float signed_as(float magnitude, std::uint32_t bits) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) ^ (bits << 31));
}

void normals(std::uint32_t low, std::uint32_t high, std::int32_t width, float* out) {
  const auto count = static_cast<std::uint32_t>(width);
  for (std::uint32_t d = 0; d < count; ++d) {
    const std::uint32_t bits = word(low, high, d);
    const float p = from_one(bits);
    out[d] = signed_as(central(negative_log(p * (2.0F - p))) * (1.0F - p), bits);
  }
  for (std::uint32_t d = 0; d < count; ++d) {
    const std::uint32_t bits = word(low, high, d);
    if (bits >= kTailBits) [[likely]]
      continue;
    const float p = from_one(bits);
    out[d] = signed_as(tail(negative_log(p * (2.0F - p))) * (1.0F - p), bits);
  }
}

template <typename Half>
void round_to(float* values, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    Half half{};
    kernels::narrow(values[i], &half);
    values[i] = kernels::widen(half);
  }
}

}  // namespace

InputShape input_shape(const ModelShape& model, InputTensor tensor) {
  switch (tensor) {
    case InputTensor::q:
      return {model.query_heads, model.head_dim};
    case InputTensor::kv:
      return {model.kv_heads, model.head_dim + model.value_head_dim};
    case InputTensor::d_o:
      return {model.query_heads, model.value_head_dim};
  }
  STRATA_CHECK(false, "input tensor {} does not exist", static_cast<int>(tensor));
}

void seeded_row(std::uint64_t seed, InputTensor tensor, std::int32_t document, std::int64_t token,
                HeadRange heads, std::int32_t width, ElementType type, float* out) {
  std::uint64_t key = mix(seed + 0x9e3779b97f4a7c15ULL * (static_cast<std::uint64_t>(tensor) + 1));
  key = mix(key ^ static_cast<std::uint64_t>(document));
  key = mix(key + static_cast<std::uint64_t>(token));
  for (std::int32_t head = heads.begin; head < heads.end; ++head) {
    const std::uint64_t head_key = mix(key ^ (static_cast<std::uint64_t>(head) << 40));
    float* values = out + static_cast<std::int64_t>(head - heads.begin) * width;
    normals(static_cast<std::uint32_t>(head_key), static_cast<std::uint32_t>(head_key >> 32), width, values);
  }
  const std::int64_t count = static_cast<std::int64_t>(heads.count()) * width;
  if (type == ElementType::bf16) round_to<kernels::Bf16>(out, count);
  if (type == ElementType::f16) round_to<kernels::F16>(out, count);
}

void fill_rows(std::uint64_t seed, InputTensor tensor, const TokenSpan& span, const InputShape& shape,
               ElementType type, std::byte* target, std::span<float> scratch) {
  const std::int64_t count = static_cast<std::int64_t>(shape.heads) * shape.width;
  const std::int64_t row_bytes = count * element_bytes(type);
  STRATA_CHECK(static_cast<std::int64_t>(scratch.size()) >= count, "scratch of {} floats for rows of {}",
               scratch.size(), count);
  for (std::int64_t token = span.begin; token < span.end; ++token) {
    std::byte* row = target + (token - span.begin) * row_bytes;
    seeded_row(seed, tensor, span.document, token, {0, shape.heads}, shape.width, ElementType::f32,
               scratch.data());
    kernels::convert_rows(row, kernel_element(type), count, scratch.data(), kernels::Element::f32, count,
                          count, 1);
  }
}

std::vector<double> seeded_values(std::uint64_t seed, InputTensor tensor, const TokenSpan& span,
                                  HeadRange heads, std::int32_t width, ElementType type) {
  const std::int64_t count = static_cast<std::int64_t>(heads.count()) * width;
  std::vector<float> row(static_cast<std::size_t>(count));
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(count * span.length()));
  for (std::int64_t token = span.begin; token < span.end; ++token) {
    seeded_row(seed, tensor, span.document, token, heads, width, type, row.data());
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

}  // namespace strata
