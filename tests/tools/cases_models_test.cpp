// SPDX-License-Identifier: Apache-2.0
// Model files as users brought them: what is understood is right and printed, what cannot be is refused.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

const std::string kDeepSeek =
    R"({"model_type":"deepseek_v3","hidden_size":7168,"intermediate_size":18432,"num_hidden_layers":61,)"
    R"("num_attention_heads":128,"num_key_value_heads":128,"q_lora_rank":1536,"kv_lora_rank":512,)"
    R"("qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,"n_routed_experts":256,)"
    R"("n_shared_experts":1,"num_experts_per_tok":8,"moe_intermediate_size":2048,"first_k_dense_replace":3,)"
    R"("torch_dtype":"bfloat16"})";
const std::string kMixtral =
    R"({"model_type":"mixtral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,)"
    R"("num_attention_heads":32,"num_key_value_heads":8,"num_local_experts":8,"num_experts_per_tok":2,)"
    R"("sliding_window":null,"torch_dtype":"bfloat16"})";

class CasesModels : public testing::Test {
 protected:
  void SetUp() override { work_.write("b.jsonl", "{\"step\": 0, \"packs\": [[1024, 512]]}\n"); }

  static std::string plan(const std::string& model, const std::string& more = "") {
    return "plan --batch b.jsonl --topology dgx_h100:1 --ranks 2 --strategy ring -o p.json --memory-cap none "
           "--model " +
           model + more;
  }
  /// The one line of a refusal, without the program's name and the end of the line.
  std::string refused(const std::string& config, const std::string& more = "") {
    work_.write("config.json", config);
    std::filesystem::remove(work_.path("p.json"));
    const Finished finished = work_.expect(2, plan("config.json", more));
    EXPECT_EQ(finished.out, "");
    EXPECT_FALSE(work_.has("p.json"));
    return finished.err.substr(0, finished.err.find('\n')).substr(std::string("strata: ").size());
  }
  std::string text(const std::string& config, const std::string& more = "") {
    work_.write("config.json", config);
    return work_.expect(0, plan("config.json", more)).out;
  }
  JsonDocument json(const std::string& config, const std::string& more = "") {
    work_.write("config.json", config);
    return parsed(work_.expect(0, plan("config.json", more + " --json")).out);
  }
  std::string shape(const std::string& config, const std::string& more = "") {
    const JsonDocument document = json(config, more);
    return member(document, "read_as.model.shape").canonical_text();
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  Workspace work_;
};

TEST_F(CasesModels, LatentAttentionIsPlannedWithTheHeadsThatTrainingSees) {
  const std::string own =
      R"({"element_type":"bf16","experts":{"dense_layers":3,"ffn":2048,"per_token":8,"routed":256,)"
      R"("shared_ffn":2048},"ffn":18432,"head_dim":192,"hidden":7168,"kv_heads":128,"latent":{"kv_rank":512,)"
      R"("query_rank":1536,"rope_head_dim":64},"layers":61,"query_heads":128,"value_head_dim":128})";
  EXPECT_EQ(shape(kDeepSeek), shape(own));
  const std::string lines = text(kDeepSeek);
  EXPECT_TRUE(has(lines, "128 query and 128 KV heads of 192, values and outputs of 128;")) << lines;
  EXPECT_TRUE(has(lines, "8 of 256 experts of width 2048 a token in 58 layers, and shared ones of 2048"))
      << lines;
  // Without the key that says where experts begin the shape is not known.
  const std::string shorter = kDeepSeek.substr(0, kDeepSeek.find(",\"first_k")) + "}";
  EXPECT_EQ(refused(shorter),
            "config.json: found no field 'first_k_dense_replace', expected an integer, since the shape "
            "depends on it");
}

// Layers of several kinds cannot be planned yet; until then these are refused, naming the key.
TEST_F(CasesModels, KnownLimitWindowsInSomeLayersAreRefused) {
  EXPECT_EQ(
      refused(R"({"model_type":"gemma3_text","hidden_size":1152,"intermediate_size":6912,)"
              R"("num_hidden_layers":26,"num_attention_heads":4,"num_key_value_heads":1,"head_dim":256,)"
              R"("sliding_window":512,"sliding_window_pattern":6,"torch_dtype":"bfloat16"})"),
      "config.json: sliding_window_pattern: found 6, expected layers of one kind: layer_types with the same "
      "type "
      "for every layer");
}

TEST_F(CasesModels, KnownLimitStateSpaceLayersAreRefused) {
  EXPECT_EQ(
      refused(R"({"model_type":"nemotron_h","attention_head_dim":128,"hidden_size":4480,)"
              R"("hybrid_override_pattern":"M-M*-M-","intermediate_size":15680,"num_attention_heads":40,)"
              R"("num_hidden_layers":56,"num_key_value_heads":8,"torch_dtype":"bfloat16"})"),
      "config.json: hybrid_override_pattern: found \"M-M*-M-\", expected layers of one kind, all with causal "
      "attention");
}

TEST_F(CasesModels, TheTextModelOfAWrapperIsRead) {
  EXPECT_EQ(
      refused(
          R"({"model_type":"gemma3","torch_dtype":"bfloat16","text_config":{"model_type":"gemma3_text",)"
          R"("hidden_size":2560,"intermediate_size":10240,"num_hidden_layers":34,"num_attention_heads":8,)"
          R"("num_key_value_heads":4,"head_dim":256,"sliding_window":1024}})"),
      "config.json: text_config.model_type: found \"gemma3_text\", which has windows in some layers and full "
      "attention in others, expected layers of one kind: layer_types with the same type for every layer");
  const std::string nested =
      R"({"model_type":"mistral3","torch_dtype":"bfloat16","text_config":{"model_type":"mistral",)"
      R"("head_dim":128,"hidden_size":5120,"intermediate_size":32768,"num_attention_heads":32,)"
      R"("num_hidden_layers":40,"num_key_value_heads":8,"vocab_size":131072}})";
  const std::string lines = text(nested);
  EXPECT_TRUE(has(lines, "model: 40 layers, hidden 5120, bf16; from config.json, a Hugging Face mistral\n"))
      << lines;
}

TEST_F(CasesModels, ExpertsOfATokenAreCountedInTheLinearWork) {
  const std::string dense =
      R"({"layers":32,"hidden":4096,"ffn":28672,"query_heads":32,"kv_heads":8,"head_dim":128,)"
      R"("element_type":"bf16"})";
  const JsonDocument with_experts = json(kMixtral);
  const JsonDocument as_wide = json(dense);
  const auto step = [](const JsonDocument& document) {
    return member(document, "predicted.step_time_ns").number();
  };
  // The router is what the experts have more: 8 columns beside 3 x 28672 and the projections.
  EXPECT_GT(step(with_experts), step(as_wide));
  EXPECT_NEAR(step(with_experts) / step(as_wide), 1, 1e-4);
  EXPECT_EQ(member(with_experts, "read_as.model.active_ffn").number(), 28672);
  EXPECT_TRUE(has(text(kMixtral), "2 of 8 experts of width 14336 a token in 32 layers"));
}

TEST_F(CasesModels, NullMeansAbsent) {
  const std::string start =
      R"({"model_type":"llama","hidden_size":4096,"intermediate_size":11008,"num_attention_heads":32,)"
      R"("num_hidden_layers":32,)";
  const std::string heads = shape(start + R"("num_key_value_heads":null,"torch_dtype":"bfloat16"})");
  EXPECT_EQ(heads, shape(start + R"("num_key_value_heads":32,"torch_dtype":"bfloat16"})"));
  const std::string type = shape(start + R"("num_key_value_heads":8,"torch_dtype":null,"dtype":"float16"})");
  EXPECT_EQ(type, shape(start + R"("num_key_value_heads":8,"torch_dtype":"float16"})"));
}

TEST_F(CasesModels, AFloat32CheckpointSaysHowTrainingUsuallyRuns) {
  const std::string small =
      R"({"model_type":"llama","hidden_size":576,"intermediate_size":1536,"num_attention_heads":9,)"
      R"("num_hidden_layers":30,"num_key_value_heads":3,"torch_dtype":"float32","vocab_size":49152})";
  work_.write("config.json", small);
  const std::string command =
      "plan --batch b.jsonl --topology cpu:1x2 --strategy ring -o p.json --model config.json";
  const std::string note = "training usually runs in bf16: --element-type bf16";
  EXPECT_TRUE(has(work_.expect(0, command).out, note));
  EXPECT_FALSE(has(work_.expect(0, command + " --element-type bf16").out, note));
}

TEST_F(CasesModels, EverythingThatWasDerivedIsPrinted) {
  const std::string mistral =
      R"({"model_type":"mistral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,)"
      R"("num_attention_heads":32,"num_key_value_heads":8,"sliding_window":4096,"torch_dtype":"bfloat16",)"
      R"("vocab_size":32000,"rope_theta":10000.0,"bos_token_id":1})";
  const std::string expected =
      "model: 32 layers, hidden 4096, bf16; from config.json, a Hugging Face mistral\n"
      "  32 query and 8 KV heads of 128; each token sees 4,096 tokens of its document, in every layer\n"
      "  ffn 14336, gated, three matrices\n"
      "  7.24 billion parameters, with a vocabulary of 32,000\n"
      "  keys that were not used: rope_theta, bos_token_id\n";
  EXPECT_TRUE(has(text(mistral), expected)) << text(mistral);
  const std::string compared =
      work_.expect(0, "compare --batches b.jsonl --topology dgx_h100:1 --ranks 2 --model config.json").out;
  EXPECT_TRUE(has(compared, expected)) << compared;
  const JsonDocument document = parsed(
      work_.expect(0, "compare --batches b.jsonl --topology dgx_h100:1 --ranks 2 --model config.json --json")
          .out);
  EXPECT_EQ(keys(member(document, "read_as.model")),
            (std::vector<std::string>{"source", "model_type", "shape", "parameters", "active_parameters",
                                      "active_ffn", "notes", "unused_keys"}));
  EXPECT_EQ(member(document, "read_as.model.unused_keys").canonical_text(),
            "[\"rope_theta\",\"bos_token_id\"]");
}

TEST_F(CasesModels, OverridesKeepTheShapeWhole) {
  // 3 of 61 layers are without experts; of 20 it is one, of 4 none.
  EXPECT_TRUE(has(shape(kDeepSeek, " --layers 20"), "\"dense_layers\":1,"));
  const std::string four = shape(kDeepSeek, " --layers 4");
  EXPECT_FALSE(has(four, "dense_layers")) << four;
  EXPECT_FALSE(has(four, "18432")) << four;
  std::filesystem::remove(work_.path("p.json"));
  EXPECT_EQ(
      refused(kDeepSeek, " --head-dim 64"),
      "--head-dim: found 64 for a model with keys of 192 and values of 128, expected a model file with both "
      "sizes");
  EXPECT_EQ(refused(kDeepSeek, " --heads 8:2").substr(0, 56),
            "--model config.json: found 8 query heads and 2 KV heads ");
  EXPECT_TRUE(has(shape(kMixtral, " --head-dim 64"), "\"value_head_dim\":64"));
}

TEST_F(CasesModels, AnUnknownNameIsAnsweredWithTheNamesThereAre) {
  const std::string topologies =
      ", which is no file, expected dgx_h100:NODES, cpu:HOSTSxRANKS or cpu:HOSTSxRANKS:CORES, or a JSON "
      "file\n";
  for (const std::string name : {"dgx_h200:1", "2x8"}) {
    for (const std::string command : {"plan --batch b.jsonl -o p.json --topology ", "topo "}) {
      EXPECT_EQ(work_.expect(2, command + name).err, "strata: topology: found '" + name + "'" + topologies);
    }
  }
  const std::string models =
      ", which is no file, expected tiny, llama3_8b, llama3_70b, a JSON file or a folder with a config.json";
  EXPECT_EQ(work_.expect(2, plan("llama3_9b")).err,
            "strata: model: found 'llama3_9b'" + models + "; did you mean 'llama3_8b'?\n");
  EXPECT_EQ(work_.expect(2, plan("llama3-70B")).err,
            "strata: model: found 'llama3-70B'" + models + "; did you mean 'llama3_70b'?\n");
  EXPECT_EQ(work_.expect(2, plan("granite")).err, "strata: model: found 'granite'" + models + "\n");
  EXPECT_EQ(work_.expect(2, plan("Qwen/Qwen3-8B")).err,
            "strata: model: found 'Qwen/Qwen3-8B'" + models +
                "; nothing is downloaded, so fetch its config.json first\n");
}

TEST_F(CasesModels, AMisspeltTypeIsAnsweredWithTheNearestAndAnyOtherWithAll) {
  const auto refused_type = [&](const std::string& type) {
    work_.write("config.json", R"({"model_type": ")" + type + R"(", "hidden_size": 64})");
    return work_.expect(2, plan("config.json")).err;
  };
  EXPECT_EQ(
      refused_type("lama"),
      "strata: config.json: model_type: found \"lama\", a type whose keys are not known, expected one of "
      "the types in docs/plan-format.md, or Strata's own keys; did you mean 'llama'?\n");
  EXPECT_TRUE(has(refused_type("qwen-3_moe"), "; did you mean 'qwen3_moe'?\n"));
  EXPECT_TRUE(has(refused_type("perceiver"), "expected one of llama, "));
}

TEST_F(CasesModels, AFileOfAnotherKindIsNamed) {
  work_.expect(0, "plan --batch b.jsonl --topology cpu:1x2 --model tiny -o p.json");
  const JsonDocument made = parsed(work_.read("p.json"));
  work_.write("topology.json", member(made, "inputs.topology.content").canonical_text());
  work_.write("model.json", member(made, "inputs.model.content").canonical_text());
  work_.write("profile.json", member(made, "inputs.profile.content").canonical_text());
  work_.write("documents.json", R"({"documents": [4, 5]})");
  work_.write("config.json", kMixtral);
  const auto refused_as = [&](const std::string& option, const std::string& file,
                              const std::string& message) {
    const std::string other = option == "--model" ? " --topology cpu:1x2" : " --model tiny";
    EXPECT_EQ(work_.expect(2, "plan --batch b.jsonl -o q.json" + other + " " + option + " " + file).err,
              "strata: " + file + ": found what looks like " + message + "\n");
  };
  for (const char* option : {"--model", "--topology"}) {
    const std::string expected = std::string(", expected a ") + (option + 2);
    refused_as(option, "b.jsonl", "a batch" + expected);
    refused_as(option, "documents.json", "a batch" + expected);
    refused_as(option, "p.json", "a plan" + expected);
    refused_as(option, "profile.json", "a cost profile" + expected);
  }
  refused_as("--model", "topology.json", "a topology, expected a model");
  refused_as("--topology", "model.json", "a model, expected a topology");
  refused_as("--topology", "config.json", "a model's config.json, expected a topology");
}

TEST_F(CasesModels, AFolderIsReadByItsConfiguration) {
  std::filesystem::create_directory(work_.path("checkpoint"));
  EXPECT_EQ(work_.expect(2, plan("checkpoint")).err,
            "strata: model: found folder 'checkpoint' without a config.json, expected a folder with a "
            "config.json, or "
            "the file itself\n");
  work_.write("checkpoint/config.json", kMixtral);
  EXPECT_TRUE(
      has(work_.expect(0, plan("checkpoint")).out, "from checkpoint/config.json, a Hugging Face mixtral\n"));
  // The file in it is an input that no output may replace.
  const std::string over =
      "plan --batch b.jsonl --topology dgx_h100:1 --model checkpoint -o checkpoint/config.json";
  EXPECT_EQ(work_.expect(2, over).err,
            "strata: checkpoint/config.json: found a file that this command reads, expected another file to "
            "write\n");
  EXPECT_EQ(work_.read("checkpoint/config.json"), kMixtral);
}

}  // namespace
}  // namespace strata::test
