// SPDX-License-Identifier: Apache-2.0
// What may differ from layer to layer: which layers have experts, and which have a window.
#include <fmt/format.h>

#include <algorithm>

#include "core/problem/model_family_rules.hpp"

namespace strata::detail {

namespace {

constexpr auto kExperts = std::to_array<std::string_view>(
    {"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"});
constexpr auto kPerToken = std::to_array<std::string_view>(
    {"num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_topk", "moe_top_k", "moe_k"});
constexpr auto kOwnWidth = std::to_array<std::string_view>({"moe_intermediate_size"});
constexpr auto kSharedCount = std::to_array<std::string_view>(
    {"n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts"});
constexpr auto kSharedWidth = std::to_array<std::string_view>(
    {"shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"});

/// [layer] -> whether it has experts, by every key that says so. Layers count from 0.
class ExpertLayers {
 public:
  ExpertLayers(ConfigKeys& keys, std::int32_t layers)
      : keys_(keys), has_experts_(static_cast<std::size_t>(layers), true) {
    keep_from(bound("first_k_dense_replace", 0));
    keep_from(bound("moe_layer_start_index", 0));
    keep_until();
    keep_frequency();
    // Every n-th layer, the n-th first.
    keep_every(step("decoder_sparse_step"), true);
    keep_every(step("moe_layer_interval"), true);
    drop_listed();
  }

  std::int32_t dense() const {
    return static_cast<std::int32_t>(std::count(has_experts_.begin(), has_experts_.end(), false));
  }

 private:
  std::int64_t count() const { return std::ssize(has_experts_); }
  void drop(std::int64_t layer) { has_experts_[static_cast<std::size_t>(layer)] = false; }

  std::int64_t bound(std::string_view key, std::int64_t fallback) {
    const auto stated = keys_.find(key);
    return stated ? stated->integer(0, kMaxModelSize) : fallback;
  }
  std::int64_t step(std::string_view key) {
    const auto stated = keys_.find(key);
    return stated ? stated->integer(1, kMaxModelSize) : 1;
  }

  void keep_from(std::int64_t first) {
    for (std::int64_t layer = 0; layer < std::min(first, count()); ++layer) drop(layer);
  }
  void keep_until() {
    const auto last = keys_.find("moe_layer_end_index");
    if (!last) return;
    const std::int64_t end = last->integer(-1, kMaxModelSize);
    for (std::int64_t layer = end + 1; end >= 0 && layer < count(); ++layer) drop(layer);
  }
  void keep_every(std::int64_t step, bool from_the_step) {
    for (std::int64_t layer = 0; layer < count(); ++layer) {
      if ((layer + (from_the_step ? 1 : 0)) % step != 0) drop(layer);
    }
  }
  /// One number as a step that begins with layer 0, or a 0 or 1 for every layer.
  void keep_frequency() {
    const auto stated = keys_.find("moe_layer_freq");
    if (!stated) return;
    if (stated->kind() != JsonKind::array) {
      keep_every(stated->integer(1, kMaxModelSize), false);
      return;
    }
    if (std::ssize(has_experts_) != static_cast<std::int64_t>(stated->size())) {
      stated->fail(fmt::format("a list of {}", stated->size()),
                   fmt::format("one value for each of {} layers", count()));
    }
    std::int64_t layer = 0;
    for (const JsonValue item : stated->items()) {
      if (item.integer(0, 1) == 0) drop(layer);
      ++layer;
    }
  }
  void drop_listed() {
    const auto stated = keys_.find("mlp_only_layers");
    if (!stated) return;
    for (const JsonValue item : stated->items()) drop(item.integer(0, count() - 1));
  }

  ConfigKeys& keys_;
  std::vector<bool> has_experts_;
};

/// Inner width of the experts that every token passes.
std::int64_t shared_ffn(ConfigKeys& keys, std::int64_t expert_ffn) {
  const auto count = keys.find(kSharedCount);
  const auto width = keys.find(kSharedWidth);
  const auto size = [](const JsonValue& value) {
    return value.kind() == JsonKind::array ? ConfigKeys::size_of(value, kMaxModelWidth)
                                           : value.integer(0, kMaxModelWidth);
  };
  const std::int64_t by_count = count ? size(*count) * expert_ffn : 0;
  if (by_count > kMaxModelWidth) count->fail("experts whose widths together are at most 2147483647");
  if (!width) return by_count;
  if (count && size(*width) != by_count) {
    width->fail(fmt::format("{}, what {} shared experts of {} give", by_count, size(*count), expert_ffn));
  }
  return size(*width);
}

/// DBRX.
void read_nested_experts(ConfigKeys& keys, ModelShape& shape) {
  static constexpr auto kWidth = std::to_array<std::string_view>({"ffn_hidden_size"});
  ConfigKeys inner(keys.required("ffn_config", "an object with the sizes of experts"));
  shape.experts.routed = static_cast<std::int32_t>(inner.integer(kExperts, kMaxExperts));
  shape.experts.per_token = static_cast<std::int32_t>(inner.integer(kPerToken, kMaxExperts));
  shape.experts.ffn = inner.integer(kWidth, kMaxModelWidth);
}

/// What layer_types says: nothing, one window everywhere or none. Throws for layers of several kinds.
enum class TypedLayers : std::uint8_t { unstated, full, window };

TypedLayers typed_layers(ConfigKeys& keys, std::int32_t layers) {
  const auto types = keys.find("layer_types");
  if (!types) return TypedLayers::unstated;
  std::int64_t full = 0;
  std::int64_t window = 0;
  for (const JsonValue type : types->items()) {
    const std::string_view name = type.string();
    if (name != "full_attention" && name != "attention" && name != "sliding_attention") {
      type.fail("\"full_attention\" or \"sliding_attention\"");
    }
    ++(name == "sliding_attention" ? window : full);
  }
  if (full > 0 && window > 0) {
    types->fail(
        fmt::format("layers of several kinds: {} with full attention and {} with a window", full, window),
        "one kind of attention in all layers");
  }
  if (full + window != layers) {
    types->fail(fmt::format("a list of {}", full + window),
                fmt::format("one type for each of {} layers", layers));
  }
  return window > 0 ? TypedLayers::window : TypedLayers::full;
}

void set_window(const JsonValue& window, ModelShape& shape) {
  shape.window = ConfigKeys::size_of(window, kMaxModelWidth);
  shape.attention = AttentionKind::window;
}

/// The layers from max_window_layers on have the window.
bool switched_on(ConfigKeys& keys, const JsonValue& use, std::int32_t layers) {
  const auto first = keys.find("max_window_layers");
  if (!first) use.fail("max_window_layers beside it, which says where windows begin");
  const std::int64_t begin = first->integer(0, kMaxModelSize);
  if (begin == 0) return true;
  if (begin >= layers) return false;
  first->fail(fmt::format("{}: layers of several kinds, {} with full attention and {} with a window", begin,
                          begin, layers - begin),
              fmt::format("one kind of attention in all layers: 0, or at least {}", layers));
}

void refuse_alternating(ConfigKeys& keys) {
  static constexpr std::string_view kExpected =
      "layers of one kind: layer_types with the same type for every layer";
  if (const auto pattern = keys.find("sliding_window_pattern")) pattern->fail(std::string(kExpected));
  const std::string found = "windows in some layers and full attention in others";
  const auto type = keys.find("model_type");
  if (type) type->fail(fmt::format("{}, which has {}", type->description(), found), std::string(kExpected));
  keys.value().fail(found, std::string(kExpected));
}

}  // namespace

void read_experts(const ModelFamily& family, ConfigKeys& keys, ModelShape& shape) {
  if (family.experts == ExpertRule::none) return;
  ExpertShape& experts = shape.experts;
  if (family.experts == ExpertRule::ffn_config) {
    read_nested_experts(keys, shape);
    return;
  }
  experts.routed = static_cast<std::int32_t>(keys.integer(kExperts, kMaxExperts));
  experts.per_token = static_cast<std::int32_t>(keys.integer(kPerToken, kMaxExperts));
  experts.ffn = family.experts == ExpertRule::own_width ? keys.integer(kOwnWidth, kMaxModelWidth)
                                                        : keys.integer(kFfnNames, kMaxModelWidth);
  experts.shared_ffn = shared_ffn(keys, experts.ffn);
  if (const auto shared = keys.find("num_shared_expert"); shared && shape.ffn != experts.ffn) {
    shared->fail(
        fmt::format("moe_intermediate_size of {}, the intermediate_size of shared experts", shape.ffn));
  }
  if (family.experts == ExpertRule::own_width)
    experts.dense_layers = ExpertLayers(keys, shape.layers).dense();
  if (experts.dense_layers == shape.layers) experts = {};
  if (experts.routed > 0 && experts.dense_layers == 0) shape.ffn = 0;
}

void read_window(const ModelFamily& family, ConfigKeys& keys, ModelShape& shape) {
  if (const auto list = keys.find("attn_type_list")) {
    // 1: attention over all earlier keys, 0: linear attention.
    for (const JsonValue item : list->items()) {
      if (item.integer(0, 1) == 0) item.fail("1, attention to every earlier key, in all layers");
    }
  }
  const TypedLayers typed = typed_layers(keys, shape.layers);
  if (typed != TypedLayers::unstated) {
    for (const std::string_view key : {"max_window_layers", "use_sliding_window", "sliding_window_pattern"})
      keys.find(key);
    const auto window = keys.find("sliding_window");
    if (typed == TypedLayers::full) return;
    set_window(
        window ? *window : keys.required("sliding_window", "an integer, since layer_types has windows"),
        shape);
    return;
  }
  if (family.window == WindowRule::none) return;
  const auto window = keys.find("sliding_window");
  const auto use = keys.find("use_sliding_window");
  switch (family.window) {
    case WindowRule::none:
      return;
    case WindowRule::every_layer:
      if (window && (!use || use->boolean())) set_window(*window, shape);
      return;
    case WindowRule::switched:
      if (window && use && use->boolean() && switched_on(keys, *use, shape.layers))
        set_window(*window, shape);
      keys.find("max_window_layers");
      return;
    case WindowRule::off:
      if (window && (!use || use->boolean())) window->fail("null, or \"use_sliding_window\": false");
      keys.find("max_window_layers");
      return;
    case WindowRule::alternating:
      refuse_alternating(keys);
      return;
    case WindowRule::alternating_if_set:
      if (window) refuse_alternating(keys);
      keys.find("sliding_window_pattern");
      return;
  }
}

}  // namespace strata::detail
