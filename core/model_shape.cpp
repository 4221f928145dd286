// SPDX-License-Identifier: Apache-2.0
#include "core/model_shape.hpp"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <utility>

#include "core/check.hpp"

namespace strata {

namespace {

ModelShape shape(std::int32_t layers, std::int64_t hidden, std::int64_t ffn, std::int32_t query_heads,
                 std::int32_t kv_heads, std::int32_t head_dim, ElementType type) {
  ModelShape model;
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

/// llama3: Llama Team, "The Llama 3 Herd of Models" (2024), table 3. tiny: small enough to run in a test.
std::array<std::pair<std::string_view, ModelShape>, 3> shipped_models() {
  return {{{"tiny", shape(2, 256, 1024, 4, 2, 64, ElementType::f32)},
           {"llama3_8b", shape(32, 4096, 14336, 32, 8, 128, ElementType::bf16)},
           {"llama3_70b", shape(80, 8192, 28672, 64, 8, 128, ElementType::bf16)}}};
}

void require_size(std::string_view where, std::string_view name, std::int64_t value,
                  std::int64_t most = std::numeric_limits<std::int32_t>::max()) {
  if (value >= 1 && value <= most) return;
  throw InputError(std::string(where), fmt::format("{} = {}", name, value),
                   value < 1 ? "at least 1" : fmt::format("at most {}", most));
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
  require_size(where, "ffn", model.ffn);
  require_size(where, "query_heads", model.query_heads, kMaxQueryHeads);
  require_size(where, "kv_heads", model.kv_heads, kMaxQueryHeads);
  require_size(where, "head_dim", model.head_dim, kMaxModelSize);
  require_size(where, "value_head_dim", model.value_head_dim, kMaxModelSize);
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
}

double linear_flops_per_token(const ModelShape& model) {
  const auto hidden = static_cast<double>(model.hidden);
  const double q = static_cast<double>(model.query_heads) * model.head_dim;
  const double k = static_cast<double>(model.kv_heads) * model.head_dim;
  const double v = static_cast<double>(model.kv_heads) * model.value_head_dim;
  const double o = static_cast<double>(model.query_heads) * model.value_head_dim;
  return 2.0 * hidden * (q + k + v + o + 3.0 * static_cast<double>(model.ffn));
}

double parameter_count(const ModelShape& model) {
  const double layer = linear_flops_per_token(model) / 2;
  return model.layers * layer +
         2.0 * static_cast<double>(model.vocabulary) * static_cast<double>(model.hidden);
}

ModelShape named_model(std::string_view name) {
  for (const auto& [known, model] : shipped_models()) {
    if (name == known) return model;
  }
  throw InputError("model", fmt::format("'{}'", name), "tiny, llama3_8b, llama3_70b or a JSON file");
}

bool is_named_model(std::string_view name) {
  for (const auto& [known, model] : shipped_models()) {
    if (name == known) return true;
  }
  return false;
}

}  // namespace strata
