// SPDX-License-Identifier: Apache-2.0
#include "core/problem/model_shape.hpp"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <utility>

#include "core/base/check.hpp"

namespace strata {

namespace {

ModelShape shape(std::int32_t layers, std::int64_t hidden, std::int64_t ffn, std::int32_t query_heads,
                 std::int32_t kv_heads, std::int32_t head_dim, ElementType type, std::int64_t vocabulary) {
  ModelShape model;
  model.vocabulary = vocabulary;
  model.layers = layers;
  model.hidden = hidden;
  model.ffn = ffn;
  model.query_heads = query_heads;
  model.kv_heads = kv_heads;
  model.head_dim = head_dim;
  model.value_head_dim = head_dim;
  model.element_type = type;
  return model;
}

/// llama3: Llama Team, "The Llama 3 Herd of Models" (2024), tables 3 and 4,
/// and the 128,256 tokens of its tokenizer (section 3.2). tiny: small enough to run in a test.
std::array<std::pair<std::string_view, ModelShape>, 3> shipped_models() {
  return {{{"tiny", shape(2, 256, 1024, 4, 2, 64, ElementType::f32, 0)},
           {"llama3_8b", shape(32, 4096, 14336, 32, 8, 128, ElementType::bf16, 128256)},
           {"llama3_70b", shape(80, 8192, 28672, 64, 8, 128, ElementType::bf16, 128256)}}};
}

constexpr std::int64_t kMaxWidth = std::numeric_limits<std::int32_t>::max();

void require_range(std::string_view where, std::string_view name, std::int64_t value, std::int64_t least,
                   std::int64_t most) {
  if (value >= least && value <= most) return;
  throw InputError(std::string(where), fmt::format("{} = {}", name, value),
                   value < least ? fmt::format("at least {}", least) : fmt::format("at most {}", most));
}

void require_size(std::string_view where, std::string_view name, std::int64_t value,
                  std::int64_t most = kMaxWidth) {
  require_range(where, name, value, 1, most);
}

void validate_experts(const ModelShape& model, std::string_view where) {
  const ExpertShape& experts = model.experts;
  if (experts.routed == 0) {
    if (experts != ExpertShape{}) {
      throw InputError(std::string(where), "sizes of experts without experts",
                       "experts.routed of at least 1");
    }
    require_size(where, "ffn", model.ffn);
    return;
  }
  require_size(where, "experts.routed", experts.routed, kMaxExperts);
  require_size(where, "experts.per_token", experts.per_token, experts.routed);
  require_size(where, "experts.ffn", experts.ffn, kMaxWidth / experts.per_token);
  require_range(where, "experts.shared_ffn", experts.shared_ffn, 0, kMaxWidth);
  require_range(where, "experts.dense_layers", experts.dense_layers, 0, model.layers - 1);
  if (experts.dense_layers > 0) {
    require_size(where, "ffn", model.ffn);
  } else if (model.ffn != 0) {
    throw InputError(std::string(where), fmt::format("ffn = {} and experts in every layer", model.ffn),
                     "no ffn, or experts.dense_layers");
  }
}

void validate_latent(const ModelShape& model, std::string_view where) {
  const LatentShape& latent = model.latent;
  if (latent.kv_rank == 0) {
    if (latent == LatentShape{}) return;
    throw InputError(std::string(where), "sizes of latent attention without its rank",
                     "latent.kv_rank of at least 1");
  }
  require_size(where, "latent.kv_rank", latent.kv_rank);
  require_range(where, "latent.query_rank", latent.query_rank, 0, kMaxWidth);
  require_range(where, "latent.rope_head_dim", latent.rope_head_dim, 0, model.head_dim - 1);
  if (model.query_heads == model.kv_heads) return;
  throw InputError(
      std::string(where),
      fmt::format("{} query heads and {} KV heads with latent attention", model.query_heads, model.kv_heads),
      "as many KV heads as query heads, since every head's keys are expanded");
}

}  // namespace

std::string_view to_string(ElementType type) {
  switch (type) {
    case ElementType::f32:
      return "f32";
    case ElementType::bf16:
      return "bf16";
    case ElementType::f16:
      return "f16";
  }
  STRATA_CHECK(false, "element type {} has no name", static_cast<int>(type));
}

std::string_view to_string(Recompute recompute) {
  switch (recompute) {
    case Recompute::none:
      return "none";
    case Recompute::selective:
      return "selective";
    case Recompute::full:
      return "full";
  }
  STRATA_CHECK(false, "recompute {} has no name", static_cast<int>(recompute));
}

void validate(const ModelShape& model, std::string_view where) {
  require_size(where, "layers", model.layers, kMaxModelSize);
  require_size(where, "hidden", model.hidden);
  require_size(where, "query_heads", model.query_heads, kMaxQueryHeads);
  require_size(where, "kv_heads", model.kv_heads, kMaxQueryHeads);
  require_size(where, "head_dim", model.head_dim, kMaxModelSize);
  require_size(where, "value_head_dim", model.value_head_dim, kMaxModelSize);
  require_range(where, "vocabulary", model.vocabulary, 0, kMaxWidth);
  require_range(where, "ffn_matrices", model.ffn_matrices, 2, 3);
  if (model.query_heads % model.kv_heads != 0) {
    throw InputError(std::string(where),
                     fmt::format("{} query heads and {} KV heads", model.query_heads, model.kv_heads),
                     "query heads that are a multiple of the KV heads");
  }
  if (model.attention == AttentionKind::window) {
    require_size(where, "window", model.window, std::numeric_limits<std::int64_t>::max());
  }
  if (model.attention == AttentionKind::dense && model.window != 0) {
    throw InputError(std::string(where), fmt::format("window = {} with dense attention", model.window),
                     "a window only with \"attention\": \"window\"");
  }
  validate_experts(model, where);
  validate_latent(model, where);
}

ModelShape named_model(std::string_view name) {
  for (const auto& [known, model] : shipped_models()) {
    if (name == known) return model;
  }
  throw InputError("model", fmt::format("'{}'", name), model_names() + " or a JSON file");
}

bool is_named_model(std::string_view name) {
  for (const auto& [known, model] : shipped_models()) {
    if (name == known) return true;
  }
  return false;
}

std::string model_names() {
  std::string names;
  for (const auto& [known, model] : shipped_models()) names.append(names.empty() ? "" : ", ").append(known);
  return names;
}

}  // namespace strata
