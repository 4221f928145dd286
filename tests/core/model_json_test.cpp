// SPDX-License-Identifier: Apache-2.0
// Model files: Strata's keys and Hugging Face's, and every way in which they can be wrong.
#include "core/model_json.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/core/bad_input.hpp"

namespace strata {
namespace {

ModelShape read(const std::string& text) {
  std::istringstream in(text);
  return read_model(in, "m.json");
}

const std::string kGood =
    R"({"layers": 32, "hidden": 4096, "ffn": 14336, "vocabulary": 128256, "query_heads": 32, "kv_heads": 8, "head_dim": 128,)"
    R"( "element_type": "bf16", "attention": "dense", "mask": "document_causal"})";

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
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,)"
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
