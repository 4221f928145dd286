// SPDX-License-Identifier: Apache-2.0
// Model files: Strata's keys and Hugging Face's, and every way in which they can be wrong.
#include "core/problem/model_json.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

ModelShape read(const std::string& text) {
  std::istringstream in(text);
  return read_model(in, "m.json");
}

const std::string kGood =
    R"({"layers": 32, "hidden": 4096, "ffn": 14336, "vocabulary": 128256, "query_heads": 32, "kv_heads": 8,)"
    R"( "head_dim": 128, "element_type": "bf16", "attention": "dense", "mask": "document_causal"})";

std::string error_of(const std::string& from, const std::string& to) {
  return test::input_error([&] { read(test::edited(kGood, from, to)); });
}

TEST(ModelJson, ReadsStratasOwnKeys) {
  EXPECT_EQ(read(kGood), named_model("llama3_8b"));
  const ModelShape window =
      read(test::edited(test::edited(kGood, "\"dense\"", "\"window\", \"window\": 512"), "\"head_dim\": 128",
                        "\"head_dim\": 192, \"value_head_dim\": 128"));
  EXPECT_EQ(window.mask(), Mask{512});
  EXPECT_EQ(window.head_dim, 192);
  EXPECT_EQ(window.value_head_dim, 128);
  EXPECT_EQ(read(test::edited(kGood, "bf16", "fp32")).element_type, ElementType::f32);
  EXPECT_EQ(read(test::edited(kGood, "bf16", "f16")).element_type, ElementType::f16);
  EXPECT_EQ(read(test::edited(kGood, "bf16", "fp16")).element_type, ElementType::f16);
}

TEST(ModelJson, WritesWhatItReads) {
  for (const char* name : {"tiny", "llama3_8b", "llama3_70b"}) {
    EXPECT_EQ(read(to_json(named_model(name))), named_model(name));
    EXPECT_EQ(load_model(name), named_model(name));
  }
  ModelShape model = named_model("tiny");
  model.attention = AttentionKind::window;
  model.window = 7;
  model.value_head_dim = 32;
  model.mask_kind = MaskKind::full_causal;
  model.element_type = ElementType::f16;
  EXPECT_EQ(read(to_json(model)), model);
}

TEST(ModelJson, ReadsAHuggingFaceConfiguration) {
  const std::string llama =
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,)"
      R"( "intermediate_size": 14336,)"
      R"( "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rope_theta": 5e5,)"
      R"( "torch_dtype": "bfloat16", "vocab_size": 128256})";
  EXPECT_EQ(read(llama), named_model("llama3_8b"));
  ModelShape half = named_model("llama3_8b");
  half.element_type = ElementType::f16;
  EXPECT_EQ(read(test::edited(llama, "bfloat16", "float16")), half);
  EXPECT_EQ(read(test::edited(llama, "\"torch_dtype\": \"bfloat16\"", "\"dtype\": \"float16\"")), half);
  EXPECT_EQ(test::input_error([&] { read(test::edited(llama, "bfloat16", "float8")); }),
            "m.json: torch_dtype: found \"float8\", expected \"bfloat16\" or \"float16\" or \"float32\"");
  EXPECT_EQ(test::input_error([&] {
              read(test::edited(llama, "\"num_attention_heads\": 32", "\"num_attention_heads\": 24"));
            }),
            "m.json: found no field 'head_dim' and 24 heads for a hidden size of 4096, expected heads that "
            "divide the "
            "hidden size");
}

const std::string kExperts =
    R"({"layers": 27, "hidden": 2048, "ffn": 10944, "query_heads": 16, "kv_heads": 16, "head_dim": 192,)"
    R"( "value_head_dim": 128, "element_type": "bf16", "vocabulary": 102400, "tied_embeddings": true,)"
    R"( "latent": {"kv_rank": 512, "query_rank": 1536, "rope_head_dim": 64}, "ffn_matrices": 2,)"
    R"( "experts": {"routed": 64, "per_token": 6, "ffn": 1408, "shared_ffn": 2816, "dense_layers": 1}})";

TEST(ModelJson, ReadsExpertsAndLatentAttention) {
  const ModelShape model = read(kExperts);
  EXPECT_EQ(model.experts, (ExpertShape{64, 6, 1408, 2816, 1}));
  EXPECT_EQ(model.latent, (LatentShape{512, 1536, 64}));
  EXPECT_EQ(model.ffn_matrices, 2);
  EXPECT_TRUE(model.tied_embeddings);
  EXPECT_EQ(expert_layers(model), 26);
  EXPECT_EQ(read(to_json(model)), model);
  // 26 layers pass 6 x 1408 + 2816, one passes 10944.
  EXPECT_EQ(active_ffn(model), (26.0 * 11264 + 10944) / 27);
  const ModelShape everywhere =
      read(test::edited(test::edited(kExperts, ", \"dense_layers\": 1", ""), "\"ffn\": 10944, ", ""));
  EXPECT_EQ(everywhere.ffn, 0);
  EXPECT_EQ(active_ffn(everywhere), 11264);
  EXPECT_EQ(read(to_json(everywhere)), everywhere);
}

TEST(ModelJson, NamesWhatDoesNotGoTogether) {
  const auto error = [](const std::string& from, const std::string& to) {
    return test::input_error([&] { read(test::edited(kExperts, from, to)); });
  };
  EXPECT_EQ(error("\"per_token\": 6", "\"per_token\": 65"),
            "m.json: experts.per_token: found 65, expected an integer from 1 to 64");
  EXPECT_EQ(error("\"dense_layers\": 1", "\"dense_layers\": 27"),
            "m.json: found experts.dense_layers = 27, expected at most 26");
  EXPECT_EQ(error("\"dense_layers\": 1", "\"dense_layers\": 0"),
            "m.json: ffn: found 10944 and experts in every layer, expected no ffn, or experts.dense_layers");
  EXPECT_EQ(error("\"ffn\": 10944, ", ""), "m.json: found no field 'ffn', expected an integer");
  EXPECT_EQ(
      error("\"kv_heads\": 16", "\"kv_heads\": 8"),
      "m.json: found 16 query heads and 8 KV heads with latent attention, expected as many KV heads as query "
      "heads, since every head's keys are expanded");
  EXPECT_EQ(error("\"rope_head_dim\": 64", "\"rope_head_dim\": 192"),
            "m.json: found latent.rope_head_dim = 192, expected at most 191");
  EXPECT_EQ(error("\"ffn\": 1408", "\"ffn\": 2147483647"),
            "m.json: found experts.ffn = 2147483647, expected at most 357913941");
  EXPECT_EQ(error("\"routed\"", "\"router\""),
            "m.json: experts: found no field 'routed', expected an integer");
}

TEST(ModelJson, NamesWhatIsWrong) {
  EXPECT_EQ(error_of("\"kv_heads\": 8", "\"kv_heads\": 5"),
            "m.json: found 32 query heads and 5 KV heads, expected query heads that are a multiple of the KV "
            "heads");
  EXPECT_EQ(error_of("\"dense\"", "\"nsa\""),
            "m.json: attention: found \"nsa\", which is not available in this version, expected \"dense\" or "
            "\"window\"");
  EXPECT_EQ(error_of("\"dense\"", "\"window\""), "m.json: found no field 'window', expected an integer");
  EXPECT_EQ(error_of("\"dense\"", "\"dense\", \"window\": 4").substr(0, 41),
            "m.json: window: found an unknown field, e");
  EXPECT_EQ(error_of("\"bf16\"", "\"fp8\""),
            "m.json: element_type: found \"fp8\", expected \"f32\" or \"bf16\" or \"f16\" or \"fp32\" or "
            "\"fp16\"");
  EXPECT_EQ(error_of("\"layers\": 32", "\"layers\": 0"),
            "m.json: layers: found 0, expected an integer from 1 to 1048576");
  EXPECT_EQ(error_of("\"query_heads\": 32", "\"query_heads\": 8192"),
            "m.json: query_heads: found 8192, expected an integer from 1 to 4096");
  EXPECT_EQ(error_of("\"layers\": 32, ", ""), "m.json: found no field 'layers', expected an integer");
  EXPECT_EQ(error_of("\"layers\"", "\"layer\""), "m.json: found no field 'layers', expected an integer");
  EXPECT_EQ(error_of("\"mask\"", "\"masks\""), "m.json: masks: found an unknown field, expected 'mask'");
}

TEST(ModelShape, CountsMultiplyAddsOfTheLinearLayers) {
  // By hand: q and o 4096 x 4096 each, k and v 4096 x 1024 each, three 4096 x 14336 matrices; two per weight.
  const double weights = 2.0 * 4096 * 4096 + 2.0 * 4096 * 1024 + 3.0 * 4096 * 14336;
  EXPECT_EQ(linear_flops_per_token(named_model("llama3_8b")), 2.0 * weights);
}

TEST(ModelShape, CountsTheExpertsThatATokenPassesAndTheShortRowsOfLatentAttention) {
  const ModelShape model = read(kExperts);
  // By hand. q: 2048 to 1536 to 16 x 192; k and v: 2048 to 512 + 64, 512 to 16 x (128 + 128); o: 16 x 128
  // back.
  const double attention =
      2048.0 * 1536 + 1536.0 * 16 * 192 + 2048.0 * 576 + 512.0 * 16 * 256 + 2048.0 * 2048;
  const double dense = 2.0 * 2048 * 10944;
  const double experts = 2048.0 * 64 + 2.0 * 2048 * (6.0 * 1408 + 2816);
  EXPECT_EQ(linear_flops_per_token(model), 2.0 * (27 * attention + dense + 26 * experts) / 27);
  EXPECT_EQ(
      parameter_count(model),
      27 * attention + dense + 26 * (2048.0 * 64 + 2.0 * 2048 * (64.0 * 1408 + 2816)) + 102400.0 * 2048);
}

TEST(ModelShape, KnowsTheKvHeadsThatQueryHeadsRead) {
  const ModelShape model = named_model("llama3_8b");
  EXPECT_EQ(model.kv_heads_of({0, 4}), (HeadRange{0, 1}));
  EXPECT_EQ(model.kv_heads_of({3, 5}), (HeadRange{0, 2}));
  EXPECT_EQ(model.kv_heads_of({0, 32}), (HeadRange{0, 8}));
}

TEST(NamedModel, RejectsAnotherName) {
  EXPECT_EQ(test::input_error([] { named_model("gpt"); }),
            "model: found 'gpt', expected tiny, llama3_8b, llama3_70b or a JSON file");
  EXPECT_FALSE(is_named_model("gpt"));
}

}  // namespace
}  // namespace strata
