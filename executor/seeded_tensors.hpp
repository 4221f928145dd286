// SPDX-License-Identifier: Apache-2.0
// Deterministic inputs: unit normal values that depend only on (seed, tensor, document, token, head,
// dimension), so that every layout, rank count and executor sees the same q, kv and d_o, and an oracle can
// make any row of them again. Values are rounded to the storage type before anything computes with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/problem/token_span.hpp"

namespace strata {

enum class InputTensor : std::uint8_t { q, kv, d_o };

/// Shape of one input: [tokens, heads, width]. kv counts KV heads and holds K, then V, per head.
struct InputShape {
  std::int32_t heads = 1;
  std::int32_t width = 1;
};
InputShape input_shape(const ModelShape& model, InputTensor tensor);

/// One row's heads [heads.begin, heads.end): `out` holds heads.count() * width floats, already rounded to
/// `type`. Source of the inverse normal distribution: M. Giles, "Approximating the erfinv function" (2010).
void seeded_row(std::uint64_t seed, InputTensor tensor, std::int32_t document, std::int64_t token,
                HeadRange heads, std::int32_t width, ElementType type, float* out);

/// Writes `span` as dense rows of `type` to `target`, all heads. `scratch` holds at least heads * width
/// floats.
void fill_rows(std::uint64_t seed, InputTensor tensor, const TokenSpan& span, const InputShape& shape,
               ElementType type, std::byte* target, std::span<float> scratch);

/// Heads `heads` of all tokens of `span` for the oracle: [span.length(), heads.count(), width].
std::vector<double> seeded_values(std::uint64_t seed, InputTensor tensor, const TokenSpan& span,
                                  HeadRange heads, std::int32_t width, ElementType type);

}  // namespace strata
