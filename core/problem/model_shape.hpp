// SPDX-License-Identifier: Apache-2.0
// The model as far as sequence parallelism cares: shapes, element type, attention kind and mask.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/units.hpp"
#include "core/problem/mask.hpp"

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
inline constexpr std::int64_t kMaxExperts = std::int64_t{1} << 16;

constexpr std::int64_t element_bytes(ElementType type) { return type == ElementType::f32 ? 4 : 2; }
/// "f32", "bf16" or "f16".
std::string_view to_string(ElementType type);
/// "none", "selective" or "full".
std::string_view to_string(Recompute recompute);

/// Mixture of experts: in all layers but `dense_layers` the feed-forward network is a choice among experts.
struct ExpertShape {
  /// Experts of a layer among which a router chooses; 0: a model without experts.
  std::int32_t routed = 0;
  std::int32_t per_token = 0;     ///< experts that a token passes
  std::int64_t ffn = 0;           ///< inner width of one expert
  std::int64_t shared_ffn = 0;    ///< inner width of the experts that every token passes, together
  std::int32_t dense_layers = 0;  ///< layers without experts
  bool operator==(const ExpertShape&) const = default;
};

/// Multi-head latent attention: queries, and keys with values, come out of short rows by a second projection
/// (DeepSeek-AI, "DeepSeek-V2", 2024, section 2.1). Training expands them, so attention sees ordinary heads.
struct LatentShape {
  std::int64_t kv_rank = 0;        ///< width of the row that keys and values share; 0: ordinary projections
  std::int64_t query_rank = 0;     ///< width of the row that queries come from; 0: one ordinary projection
  std::int64_t rope_head_dim = 0;  ///< the part of head_dim with positions; all KV heads share its key
  bool operator==(const LatentShape&) const = default;
};

struct ModelShape {
  std::int32_t layers = 1;
  std::int64_t hidden = 0;
  std::int64_t ffn = 0;           ///< inner width of layers without experts; 0 where there are none
  std::int32_t ffn_matrices = 3;  ///< 3: gated, 2: not; of experts too
  std::int64_t vocabulary = 0;    ///< tokens of the embedding; 0: not stated
  bool tied_embeddings = false;   ///< embedding and output layer are one matrix
  std::int32_t query_heads = 1;
  std::int32_t kv_heads = 1;
  std::int32_t head_dim = 0;        ///< of queries and keys
  std::int32_t value_head_dim = 0;  ///< of values and outputs; equals head_dim unless the file says otherwise
  ElementType element_type = ElementType::bf16;
  AttentionKind attention = AttentionKind::dense;
  std::int64_t window = 0;  ///< tokens a query sees, itself included; only with AttentionKind::window
  MaskKind mask_kind = MaskKind::document_causal;
  ExpertShape experts;
  LatentShape latent;
  bool operator==(const ModelShape&) const = default;

  Mask mask() const { return {attention == AttentionKind::window ? window : 0}; }
  std::int32_t group_size() const { return query_heads / kv_heads; }
  /// The KV heads that query heads [heads.begin, heads.end) read.
  HeadRange kv_heads_of(HeadRange heads) const {
    return {heads.begin / group_size(), (heads.end + group_size() - 1) / group_size()};
  }
};

/// Throws InputError naming `where` unless all counts are positive and within the bounds above,
/// query_heads % kv_heads == 0, and experts and latent rows fit the rest.
void validate(const ModelShape& model, std::string_view where);

/// Layers whose feed-forward network is a choice among experts.
constexpr std::int32_t expert_layers(const ModelShape& model) {
  return model.experts.routed > 0 ? model.layers - model.experts.dense_layers : 0;
}

/// Inner width of all that a token passes in one layer's feed-forward network, as the mean over the layers.
double active_ffn(const ModelShape& model);

/// Multiply-add FLOPs of the linear layers (projections of attention, router, and the feed-forward network or
/// the experts that a token passes) for one token of one layer, forward, as the mean over the layers.
/// Backward is twice that.
double linear_flops_per_token(const ModelShape& model);

/// Trained weights of all layers with all experts, and of an embedding and an output matrix (one where they
/// are tied) where the vocabulary is stated. Norms and biases are left out.
double parameter_count(const ModelShape& model);
/// The same for the experts that one token passes.
double active_parameter_count(const ModelShape& model);

/// The shapes that ship with Strata: tiny, llama3_8b, llama3_70b. Throws InputError for another name.
ModelShape named_model(std::string_view name);
/// Whether `name` is one of them.
bool is_named_model(std::string_view name);
/// "tiny, llama3_8b, llama3_70b", for messages.
std::string model_names();

}  // namespace strata
