// SPDX-License-Identifier: Apache-2.0
#include "core/problem/model_refusals.hpp"

#include <fmt/format.h>

#include <array>

#include "core/problem/model_families.hpp"

namespace strata::detail {

namespace {

constexpr std::string_view kStateSpace = "state-space or linear-attention layers";
constexpr std::string_view kSomeWindows = "windows in some layers and full attention in others";
constexpr std::string_view kEncoder = "tokens that see later ones";
constexpr std::string_view kCross = "cross-attention to another sequence";
constexpr std::string_view kSparse = "attention to a choice of keys that depends on the data";
constexpr std::string_view kPerLayer = "layers of different sizes";
constexpr std::string_view kPrefix = "a prefix whose tokens see later ones";

constexpr auto kRefusedTypes = std::to_array<RefusedType>({
    {"mamba", kStateSpace},
    {"mamba2", kStateSpace},
    {"falcon_mamba", kStateSpace},
    {"rwkv", kStateSpace},
    {"rwkv5", kStateSpace},
    {"rwkv6", kStateSpace},
    {"rwkv7", kStateSpace},
    {"rwkv6qwen2", kStateSpace},
    {"xlstm", kStateSpace},
    {"retnet", kStateSpace},
    {"recurrent_gemma", kStateSpace},
    {"jamba", kStateSpace},
    {"bamba", kStateSpace},
    {"zamba", kStateSpace},
    {"zamba2", kStateSpace},
    {"hymba", kStateSpace},
    {"falcon_h1", kStateSpace},
    {"nemotron_h", kStateSpace},
    {"granitemoehybrid", kStateSpace},
    {"plamo2", kStateSpace},
    {"phi4flash", kStateSpace},
    {"stripedhyena", kStateSpace},
    {"lfm2", kStateSpace},
    {"lfm2_moe", kStateSpace},
    {"qwen3_next", kStateSpace},
    {"qwen3_5", kStateSpace},
    {"qwen3_5_text", kStateSpace},
    {"qwen3_5_moe", kStateSpace},
    {"qwen3_5_moe_text", kStateSpace},
    {"kimi_linear", kStateSpace},
    {"minimax", kStateSpace},
    {"minimax_m1", kStateSpace},
    {"minimax_text_01", kStateSpace},
    {"MiniMaxText01", kStateSpace},
    {"MiniMaxM1", kStateSpace},
    {"bailing_moe_linear", kStateSpace},
    {"gpt_neo", kSomeWindows},
    {"gemma3n", kSomeWindows},
    {"gemma3n_text", kSomeWindows},
    {"gemma4", kSomeWindows},
    {"gemma4_text", kSomeWindows},
    {"llama4_text", "chunks in some layers and full attention in others"},
    {"mimo_v2_flash", kSomeWindows},
    {"bert", kEncoder},
    {"roberta", kEncoder},
    {"xlm-roberta", kEncoder},
    {"camembert", kEncoder},
    {"distilbert", kEncoder},
    {"albert", kEncoder},
    {"electra", kEncoder},
    {"deberta", kEncoder},
    {"deberta-v2", kEncoder},
    {"mpnet", kEncoder},
    {"esm", kEncoder},
    {"longformer", kEncoder},
    {"big_bird", kEncoder},
    {"modernbert", kEncoder},
    {"nomic_bert", kEncoder},
    {"eurobert", kEncoder},
    {"new", kEncoder},
    {"vit", kEncoder},
    {"clip", kEncoder},
    {"siglip", kEncoder},
    {"t5", kCross},
    {"mt5", kCross},
    {"umt5", kCross},
    {"longt5", kCross},
    {"t5gemma", kCross},
    {"bart", kCross},
    {"mbart", kCross},
    {"pegasus", kCross},
    {"marian", kCross},
    {"m2m_100", kCross},
    {"led", kCross},
    {"whisper", kCross},
    {"switch_transformers", kCross},
    {"mllama_text_model", kCross},
    {"deepseek_v32", kSparse},
    {"glm_moe_dsa", kSparse},
    {"phi3small", kSparse},
    {"openelm", kPerLayer},
    {"nemotron-nas", kPerLayer},
    {"deci", kPerLayer},
    {"paligemma", kPrefix},
});

/// When a stated key changes the meaning.
enum class When : std::uint8_t {
  set,        ///< stated at all
  truthy,     ///< neither false, 0, "" nor an empty list or object
  above_one,  ///< a number above 1, or anything that is not a number
  is_false,
};

struct MeaningKey {
  std::string_view key;
  When when;
  std::string_view expected;
};

constexpr std::string_view kOneKind = "layers of one kind, all with causal attention";
constexpr std::string_view kCausal = "causal attention inside one sequence";
constexpr std::string_view kEvery = "attention to every earlier key, or to a window";
constexpr std::string_view kSameSize = "layers of one size";

/// No rule reads these, whatever the family.
constexpr auto kKindKeys = std::to_array<MeaningKey>({
    {"_sliding_window_pattern", When::above_one, kOneKind},
    {"hybrid_override_pattern", When::truthy, kOneKind},
    {"hybrid_layer_pattern", When::truthy, kOneKind},
    {"layers_block_type", When::truthy, kOneKind},
    {"block_types", When::truthy, kOneKind},
    {"block_type", When::truthy, kOneKind},
    {"hybrid_layer_ids", When::truthy, kOneKind},
    {"attn_layer_period", When::truthy, kOneKind},
    {"attn_layer_offset", When::truthy, kOneKind},
    {"attn_layer_indices", When::truthy, kOneKind},
    {"full_attn_idxs", When::truthy, kOneKind},
    {"full_attention_interval", When::above_one, kOneKind},
    {"full_attention_layers", When::truthy, kOneKind},
    {"global_attn_every_n_layers", When::above_one, kOneKind},
    {"dense_attention_every_n_layers", When::truthy, kOneKind},
    {"layer_group_size", When::above_one, kOneKind},
    {"attention_types", When::truthy, kOneKind},
    {"attention_layers", When::truthy, kOneKind},
    {"no_attention_layers", When::truthy, kOneKind},
    {"linear_attn_config", When::truthy, kOneKind},
    {"linear_num_key_heads", When::truthy, kOneKind},
    {"linear_num_value_heads", When::truthy, kOneKind},
    {"linear_conv_kernel_dim", When::truthy, kOneKind},
    {"ssm_cfg", When::set, kOneKind},
    {"state_size", When::truthy, kOneKind},
    {"ssm_state_size", When::truthy, kOneKind},
    {"mamba_d_state", When::truthy, kOneKind},
    {"mamba_d_ssm", When::truthy, kOneKind},
    {"mamba_num_heads", When::truthy, kOneKind},
    {"mamba_n_heads", When::truthy, kOneKind},
    {"mamba_state_dim", When::truthy, kOneKind},
    {"lru_width", When::truthy, kOneKind},
    {"conv_L_cache", When::truthy, kOneKind},
    {"attention_window_size", When::truthy, kEvery},
    {"attention_window", When::truthy, kEvery},
    {"local_attention", When::truthy, kEvery},
    {"attention_chunk_size", When::truthy, kEvery},
    {"index_topk", When::truthy, kEvery},
    {"index_n_heads", When::truthy, kEvery},
    {"sparse_config", When::truthy, kEvery},
    {"sparse_attention_config", When::truthy, kEvery},
    {"nsa_config", When::truthy, kEvery},
    {"moba_config", When::truthy, kEvery},
    {"moba_chunk_size", When::truthy, kEvery},
    {"blocksparse_block_size", When::truthy, kEvery},
    {"cross_attention_layers", When::truthy, kCausal},
    {"cross_attention_hidden_size", When::truthy, kCausal},
    {"add_cross_attention", When::truthy, kCausal},
    {"is_encoder_decoder", When::truthy, kCausal},
    {"encoder_layers", When::truthy, kCausal},
    {"use_bidirectional_attention", When::truthy, kCausal},
    {"bidirectional", When::truthy, kCausal},
    {"is_causal", When::is_false, kCausal},
    {"prefix_lm", When::truthy, kCausal},
    {"is_prefix_lm", When::truthy, kCausal},
    {"position_encoding_2d", When::truthy, kCausal},
    {"num_kv_shared_layers", When::truthy, "keys and values of its own in every layer"},
    {"use_cla", When::truthy, "keys and values of its own in every layer"},
    {"block_configs", When::truthy, kSameSize},
    {"global_head_dim", When::set, kSameSize},
    {"num_global_key_value_heads", When::set, kSameSize},
    {"swa_head_dim", When::set, kSameSize},
    {"swa_num_key_value_heads", When::set, kSameSize},
    {"num_attention_heads_per_layer", When::set, kSameSize},
    {"num_key_value_heads_per_layer", When::set, kSameSize},
    {"hidden_size_per_layer_input", When::truthy, kSameSize},
});

constexpr std::string_view kNoLatent = "a type with latent attention, such as deepseek_v3";
constexpr std::string_view kNoExperts = "a type with experts, such as qwen3_moe";
constexpr std::string_view kNoKvRule = "num_key_value_heads";
constexpr std::string_view kNoWindow = "null, or a type with windows, such as mistral";

/// Some families read these; where the family at hand did not, the file contradicts its model_type.
constexpr auto kFamilyKeys = std::to_array<MeaningKey>({
    {"sliding_window", When::truthy, kNoWindow},
    {"sliding_window_size", When::truthy, kNoWindow},
    {"sliding_window_pattern", When::above_one, kOneKind},
    {"use_sliding_window", When::truthy, kNoWindow},
    {"attn_window_size", When::truthy, kNoWindow},
    {"window_size", When::truthy, kNoWindow},
    {"attn_type_list", When::truthy, kOneKind},
    {"kv_lora_rank", When::truthy, kNoLatent},
    {"q_lora_rank", When::truthy, kNoLatent},
    {"qk_nope_head_dim", When::truthy, kNoLatent},
    {"qk_rope_head_dim", When::truthy, kNoLatent},
    {"v_head_dim", When::truthy, kNoLatent},
    {"use_mla", When::truthy, kNoLatent},
    {"num_local_experts", When::above_one, kNoExperts},
    {"num_experts", When::above_one, kNoExperts},
    {"n_routed_experts", When::above_one, kNoExperts},
    {"moe_num_experts", When::above_one, kNoExperts},
    {"num_experts_per_tok", When::above_one, kNoExperts},
    {"num_experts_per_token", When::above_one, kNoExperts},
    {"experts_per_token", When::above_one, kNoExperts},
    {"moe_topk", When::above_one, kNoExperts},
    {"moe_top_k", When::above_one, kNoExperts},
    {"moe_k", When::above_one, kNoExperts},
    {"moe_intermediate_size", When::truthy, kNoExperts},
    {"n_shared_experts", When::truthy, kNoExperts},
    {"num_shared_experts", When::truthy, kNoExperts},
    {"num_shared_expert", When::truthy, kNoExperts},
    {"moe_num_shared_experts", When::truthy, kNoExperts},
    {"shared_expert_intermediate_size", When::truthy, kNoExperts},
    {"moe_shared_expert_intermediate_size", When::truthy, kNoExperts},
    {"shared_intermediate_size", When::truthy, kNoExperts},
    {"first_k_dense_replace", When::truthy, kNoExperts},
    {"interleave_moe_layer_step", When::truthy, kNoExperts},
    {"moe_layers", When::truthy, kNoExperts},
    {"ffn_config", When::truthy, "intermediate_size"},
    {"attn_config", When::truthy, kNoKvRule},
    {"multi_query", When::truthy, kNoKvRule},
    {"multi_query_attention", When::truthy, kNoKvRule},
    {"multi_query_group_num", When::above_one, kNoKvRule},
    {"new_decoder_architecture", When::truthy, kNoKvRule},
    {"num_attention_groups", When::set, kNoKvRule},
    {"num_query_groups", When::set, kNoKvRule},
    {"expansion_ratio", When::set, "intermediate_size"},
});

bool is_number(const JsonValue& value) {
  return value.kind() == JsonKind::integer || value.kind() == JsonKind::real ||
         value.kind() == JsonKind::big_integer;
}

bool truthy(const JsonValue& value) {
  switch (value.kind()) {
    case JsonKind::null:
      return false;
    case JsonKind::boolean:
      return value.boolean();
    case JsonKind::string:
      return !value.string().empty();
    case JsonKind::array:
    case JsonKind::object:
      return value.size() > 0;
    default:
      return value.number() != 0;
  }
}

bool applies(When when, const JsonValue& value) {
  switch (when) {
    case When::set:
      return true;
    case When::truthy:
      return truthy(value);
    case When::above_one:
      return is_number(value) ? value.number() > 1 : truthy(value);
    case When::is_false:
      return value.kind() == JsonKind::boolean && !value.boolean();
  }
  return true;
}

template <typename Table>
void refuse(const Table& table, const ConfigKeys& keys) {
  for (const MeaningKey& row : table) {
    const auto value = keys.unused(row.key);
    if (value && applies(row.when, *value)) value->fail(std::string(row.expected));
  }
}

struct Noted {
  std::string_view key;
  std::string_view note;
};

constexpr auto kNoted = std::to_array<Noted>({
    {"quantization_config", "its weights are stored quantised; the plan is for unquantised ones"},
    {"attn_logit_softcapping", "the soft cap of attention scores is not computed"},
    {"logits_soft_cap", "the soft cap of attention scores is not computed"},
    {"num_nextn_predict_layers", "layers that predict further tokens are not counted"},
    {"mtp_num_hidden_layers", "layers that predict further tokens are not counted"},
    {"alibi", "position biases of attention scores are not computed"},
    {"use_alibi", "position biases of attention scores are not computed"},
    {"vision_config", "the vision tower is not counted"},
    {"audio_config", "the audio tower is not counted"},
    {"audio_encoder_config", "the audio tower is not counted"},
});

}  // namespace

const RefusedType* find_refused_type(std::string_view model_type) {
  for (const RefusedType& row : kRefusedTypes) {
    if (row.model_type == model_type) return &row;
  }
  return nullptr;
}

void refuse_kinds_of_layers(const ConfigKeys& keys) { refuse(kKindKeys, keys); }

void refuse_unused_meaning(const ConfigKeys& keys) { refuse(kFamilyKeys, keys); }

std::vector<std::string> notes_on(ConfigKeys& keys) {
  std::vector<std::string> notes;
  for (const Noted& row : kNoted) {
    const auto value = keys.find(row.key);
    if (value && truthy(*value)) notes.push_back(fmt::format("{}: {}", row.key, row.note));
  }
  return notes;
}

}  // namespace strata::detail
