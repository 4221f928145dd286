// SPDX-License-Identifier: Apache-2.0
// Keys and their meaning follow the configuration classes of the transformers library, or for types that are
// not part of it the published configurations (qwen, baichuan, chatglm, internlm2, exaone, minicpm3, kimi_k2,
// hunyuan, bailing_moe, deepseek). The shapes in tests/core/problem/model_shapes.jsonl hold the table against
// published sizes.
#include "core/problem/model_families.hpp"

namespace strata::detail {

namespace {

using enum WindowRule;
constexpr ExpertRule kOwnWidth = ExpertRule::own_width;
constexpr ExpertRule kFfnWidth = ExpertRule::ffn_width;
constexpr FfnRule kFourTimes = FfnRule::four_times;
constexpr std::array<std::string_view, 2> kDeepSeekKeys = {"first_k_dense_replace", "n_shared_experts"};
constexpr std::array<std::string_view, 2> kSharedWidth = {"shared_expert_intermediate_size"};

constexpr auto kFamilies = std::to_array<ModelFamily>({
    // Gated, every token passes one network.
    {.model_type = "llama"},
    {.model_type = "mistral", .window = every_layer, .default_window = true},
    {.model_type = "qwen2", .window = switched},
    {.model_type = "qwen2_vl", .window = switched},
    {.model_type = "qwen2_vl_text", .window = switched},
    {.model_type = "qwen2_5_vl", .window = switched},
    {.model_type = "qwen2_5_vl_text", .window = switched},
    {.model_type = "qwen2_5_omni_text", .window = switched},
    {.model_type = "qwen3", .window = switched},
    {.model_type = "qwen3_vl_text"},
    {.model_type = "qwen", .ffn = FfnRule::halved},
    {.model_type = "gemma", .tied = true},
    {.model_type = "phi3", .window = every_layer},
    {.model_type = "phi4mm", .window = every_layer},
    {.model_type = "phi4_multimodal", .window = every_layer},
    {.model_type = "stablelm"},
    {.model_type = "olmo"},
    {.model_type = "olmo2"},
    {.model_type = "granite"},
    {.model_type = "cohere", .tied = true},
    {.model_type = "glm"},
    {.model_type = "glm4"},
    {.model_type = "glm4v_text"},
    {.model_type = "chatglm", .kv = KvRule::chatglm},
    {.model_type = "internlm"},
    {.model_type = "internlm2"},
    {.model_type = "internlm3"},
    {.model_type = "baichuan"},
    {.model_type = "exaone"},
    {.model_type = "exaone4", .window = alternating_if_set, .default_window = true},
    {.model_type = "ernie4_5", .tied = true},
    {.model_type = "hunyuan_v1_dense"},
    {.model_type = "minicpm", .tied = true},
    {.model_type = "minicpm3", .latent = LatentRule::value_from_hidden, .tied = true},
    {.model_type = "smollm3", .window = off, .tied = true},
    {.model_type = "seed_oss"},
    {.model_type = "helium"},
    {.model_type = "xverse"},
    {.model_type = "orion"},
    // Windows in some layers, unless layer_types says otherwise.
    {.model_type = "gemma2", .window = alternating, .tied = true},
    {.model_type = "gemma3_text", .window = alternating, .tied = true},
    {.model_type = "cohere2", .window = alternating, .tied = true},
    {.model_type = "olmo3", .window = alternating},
    {.model_type = "gpt_oss", .window = alternating, .experts = kFfnWidth},
    // Two matrices.
    {.model_type = "gpt2", .ffn = kFourTimes, .ffn_matrices = 2, .tied = true},
    {.model_type = "gptj", .ffn = kFourTimes, .ffn_matrices = 2},
    {.model_type = "codegen", .ffn = kFourTimes, .ffn_matrices = 2},
    {.model_type = "gpt_neox", .ffn_matrices = 2},
    {.model_type = "gpt_bigcode",
     .kv = KvRule::multi_query,
     .ffn = kFourTimes,
     .ffn_matrices = 2,
     .tied = true},
    {.model_type = "starcoder2", .window = every_layer, .ffn_matrices = 2, .tied = true},
    {.model_type = "bloom", .ffn = kFourTimes, .ffn_matrices = 2, .tied = true},
    {.model_type = "opt", .ffn_matrices = 2, .tied = true},
    {.model_type = "falcon", .kv = KvRule::falcon, .ffn = kFourTimes, .ffn_matrices = 2, .tied = true},
    {.model_type = "RefinedWeb", .ffn = kFourTimes, .ffn_matrices = 2, .tied = true},
    {.model_type = "RefinedWebModel",
     .kv = KvRule::multi_query,
     .ffn = kFourTimes,
     .ffn_matrices = 2,
     .tied = true},
    {.model_type = "mpt",
     .kv = KvRule::attn_config,
     .ffn = FfnRule::expansion,
     .ffn_matrices = 2,
     .tied = true},
    {.model_type = "phi", .ffn_matrices = 2},
    {.model_type = "persimmon", .ffn_matrices = 2},
    {.model_type = "nemotron", .ffn_matrices = 2},
    {.model_type = "apertus", .ffn_matrices = 2},
    // Experts.
    {.model_type = "mixtral", .window = every_layer, .experts = kFfnWidth},
    {.model_type = "phimoe", .window = every_layer, .experts = kFfnWidth},
    {.model_type = "olmoe", .experts = kFfnWidth},
    {.model_type = "granitemoe", .experts = kFfnWidth},
    {.model_type = "granitemoeshared", .experts = kFfnWidth, .needs = {"shared_intermediate_size"}},
    {.model_type = "minimax_m2", .experts = kFfnWidth},
    {.model_type = "dbrx", .experts = ExpertRule::ffn_config, .kv = KvRule::attn_config},
    {.model_type = "qwen2_moe", .window = off, .experts = kOwnWidth, .needs = kSharedWidth},
    {.model_type = "qwen3_moe", .window = off, .experts = kOwnWidth},
    {.model_type = "qwen3_vl_moe_text", .experts = kOwnWidth},
    {.model_type = "qwen3_omni_moe_text", .window = off, .experts = kOwnWidth},
    {.model_type = "deepseek", .experts = kOwnWidth, .needs = kDeepSeekKeys},
    {.model_type = "deepseek_v2", .experts = kOwnWidth, .latent = LatentRule::stated, .needs = kDeepSeekKeys},
    {.model_type = "deepseek_v3", .experts = kOwnWidth, .latent = LatentRule::stated, .needs = kDeepSeekKeys},
    {.model_type = "kimi_k2", .experts = kOwnWidth, .latent = LatentRule::stated, .needs = kDeepSeekKeys},
    {.model_type = "glm4_moe", .experts = kOwnWidth, .needs = kDeepSeekKeys},
    {.model_type = "glm4v_moe_text", .experts = kOwnWidth, .needs = kDeepSeekKeys},
    {.model_type = "dots1", .window = off, .experts = kOwnWidth, .needs = kDeepSeekKeys},
    {.model_type = "bailing_moe",
     .experts = kOwnWidth,
     .needs = {"first_k_dense_replace", "num_shared_experts"}},
    {.model_type = "ernie4_5_moe",
     .experts = kOwnWidth,
     .tied = true,
     .needs = {"moe_layer_start_index", "moe_layer_interval"}},
    {.model_type = "hunyuan", .experts = kOwnWidth, .needs = {"num_shared_expert"}},
    {.model_type = "hunyuan_v1_moe", .experts = kOwnWidth, .needs = {"num_shared_expert"}},
});

constexpr auto kWrappers = std::to_array<ModelWrapper>({
    {"llava", "text_config", "llama"},
    {"llava_next", "text_config", "llama"},
    {"llava_next_video", "text_config", "llama"},
    {"video_llava", "text_config", "llama"},
    {"vipllava", "text_config", "llama"},
    {"llava_onevision", "text_config", "qwen2"},
    {"mistral3", "text_config", "mistral"},
    {"idefics2", "text_config", "mistral"},
    {"idefics3", "text_config", "llama"},
    {"smolvlm", "text_config", "llama"},
    {"voxtral", "text_config", "llama"},
    {"qwen2_audio", "text_config", "qwen2"},
    {"qwen2_vl", "text_config", "qwen2_vl_text"},
    {"qwen2_5_vl", "text_config", "qwen2_5_vl_text"},
    {"qwen2_5_omni", "thinker_config.text_config", "qwen2_5_omni_text"},
    {"qwen3_vl", "text_config", "qwen3_vl_text"},
    {"qwen3_vl_moe", "text_config", "qwen3_vl_moe_text"},
    {"qwen3_omni_moe", "thinker_config.text_config", "qwen3_omni_moe_text"},
    {"internvl", "text_config", "qwen2"},
    {"internvl_chat", "llm_config", ""},
    {"kimi_vl", "text_config", "deepseek_v3"},
    {"kimi_k25", "text_config", "kimi_k2"},
    {"deepseek_vl_v2", "language_config", "deepseek_v2"},
    {"deepseek_vl", "text_config", "llama"},
    {"multi_modality", "language_config", "llama"},
    {"glm4v", "text_config", "glm4v_text"},
    {"glm4v_moe", "text_config", "glm4v_moe_text"},
    {"aya_vision", "text_config", "cohere2"},
    {"gemma3", "text_config", "gemma3_text"},
    {"gemma3n", "text_config", "gemma3n_text"},
    {"llama4", "text_config", "llama4_text"},
    {"mllama", "text_config", "mllama_text_model"},
    {"qwen3_5", "text_config", "qwen3_5_text"},
    {"qwen3_5_moe", "text_config", "qwen3_5_moe_text"},
});

template <typename Table>
auto find_row(const Table& table, std::string_view model_type) -> decltype(table.data()) {
  for (const auto& row : table) {
    if (row.model_type == model_type) return &row;
  }
  return nullptr;
}

}  // namespace

const ModelFamily* find_family(std::string_view model_type) { return find_row(kFamilies, model_type); }

const ModelWrapper* find_wrapper(std::string_view model_type) { return find_row(kWrappers, model_type); }

std::string listed_model_types() {
  std::string names;
  const auto add = [&](std::string_view name) { names.append(names.empty() ? "" : ", ").append(name); };
  for (const ModelFamily& row : kFamilies) {
    // Text models of wrappers are no files of their own.
    if (row.window != alternating && !row.model_type.ends_with("_text")) add(row.model_type);
  }
  for (const ModelWrapper& row : kWrappers) {
    const ModelFamily* inner = find_family(row.inner_type);
    const bool readable = row.inner_type.empty() || (inner != nullptr && inner->window != alternating);
    if (readable && find_family(row.model_type) == nullptr) add(row.model_type);
  }
  return names;
}

}  // namespace strata::detail
