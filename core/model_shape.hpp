// SPDX-License-Identifier: Apache-2.0
// The model as far as sequence parallelism cares: shapes, element type, attention kind and mask.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/mask.hpp"
#include "core/units.hpp"

namespace strata {

enum class ElementType : std::uint8_t { f32, bf16, f16 };
enum class AttentionKind : std::uint8_t { dense, window };
enum class MaskKind : std::uint8_t { document_causal, full_causal };
/// What the backward pass computes again instead of keeping it from the forward pass. `selective`: the linear
/// layers between the kept inputs and attention tensors; `full`: the whole layer, its exchanges included.
enum class Recompute : std::uint8_t { none, selective, full };

/// Bounds that keep every product of sizes inside int64.
inline constexpr std::int64_t kMaxModelSize = std::int64_t{1} << 20;  ///< layers, a head's dimension
inline constexpr std::int64_t kMaxQueryHeads = 4096;

constexpr std::int64_t element_bytes(ElementType type) { return type == ElementType::f32 ? 4 : 2; }
/// "f32", "bf16" or "f16".
std::string_view to_string(ElementType type);
/// "none", "selective" or "full".
std::string_view to_string(Recompute recompute);

struct ModelShape {
  std::int32_t layers = 1;
  std::int64_t hidden = 0;
  std::int64_t ffn = 0;
  std::int64_t vocabulary = 0;  ///< tokens of the embedding; 0: not stated
  std::int32_t query_heads = 1;
  std::int32_t kv_heads = 1;
  std::int32_t head_dim = 0;        ///< of queries and keys
  std::int32_t value_head_dim = 0;  ///< of values and outputs; equals head_dim unless the file says otherwise
  ElementType element_type = ElementType::bf16;
  AttentionKind attention = AttentionKind::dense;
  std::int64_t window = 0;  ///< tokens a query sees, itself included; only with AttentionKind::window
  MaskKind mask_kind = MaskKind::document_causal;
  bool operator==(const ModelShape&) const = default;

  Mask mask() const { return {attention == AttentionKind::window ? window : 0}; }
  std::int32_t group_size() const { return query_heads / kv_heads; }
  /// The KV heads that query heads [heads.begin, heads.end) read.
  HeadRange kv_heads_of(HeadRange heads) const {
    return {heads.begin / group_size(), (heads.end + group_size() - 1) / group_size()};
  }
};

/// Throws InputError naming `where` unless all counts are positive and within the bounds above, and
/// query_heads % kv_heads == 0.
void validate(const ModelShape& model, std::string_view where);

/// Multiply-add FLOPs of the linear layers (q, k, v, o projections and a gated FFN of three matrices) for one
/// token of one layer, forward. Backward is twice that.
double linear_flops_per_token(const ModelShape& model);

/// Trained weights of all layers, and of an embedding and an output matrix where the vocabulary is stated.
/// Norms and biases are left out.
double parameter_count(const ModelShape& model);

/// The shapes that ship with Strata: tiny, llama3_8b, llama3_70b. Throws InputError for another name.
ModelShape named_model(std::string_view name);
/// Whether `name` is one of them.
bool is_named_model(std::string_view name);

}  // namespace strata
