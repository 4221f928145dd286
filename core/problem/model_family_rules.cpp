// SPDX-License-Identifier: Apache-2.0
#include "core/problem/model_family_rules.hpp"

#include <fmt/format.h>

namespace strata::detail {

namespace {

constexpr auto kLayers =
    std::to_array<std::string_view>({"num_hidden_layers", "n_layer", "n_layers", "num_layers"});
constexpr auto kHidden = std::to_array<std::string_view>({"hidden_size", "n_embd", "d_model", "n_embed"});
constexpr auto kHeads = std::to_array<std::string_view>({"num_attention_heads", "n_head", "n_heads"});
constexpr auto kKvHeads =
    std::to_array<std::string_view>({"num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads"});
/// Say the same in files of other types, or beside sizes that give it.
constexpr auto kOtherHeadDim = std::to_array<std::string_view>(
    {"kv_channels", "attention_head_dim", "attention_head_size", "head_size", "d_kv"});
constexpr auto kVocabulary = std::to_array<std::string_view>({"vocab_size", "padded_vocab_size"});
constexpr auto kElementType = std::to_array<std::string_view>({"torch_dtype", "dtype"});

/// What the library takes where a nested configuration leaves a key out: it writes only what differs.
struct NestedDefault {
  std::string_view model_type, key;
  std::int64_t value;
};
constexpr auto kNestedDefaults = std::to_array<NestedDefault>({
    {"llama", "hidden_size", 4096},
    {"llama", "intermediate_size", 11008},
    {"llama", "num_hidden_layers", 32},
    {"llama", "num_attention_heads", 32},
    {"mistral", "hidden_size", 4096},
    {"mistral", "intermediate_size", 14336},
    {"mistral", "num_hidden_layers", 32},
    {"mistral", "num_attention_heads", 32},
    {"mistral", "num_key_value_heads", 8},
});

class FamilyReader {
 public:
  FamilyReader(const ModelFamily& family, std::vector<ConfigKeys>& levels, ModelReading& reading)
      : family_(family), levels_(levels), keys_(levels.back()), reading_(reading), shape_(reading.shape) {}

  void read() {
    for (const std::string_view key : family_.needs) {
      if (!key.empty()) keys_.required(key, "an integer, since the shape depends on it");
    }
    shape_.layers = static_cast<std::int32_t>(size(kLayers, kMaxModelSize));
    shape_.hidden = size(kHidden, kMaxModelWidth);
    shape_.query_heads = static_cast<std::int32_t>(size(kHeads, kMaxQueryHeads));
    if (family_.latent == LatentRule::none) {
      read_heads();
    } else {
      read_latent();
    }
    compare_head_dims();
    shape_.ffn_matrices = family_.ffn_matrices;
    if (family_.experts == ExpertRule::none || family_.experts == ExpertRule::own_width) shape_.ffn = ffn();
    read_experts(family_, keys_, shape_);
    read_window(family_, keys_, shape_);
    if (family_.default_window && shape_.window == 0 && !keys_.is_null("sliding_window") &&
        !keys_.find("layer_types")) {
      reading_.notes.emplace_back("sliding_window is not stated: no window is assumed");
    }
    read_embeddings();
    read_element_type();
  }

 private:
  std::int64_t size(KeyNames names, std::int64_t max) {
    const auto stated = keys_.find(names);
    if (stated) return ConfigKeys::size_of(*stated, max);
    const auto assumed = nested_default(names.front());
    return assumed ? *assumed : keys_.integer(names, max);
  }

  std::optional<std::int64_t> nested_default(std::string_view key) {
    if (levels_.size() == 1) return std::nullopt;
    for (const NestedDefault& row : kNestedDefaults) {
      if (row.model_type != reading_.model_type || row.key != key) continue;
      reading_.notes.push_back(
          fmt::format("{} is not stated: {}, the default of {}", key, row.value, row.model_type));
      return row.value;
    }
    return std::nullopt;
  }

  void read_heads() {
    shape_.kv_heads = static_cast<std::int32_t>(kv_heads());
    const auto stated = keys_.find("head_dim");
    shape_.head_dim =
        static_cast<std::int32_t>(stated ? stated->integer(1, kMaxModelSize) : hidden_by_heads());
    shape_.value_head_dim = shape_.head_dim;
  }

  std::int64_t hidden_by_heads() const {
    const std::int64_t quotient = shape_.hidden / shape_.query_heads;
    if (shape_.hidden % shape_.query_heads == 0 && quotient <= kMaxModelSize) return quotient;
    keys_.value().fail(fmt::format("no field 'head_dim' and {} heads for a hidden size of {}",
                                   shape_.query_heads, shape_.hidden),
                       "heads that divide the hidden size");
  }

  std::int64_t stated_kv_heads() {
    const auto stated = keys_.find(kKvHeads);
    if (stated) return ConfigKeys::size_of(*stated, kMaxQueryHeads);
    if (const auto assumed = nested_default(kKvHeads.front())) return *assumed;
    if (family_.ffn_matrices == 3) {
      reading_.notes.emplace_back("num_key_value_heads is not stated: as many as query heads");
    }
    return shape_.query_heads;
  }

  std::int64_t kv_heads() {
    switch (family_.kv) {
      case KvRule::stated:
        break;
      case KvRule::multi_query:
        if (!keys_.flag("multi_query", true)) break;
        keys_.find(kKvHeads);
        return 1;
      case KvRule::falcon: {
        const bool one = keys_.flag("multi_query", true);
        const auto stated = keys_.find(kKvHeads);
        if (!keys_.flag("new_decoder_architecture")) return one ? 1 : shape_.query_heads;
        return stated ? stated->integer(1, kMaxQueryHeads) : shape_.query_heads;
      }
      case KvRule::chatglm:
        if (!keys_.flag("multi_query_attention")) return shape_.query_heads;
        return keys_.required("multi_query_group_num", "an integer").integer(1, kMaxQueryHeads);
      case KvRule::attn_config:
        return nested_kv_heads();
    }
    return stated_kv_heads();
  }

  /// MPT and DBRX.
  std::int64_t nested_kv_heads() {
    const auto object = keys_.find("attn_config");
    if (!object) return shape_.query_heads;
    ConfigKeys attention(*object);
    refuse_nested(attention);
    if (const auto window = attention.find("sliding_window_size");
        window && window->integer(-1, 1 << 30) > 0) {
      window->fail("-1, attention to every earlier key");
    }
    const auto kind = attention.find("attn_type");
    if (kind && kind->string() == "multiquery_attention") return 1;
    const auto stated = attention.find("kv_n_heads");
    return stated ? stated->integer(1, kMaxQueryHeads) : shape_.query_heads;
  }

  static void refuse_nested(ConfigKeys& attention) {
    if (attention.flag("prefix_lm")) {
      attention.find("prefix_lm")->fail("causal attention inside one sequence");
    }
  }

  /// DeepSeek-AI, "DeepSeek-V2" (2024), section 2.1: each head's key is a part without positions, of its own,
  /// and a part with positions that all heads share.
  void read_latent() {
    static constexpr auto kNope = std::to_array<std::string_view>({"qk_nope_head_dim"});
    static constexpr auto kRope = std::to_array<std::string_view>({"qk_rope_head_dim"});
    static constexpr auto kRank = std::to_array<std::string_view>({"kv_lora_rank"});
    static constexpr auto kValue = std::to_array<std::string_view>({"v_head_dim"});
    if (const auto use = keys_.find("use_mla"); use && !use->boolean()) use->fail("true, as in this type");
    shape_.kv_heads = shape_.query_heads;
    if (const auto stated = keys_.find(kKvHeads);
        stated && stated->integer(1, kMaxQueryHeads) != shape_.kv_heads) {
      stated->fail(
          fmt::format("{}, as many as query heads, since latent attention expands them", shape_.kv_heads));
    }
    LatentShape& latent = shape_.latent;
    latent.rope_head_dim = keys_.integer(kRope, kMaxModelSize / 2);
    const std::int64_t nope = keys_.integer(kNope, kMaxModelSize / 2);
    shape_.head_dim = static_cast<std::int32_t>(nope + latent.rope_head_dim);
    latent.kv_rank = keys_.integer(kRank, kMaxModelWidth);
    if (const auto rank = keys_.find("q_lora_rank")) latent.query_rank = rank->integer(1, kMaxModelWidth);
    const bool derived = family_.latent == LatentRule::value_from_hidden && !keys_.find(kValue);
    shape_.value_head_dim =
        static_cast<std::int32_t>(derived ? hidden_by_heads() : keys_.integer(kValue, kMaxModelSize));
    // What some writers put here is the part with positions.
    keys_.find("head_dim");
    keys_.find("qk_head_dim");
  }

  void compare_head_dims() {
    for (const std::string_view name : kOtherHeadDim) {
      const auto other = keys_.find(name);
      if (other && other->integer(1, kMaxModelSize) != shape_.head_dim) {
        other->fail(fmt::format("{}, what the other keys give", shape_.head_dim));
      }
    }
    const auto embedding = keys_.find("word_embed_proj_dim");
    if (embedding && embedding->integer(1, kMaxModelWidth) != shape_.hidden) {
      embedding->fail(fmt::format("{}, the hidden size", shape_.hidden));
    }
  }

  std::int64_t ffn() {
    switch (family_.ffn) {
      case FfnRule::stated:
        return size(kFfnNames, kMaxModelWidth);
      case FfnRule::four_times: {
        const auto stated = keys_.find(kFfnNames);
        return stated ? stated->integer(1, kMaxModelWidth) : 4 * shape_.hidden;
      }
      case FfnRule::halved: {
        const JsonValue both = keys_.required(kFfnNames, "an integer");
        const std::int64_t width = both.integer(2, kMaxModelWidth);
        if (width % 2 != 0) both.fail("an even number: gate and value together");
        return width / 2;
      }
      case FfnRule::expansion: {
        const auto config = keys_.find("ffn_config");
        if (config) {
          ConfigKeys inner(*config);
          const auto kind = inner.find("ffn_type");
          if (kind && kind->string() != "mptmlp") kind->fail("\"mptmlp\"");
          if (const auto width = inner.find("ffn_hidden_size")) return width->integer(1, kMaxModelWidth);
        }
        const auto ratio = keys_.find("expansion_ratio");
        return (ratio ? ratio->integer(1, 1024) : 4) * shape_.hidden;
      }
    }
    return 0;
  }

  /// The nearest level that states a key: a wrapper often keeps it for the text model.
  std::optional<JsonValue> at_any_level(KeyNames names) {
    std::optional<JsonValue> found;
    for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
      const auto value = level->find(names);
      if (value && !found) found = value;
    }
    return found;
  }

  void read_embeddings() {
    static constexpr auto kTied = std::to_array<std::string_view>({"tie_word_embeddings"});
    if (const auto vocabulary = at_any_level(kVocabulary)) {
      shape_.vocabulary = vocabulary->integer(1, kMaxModelWidth);
    }
    const auto tied = at_any_level(kTied);
    shape_.tied_embeddings = tied ? tied->boolean() : family_.tied;
  }

  void read_element_type() {
    const auto stated = at_any_level(kElementType);
    if (!stated || stated->string() == "auto") {
      shape_.element_type = ElementType::bf16;
      reading_.element_type_note = "the element type is not stated: bf16 is assumed";
      return;
    }
    std::string_view name = stated->string();
    if (name.starts_with("torch.")) name.remove_prefix(6);
    if (name == "bfloat16") {
      shape_.element_type = ElementType::bf16;
    } else if (name == "float16") {
      shape_.element_type = ElementType::f16;
    } else if (name == "float32") {
      shape_.element_type = ElementType::f32;
      reading_.element_type_note =
          "the checkpoint is stored in float32; training usually runs in bf16: --element-type bf16";
    } else {
      stated->fail("\"bfloat16\" or \"float16\" or \"float32\"");
    }
  }

  const ModelFamily& family_;
  std::vector<ConfigKeys>& levels_;
  ConfigKeys& keys_;
  ModelReading& reading_;
  ModelShape& shape_;
};

}  // namespace

void apply_family(const ModelFamily& family, std::vector<ConfigKeys>& levels, ModelReading& reading) {
  FamilyReader(family, levels, reading).read();
}

}  // namespace strata::detail
