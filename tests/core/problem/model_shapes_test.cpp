// SPDX-License-Identifier: Apache-2.0
// Published configurations by hand, facts only: every one is read right or refused for the key that says what
// cannot be represented. `parameters` and `active` (those that a token passes) are the publishers' figures.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "core/json/json_document.hpp"
#include "core/problem/model_json.hpp"
#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

struct Row {
  std::string name, config, shape, refused;
  double parameters = 0, active = 0;
};

std::vector<Row> rows() {
  std::ifstream in(STRATA_SOURCE_DIR "/tests/core/problem/model_shapes.jsonl");
  std::vector<Row> rows;
  for (std::string line; std::getline(in, line);) {
    const JsonDocument document = JsonDocument::parse_text(line, "model_shapes.jsonl");
    Row row;
    for (const JsonValue member : document.root().members()) {
      if (member.key() == "name") row.name = member.string();
      if (member.key() == "config") row.config = member.canonical_text();
      if (member.key() == "shape") row.shape = member.canonical_text();
      if (member.key() == "refused") row.refused = member.string();
      if (member.key() == "parameters") row.parameters = member.number();
      if (member.key() == "active") row.active = member.number();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

ModelReading read(const std::string& text) {
  return read_model_and_notes(JsonDocument::parse_text(text, "config.json").root());
}

/// What a reader makes of a configuration: a shape, or an error.
std::string outcome(const std::string& text) {
  try {
    return to_json(read(text).shape);
  } catch (const InputError& error) {
    return error.what();
  }
}

/// The object with one more member in front.
std::string with(const std::string& object, const std::string& key, const std::string& value) {
  const std::string separator = object == "{}" ? "" : ",";
  return fmt::format("{{\"{}\":{}{}{}", key, value, separator, object.substr(1));
}

const std::string kLlama =
    R"({"hidden_size":4096,"intermediate_size":14336,"model_type":"llama","num_attention_heads":32,)"
    R"("num_hidden_layers":32,"num_key_value_heads":8,"torch_dtype":"bfloat16","vocab_size":128256})";

TEST(ModelShapes, EveryPublishedOneIsReadRightOrRefusedForItsReason) {
  std::size_t right = 0;
  std::size_t refused = 0;
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.name);
    const std::string found = outcome(row.config);
    if (row.refused.empty()) {
      EXPECT_EQ(found, to_json(read(row.shape).shape));
      ++right;
    } else {
      EXPECT_TRUE(found.starts_with("config.json: " + row.refused)) << found;
      ++refused;
    }
  }
  EXPECT_GE(right, 60U);
  EXPECT_GE(refused, 30U);
}

TEST(ModelShapes, HaveThePublishedNumberOfParameters) {
  int counted = 0;
  for (const Row& row : rows()) {
    if (row.parameters == 0) continue;
    SCOPED_TRACE(row.name);
    ++counted;
    const ModelShape shape = read(row.config).shape;
    EXPECT_NEAR(parameter_count(shape) / row.parameters, 1, 0.02);
    // Publishers round this figure to the billion, and some leave out the embedding.
    if (row.active > 0) {
      EXPECT_NEAR(active_parameter_count(shape) / row.active, 1, 0.12);
    }
  }
  EXPECT_GE(counted, 60);
}

TEST(ModelShapes, NullMeansAbsent) {
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.name);
    const JsonDocument document = JsonDocument::parse_text(row.config, "config.json");
    std::string nulls = "{}";
    for (const char* key :
         {"num_key_value_heads", "head_dim", "sliding_window", "layer_types", "kv_lora_rank",
          "num_local_experts", "n_shared_experts", "torch_dtype", "dtype", "attn_config", "text_config",
          "quantization_config", "tie_word_embeddings", "index_topk"}) {
      bool stated = false;
      for (const JsonValue member : document.root().members()) stated |= member.key() == key;
      if (!stated) nulls = with(nulls, key, "null");
    }
    const std::string more = nulls.substr(0, nulls.size() - 1) + "," + row.config.substr(1);
    EXPECT_EQ(outcome(more), outcome(row.config));
    // And a key that is null says what a file without it says.
    for (const JsonValue member : document.root().members()) {
      std::string without = "{}";
      for (const JsonValue other : document.root().members()) {
        if (other.key() != member.key())
          without = with(without, std::string(other.key()), other.canonical_text());
      }
      EXPECT_EQ(outcome(with(without, std::string(member.key()), "null")), outcome(without)) << member.key();
    }
  }
}

/// Keys that say something about the shape or the mask, each with a value at which it says it. None is a key
/// of the type beside which it is put.
constexpr std::pair<const char*, const char*> kMeaning[] = {
    {"sliding_window", "4096"},
    {"sliding_window_pattern", "6"},
    {"sliding_window_pattern", "\"LLLG\""},
    {"_sliding_window_pattern", "6"},
    {"layer_types", "[\"full_attention\",\"sliding_attention\"]"},
    {"layer_types", "[\"linear_attention\"]"},
    {"hybrid_override_pattern", "\"M-M*\""},
    {"hybrid_layer_pattern", "[0,1]"},
    {"layers_block_type", "[\"mamba\",\"attention\"]"},
    {"block_types", "[\"recurrent\"]"},
    {"attn_layer_period", "8"},
    {"attn_layer_indices", "[9,18]"},
    {"full_attn_idxs", "[2,5]"},
    {"full_attention_interval", "4"},
    {"global_attn_every_n_layers", "3"},
    {"attn_type_list", "[0,1]"},
    {"attention_types", "[[[\"global\",\"local\"],12]]"},
    {"linear_attn_config", "{\"num_heads\":32}"},
    {"linear_num_value_heads", "32"},
    {"ssm_cfg", "{}"},
    {"mamba_d_state", "128"},
    {"state_size", "16"},
    {"conv_L_cache", "3"},
    {"attention_chunk_size", "8192"},
    {"attention_window_size", "2048"},
    {"local_attention", "128"},
    {"window_size", "256"},
    {"index_topk", "2048"},
    {"sparse_config", "{\"block\":64}"},
    {"nsa_config", "{\"block\":64}"},
    {"moba_chunk_size", "4096"},
    {"cross_attention_layers", "[3,8]"},
    {"add_cross_attention", "true"},
    {"is_encoder_decoder", "true"},
    {"use_bidirectional_attention", "true"},
    {"is_causal", "false"},
    {"prefix_lm", "true"},
    {"num_kv_shared_layers", "15"},
    {"use_cla", "true"},
    {"block_configs", "[{\"attention\":{}}]"},
    {"attention_head_dim", "64"},
    {"head_size", "64"},
    {"kv_channels", "96"},
    {"num_kv_heads", "4"},
    {"n_head_kv", "4"},
    {"n_layer", "24"},
    {"n_embd", "2048"},
    {"n_head", "16"},
    {"ffn_dim", "4096"},
    {"dtype", "\"float16\""},
    {"multi_query", "true"},
    {"multi_query_group_num", "2"},
    {"new_decoder_architecture", "true"},
    {"num_attention_groups", "4"},
    {"kv_lora_rank", "512"},
    {"q_lora_rank", "1536"},
    {"qk_nope_head_dim", "128"},
    {"v_head_dim", "64"},
    {"num_experts", "64"},
    {"num_local_experts", "8"},
    {"n_routed_experts", "64"},
    {"num_experts_per_tok", "2"},
    {"moe_intermediate_size", "1408"},
    {"n_shared_experts", "1"},
    {"shared_expert_intermediate_size", "5632"},
    {"first_k_dense_replace", "1"},
    {"word_embed_proj_dim", "512"},
    {"architectures", "[\"LlamaBidirectionalModel\"]"},
};

TEST(HuggingFaceKeys, ThatChangeTheMeaningAreUsedOrRefused) {
  for (const auto& [key, value] : kMeaning) {
    // Beside the keys of a type that has no use for it, beside nothing but the type, and alone.
    const std::string beside = outcome(with(kLlama, key, value));
    EXPECT_TRUE(beside.starts_with(fmt::format("config.json: {}", key))) << key << ": " << beside;
    EXPECT_TRUE(outcome(with("{\"model_type\":\"llama\"}", key, value)).starts_with("config.json: ")) << key;
    EXPECT_TRUE(outcome(fmt::format("{{\"{}\":{}}}", key, value)).starts_with("config.json: ")) << key;
  }
}

TEST(HuggingFaceKeys, OfATextModelAreReadWhereverTheWrapperPutsThem) {
  const std::string nested = R"({"model_type":"llava","text_config":)" + kLlama + "}";
  EXPECT_EQ(outcome(nested), outcome(kLlama));
  const ModelReading reading = read(with(nested, "vision_config", R"({"hidden_size":1024})"));
  ASSERT_EQ(reading.notes.size(), 1U);
  EXPECT_EQ(reading.notes[0], "vision_config: the vision tower is not counted");
  EXPECT_EQ(outcome(R"({"model_type":"qwen2_5_omni","thinker_config":{"text_config":)" +
                    test::edited(kLlama, "llama", "qwen2_5_omni_text") + "}}"),
            outcome(kLlama));
  // What a wrapper repeats is one statement; what it states alone is refused where it bears meaning.
  const std::string qwen = test::edited(kLlama, "llama", "qwen2_5_vl_text");
  const std::string repeated = R"({"model_type":"qwen2_5_vl","text_config":)" + qwen + "," +
                               test::edited(qwen, R"("model_type":"qwen2_5_vl_text",)", "").substr(1);
  EXPECT_EQ(outcome(repeated), outcome(kLlama));
  EXPECT_TRUE(read(repeated).unused_keys.empty());
  EXPECT_EQ(outcome(with(with(repeated, "sliding_window", "32768"), "use_sliding_window", "false")),
            outcome(kLlama));
  EXPECT_TRUE(
      outcome(with(repeated, "sliding_window", "32768")).starts_with("config.json: sliding_window: "));
  EXPECT_EQ(outcome(R"({"model_type":"llava"})"),
            "config.json: found no field 'text_config', expected the text model's own configuration");
  EXPECT_EQ(outcome(R"({"model_type":"internvl_chat","llm_config":{"hidden_size":1}})").substr(0, 59),
            "config.json: llm_config: found no field 'model_type', expec");
}

TEST(HuggingFaceKeys, ThatWereNotUsedAreListed) {
  const ModelReading reading = read(with(with(kLlama, "rope_theta", "5e5"), "a\\u001b[31mkey", "\"value\""));
  EXPECT_EQ(reading.unused_keys, (std::vector<std::string>{"a\\x1b[31mkey", "rope_theta"}));
  EXPECT_EQ(reading.model_type, "llama");
  const ModelReading nested = read(R"({"model_type":"llava","image_token_index":7,"text_config":)" +
                                   with(kLlama, "rope_theta", "5e5") + "}");
  EXPECT_EQ(nested.unused_keys, (std::vector<std::string>{"image_token_index", "text_config.rope_theta"}));
}

TEST(HuggingFaceKeys, ThatAreAssumedAreSaid) {
  const auto without = [](const std::string& member) { return test::edited(kLlama, member + ",", ""); };
  EXPECT_EQ(read(without(R"("num_key_value_heads":8)")).notes,
            (std::vector<std::string>{"num_key_value_heads is not stated: as many as query heads"}));
  EXPECT_EQ(read(without(R"("torch_dtype":"bfloat16")")).element_type_note,
            "the element type is not stated: bf16 is assumed");
  EXPECT_EQ(read(test::edited(kLlama, "bfloat16", "float32")).element_type_note,
            "the checkpoint is stored in float32; training usually runs in bf16: --element-type bf16");
  const std::string mistral = test::edited(kLlama, "llama", "mistral");
  EXPECT_EQ(read(mistral).notes,
            (std::vector<std::string>{"sliding_window is not stated: no window is assumed"}));
  EXPECT_TRUE(read(with(mistral, "sliding_window", "null")).notes.empty());
  EXPECT_TRUE(read(kLlama).notes.empty());
  EXPECT_EQ(read(kLlama).element_type_note, "");
}

TEST(HuggingFaceKeys, WithTwoNamesForOneThingMustAgree) {
  EXPECT_EQ(outcome(with(kLlama, "n_layer", "32")), outcome(kLlama));
  EXPECT_EQ(
      outcome(with(kLlama, "n_layer", "24")),
      "config.json: n_layer: found 24 where num_hidden_layers says 32, expected two names of one thing to "
      "agree");
}

TEST(HuggingFaceKeys, WithoutATypeAreNotGuessed) {
  EXPECT_EQ(
      outcome(test::edited(kLlama, R"("model_type":"llama",)", "")),
      "config.json: found no field 'model_type', expected the model_type of a Hugging Face configuration, or "
      "Strata's own keys: layers, hidden, ffn, query_heads, kv_heads, head_dim, element_type");
  const std::string unknown = outcome(test::edited(kLlama, "llama", "llame"));
  EXPECT_EQ(unknown,
            "config.json: model_type: found \"llame\", a type whose keys are not known, expected one of the "
            "types in docs/plan-format.md, or Strata's own keys; did you mean 'llama'?");
  EXPECT_EQ(outcome(test::edited(kLlama, "\"llama\"", "7")),
            "config.json: model_type: found 7, expected a string");
}

TEST(HuggingFaceKeys, OfEveryTypeThatIsReadAreDocumented) {
  std::ifstream in(STRATA_SOURCE_DIR "/docs/plan-format.md");
  std::string page{std::istreambuf_iterator<char>(in), {}};
  for (char& c : page) {
    if (c == '|' || c == '\n') c = ' ';
  }
  const std::string message = outcome(R"({"model_type":"none"})");
  const auto begin = message.find("one of ") + 7;
  std::istringstream types(message.substr(begin, message.find(", or a file") - begin));
  int count = 0;
  for (std::string type; types >> type; ++count) {
    if (type.ends_with(',')) type.pop_back();
    const bool listed = page.find(" " + type + ",") != std::string::npos ||
                        page.find(" " + type + " ") != std::string::npos ||
                        page.find(" " + type + ";") != std::string::npos;
    EXPECT_TRUE(listed) << type;
  }
  EXPECT_GE(count, 80);
}

TEST(HuggingFaceKeys, OfAnyValueGiveAShapeThatReadsBackOrAnError) {
  const char* values[] = {"null",
                          "true",
                          "false",
                          "0",
                          "1",
                          "-1",
                          "7",
                          "4096",
                          "2147483647",
                          "4294967296",
                          "1e300",
                          "18446744073709551616",
                          "0.5",
                          "\"\"",
                          "\"qwen2_moe\"",
                          "[]",
                          "[1]",
                          "[1,2]",
                          "{}",
                          "{\"kv_n_heads\":3}",
                          "[\"sliding_attention\"]"};
  std::int64_t tried = 0;
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.name);
    const JsonDocument document = JsonDocument::parse_text(row.config, "config.json");
    for (const JsonValue member : document.root().members()) {
      std::string without = "{}";
      for (const JsonValue other : document.root().members()) {
        if (other.key() != member.key())
          without = with(without, std::string(other.key()), other.canonical_text());
      }
      for (const char* value : values) {
        const std::string found = outcome(with(without, std::string(member.key()), value));
        ++tried;
        if (found.front() != '{') continue;
        EXPECT_EQ(outcome(found), found);
        EXPECT_GT(parameter_count(read(found).shape), 0);
      }
    }
  }
  EXPECT_GT(tried, 20000);
}

}  // namespace
}  // namespace strata
