// SPDX-License-Identifier: Apache-2.0
// The vocabulary of the attention kernels: element types, shapes, row arrays and the band block, the one mask
// primitive from which causal, sliding-window, full and compressed-key attention are all composed.
#pragma once

#include <cstdint>

namespace strata::kernels {

/// Storage type of q, k, v, outputs and output gradients; f16 is IEEE binary16. Arithmetic is always fp32.
enum class Element : std::uint8_t { f32, bf16, f16 };

constexpr std::int64_t element_bytes(Element element) { return element == Element::f32 ? 4 : 2; }

/// Query head h attends with key/value head h / (query_heads / kv_heads); query_heads is a multiple of
/// kv_heads. `scale` multiplies q.k before the softmax. Head dimensions are in elements, at least 1.
struct AttentionShape {
  Element element = Element::f32;
  std::int32_t query_heads = 1;
  std::int32_t kv_heads = 1;
  std::int32_t k_dim = 1;
  std::int32_t v_dim = 1;
  float scale = 1.0F;

  [[nodiscard]] std::int32_t group() const { return query_heads / kv_heads; }
};

/// Query-side arrays of one source. All are token-major, dense and row-aligned with each other; arrays that a
/// kernel does not use may be null. `head_begin` is the absolute index of the first query head held.
///   q         [rows, head_count, k_dim] element
///   out       [rows, head_count, v_dim] element (OutputMode::write) or f32 (OutputMode::merge)
///   lse       [rows, head_count] f32, natural logarithm; forward writes it, backward reads the final value
///   grad_out  [rows, head_count, v_dim] element
///   delta     [rows, head_count] f32, the sum of grad_out * out over v_dim
///   grad_q    [rows, head_count, k_dim] f32
struct QueryRows {
  const void* q = nullptr;
  void* out = nullptr;
  float* lse = nullptr;
  const void* grad_out = nullptr;
  const float* delta = nullptr;
  float* grad_q = nullptr;
  std::int64_t rows = 0;
  std::int32_t head_begin = 0;
  std::int32_t head_count = 0;
};

/// Key-side arrays of one source; heads count key/value heads, K then V fused per head.
///   kv       [rows, head_count, k_dim + v_dim] element
///   grad_kv  [rows, head_count, k_dim + v_dim] f32
struct KeyRows {
  const void* kv = nullptr;
  float* grad_kv = nullptr;
  std::int64_t rows = 0;
  std::int32_t head_begin = 0;
  std::int32_t head_count = 0;
};

/// "No bound" for AttentionBlock::lo and ::hi; larger than any row index, small enough never to overflow.
inline constexpr std::int64_t kUnboundedAbove = std::int64_t{1} << 40;
inline constexpr std::int64_t kUnboundedBelow = -kUnboundedAbove;

/// One band of allowed pairs. Query row i (0-based inside [query_begin, query_begin + query_count)) sees key
/// row j (0-based inside [key_begin, key_begin + key_count)) iff lo <= j * key_stride - i <= hi. Row ranges
/// index the rows of QueryRows `query_source` and KeyRows `key_source`; heads are absolute *query* heads,
/// half open. Blocks of one work list must not allow the same (query row, head, key row) twice.
struct AttentionBlock {
  std::int32_t query_source = 0;
  std::int32_t key_source = 0;
  std::int64_t query_begin = 0;
  std::int64_t query_count = 0;
  std::int64_t key_begin = 0;
  std::int64_t key_count = 0;
  std::int32_t head_begin = 0;
  std::int32_t head_end = 0;
  std::int64_t lo = kUnboundedBelow;
  std::int64_t hi = kUnboundedAbove;
  std::int64_t key_stride = 1;
};

/// What a launch does with its result.
///   write  forward: out (element) and lse are the launch's result
///          a row without an allowed key gets out = 0 and lse = -inf
///          backward: gradients are overwritten
///   merge  forward: out (f32) and lse are combined with what is there (initially out = 0, lse = -inf)
///          a row without an allowed key stays unchanged
///          backward: gradients are added
/// Rows and heads that no block names are never read nor written.
enum class OutputMode : std::uint8_t { write, merge };

/// Number of allowed (query row, key row) pairs of one head, in closed form.
std::int64_t allowed_pairs(const AttentionBlock& block);

}  // namespace strata::kernels
