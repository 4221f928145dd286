// SPDX-License-Identifier: Apache-2.0
// Cases that users brought, about devices, tables and memory: a cluster whose devices no profile knows, work
// outside the tables, plans larger than the devices, and profiles that claim to have been measured.
#include <gtest/gtest.h>

#include <string>

#include "core/base/digest.hpp"
#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Two devices of a name, both ways joined.
std::string two_devices(const std::string& name, const std::string& device) {
  const std::string link = R"("level": "node", "latency_ns": 3750, "bandwidth_gbytes_per_s": 370})";
  return R"({"name": ")" + name + R"(", "nodes": ["n0"], "devices": [{"name": ")" + device +
         R"(0", "node": 0, "memory_bytes": 85899345920}, {"name": ")" + device +
         R"(1", "node": 0, "memory_bytes": 85899345920}], "links": [{"from": 0, "to": 1, )" + link +
         R"(, {"from": 1, "to": 0, )" + link + R"(], "ranks": [{"devices": [0]}, {"devices": [1]}]})";
}

/// The canonical text of the profile that a plan carries.
std::string profile_of(const std::string& plan) {
  const JsonDocument document = parsed(plan);
  return member(document, "inputs.profile.content").canonical_text();
}

class MemoryCase : public ::testing::Test {
 protected:
  void SetUp() override {
    work_.write("b.jsonl", "{\"step\":0,\"packs\":[[8192,8192]]}\n");
    work_.write("small.jsonl", "{\"step\":0,\"packs\":[[4000,24,72]]}\n");
  }
  Workspace work_;
};

TEST_F(MemoryCase, AGpuThatNoProfileKnowsIsNeverCostedAsAnotherDevice) {
  for (const char* device : {"n0.a100", "B200 ", "h200-", "gpu"}) {
    work_.write("cluster.json", two_devices("box", device));
    for (const std::string command : {"plan --batch b.jsonl -o p.json", "compare --batches b.jsonl"}) {
      const Finished refused = work_.expect(2, command + " --topology cluster.json --model llama3_8b");
      EXPECT_TRUE(contains(refused.err, "--profile: found no shipped profile for device '")) << refused.err;
      EXPECT_TRUE(contains(refused.err, "expected --profile FILE with one; shipped: cpu (")) << refused.err;
    }
    EXPECT_FALSE(work_.has("p.json"));
  }
}

TEST_F(MemoryCase, AGivenProfileMustBeForTheDevicesUnlessAnyIsAdmitted) {
  work_.expect(0, "plan --batch small.jsonl --topology cpu:1x2 --model tiny -o cpu.json");
  work_.write("cpu_profile.json", profile_of(work_.read("cpu.json")));
  const std::string plan =
      "plan --batch small.jsonl --topology dgx_h100:1 --model tiny --heads 8:8 --profile cpu_profile.json -o "
      "p.json";
  const Finished refused = work_.expect(2, plan);
  EXPECT_TRUE(contains(refused.err, "cpu_profile.json: found profile cpu, which is for devices named cpu"))
      << refused.err;
  EXPECT_TRUE(contains(refused.err, "or --any-device\n")) << refused.err;
  const Finished admitted = work_.expect(0, plan + " --any-device");
  const std::string warning =
      "  not for devices of this cluster, such as node0.gpu0: times are another device's\n";
  EXPECT_TRUE(contains(admitted.out, warning)) << admitted.out;
  EXPECT_TRUE(contains(work_.expect(0, "explain p.json").out, warning));
  work_.expect(2, "simulate cpu.json --profile missing.json");
  const std::string compare =
      "compare --batches small.jsonl --topology dgx_h100:1 --model tiny --heads 8:8 --profile "
      "cpu_profile.json";
  for (const std::string& command : {plan, compare}) {
    const Finished strict = work_.expect(2, command + " --any-device --strict");
    EXPECT_TRUE(contains(strict.err, "strata: --strict: found profile cpu, which is for devices named cpu"))
        << strict.err;
    EXPECT_TRUE(contains(strict.err, ", expected one for device node0.gpu0; without --strict, --any-device"))
        << strict.err;
  }
  work_.expect(0, "plan --batch small.jsonl --topology dgx_h100:1 --model tiny --heads 8:8 -o gpu.json");
  work_.expect(2, "simulate gpu.json --profile cpu_profile.json");
  EXPECT_TRUE(
      contains(work_.expect(0, "simulate gpu.json --profile cpu_profile.json --any-device").out, warning));
}

TEST_F(MemoryCase, WorkOutsideTheTablesIsSaidByEveryCommandThatShowsATime) {
  struct Shape {
    const char *options, *reason;
  };
  const Shape f32{" --element-type f32",
                  "(no table for f32: training usually runs in bf16, --element-type bf16)"};
  for (const Shape& shape : {f32, Shape{" --head-dim 80", "(no table for heads of 80)"},
                             Shape{" --head-dim 56", "(no table for heads of 56)"}}) {
    const std::string inputs =
        std::string(" --topology dgx_h100:1 --model llama3_8b --strategy ulysses") + shape.options;
    const std::string plan = "plan --batch b.jsonl -o p.json" + inputs;
    for (const std::string& command : {plan, "compare --batches b.jsonl" + inputs,
                                       std::string("explain p.json"), std::string("simulate p.json")}) {
      const std::string out = work_.expect(0, command).out;
      const auto line = out.find("  outside its tables: ");
      ASSERT_NE(line, std::string::npos) << command << '\n' << out;
      std::string said = out.substr(line, 300);
      for (auto at = said.find("\n    "); at != std::string::npos; at = said.find("\n    "))
        said.replace(at, 5, " ");
      EXPECT_TRUE(contains(said, shape.reason)) << command << '\n' << out;
      const Finished strict = work_.expect(2, command + " --strict");
      EXPECT_TRUE(contains(strict.err, "strata: --strict: found ")) << strict.err;
      const JsonDocument document = parsed(work_.expect(0, command + " --json").out);
      EXPECT_GT(member(document, "read_as.profile.extrapolated_share").number(0, 1), 0.1) << command;
    }
  }
  work_.expect(
      2,
      "plan --batch b.jsonl --topology dgx_h100:1 --model llama3_8b --element-type f32 --strict -o q.json");
  EXPECT_FALSE(work_.has("q.json")) << "refused before anything was written";
}

TEST_F(MemoryCase, TheStrictCheckNamesTheCandidateWhoseWorkIsOutsideTheTables) {
  work_.write("mixed.jsonl", "{\"step\":0,\"packs\":[[500,500,500,500,2000]]}\n");
  const std::string plan =
      "plan --batch mixed.jsonl --topology dgx_h100:1 --model llama3_8b --strategy ulysses,per_document -o "
      "p.json";
  const JsonDocument document = parsed(work_.expect(0, plan + " --json").out);
  const double chosen = member(document, "read_as.profile.extrapolated_share").number(0, 1);
  ASSERT_EQ(member(document, "strategy").string(), "ulysses");
  ASSERT_LT(chosen, 0.01) << "or the case shows nothing";
  const Finished refused = work_.expect(2, plan + " --strict");
  EXPECT_TRUE(contains(refused.err,
                       " of the device work of candidate per_document outside the tables of profile h100"))
      << refused.err;
}

TEST_F(MemoryCase, WithRanksLeftOutOfTheMachineWhatWouldFitDoesFitToTheFigure) {
  work_.write("f8.jsonl", "{\"step\":0,\"packs\":[[8192]]}\n");
  int checked = 0;
  for (const int ranks : {2, 3, 4, 6, 8}) {
    const std::string plan =
        "plan --batch f8.jsonl --topology dgx_h100:8 --model llama3_70b -o p.json --json";
    const Finished none = work_.expect(3, plan + " --ranks " + std::to_string(ranks));
    const JsonDocument document = parsed(none.out);
    for (const JsonValue change : member(document, "would_fit").items()) {
      // "16 ranks instead of 4 and --recompute full (ulysses, 70.1 GiB on the fullest rank)"
      const std::string text(change.string());
      const auto count = text.find(" ranks instead of ");
      if (count == std::string::npos) continue;
      const auto and_ = text.find(" and "), open = text.find(" (");
      const std::string more = and_ < open ? text.substr(and_ + 4, open - and_ - 4) : "";
      const std::string strategy = text.substr(open + 2, text.find(',', open) - open - 2);
      const std::string figure =
          text.substr(text.find(", ", open) + 2, text.find(" on the", open) - text.find(", ", open) - 2);
      std::string again = plan.substr(0, plan.size() - std::string(" --json").size());
      again += " --strategy " + strategy + " --ranks " + text.substr(0, count) + more;
      const Finished fits = work_.expect(0, again);
      EXPECT_TRUE(contains(fits.out, "  peak memory " + figure + " on rank ")) << text << '\n' << fits.out;
      ++checked;
    }
  }
  EXPECT_GT(checked, 5) << "or little was shown";
}

TEST_F(MemoryCase, WorkInsideTheTablesPassesTheStrictCheck) {
  const std::string inputs = " --topology dgx_h100:1 --model llama3_8b --strategy whole_document --strict";
  const std::string said =
      "\n  outside its tables: 0.1 % of the device work (lengths outside those of its tables)\n";
  for (const std::string& command :
       {"plan --batch b.jsonl -o p.json" + inputs, "compare --batches b.jsonl" + inputs,
        std::string("explain p.json --strict"), std::string("simulate p.json --strict")}) {
    EXPECT_TRUE(contains(work_.expect(0, command).out, said)) << command;
  }
}

TEST_F(MemoryCase, APlanLargerThanItsDevicesIsRejectedWithWhatWouldFit) {
  work_.write("million.jsonl", "{\"step\":0,\"packs\":[[1048576]]}\n");
  const std::string plan = "plan --batch million.jsonl --topology dgx_h100:1 --model llama3_70b -o p.json";
  const Finished refused = work_.expect(3, plan);
  EXPECT_TRUE(
      contains(refused.err, "over the memory of device node0.gpu0 of 80.0 GiB (85899345920 bytes): state 1"))
      << refused.err;
  EXPECT_TRUE(contains(refused.err, "; the state alone is over it\n")) << refused.err;
  EXPECT_TRUE(contains(refused.err, "\nwould fit: ")) << refused.err;
  EXPECT_FALSE(work_.has("p.json"));
  const Finished compared =
      work_.expect(3, "compare --batches million.jsonl --topology dgx_h100:1 --model llama3_70b");
  EXPECT_TRUE(contains(compared.err, "no strategy accepts any of the batches\nwould fit (step 0): "))
      << compared.err;
  const Finished lifted = work_.expect(0, plan + " --memory-cap none");
  EXPECT_TRUE(contains(lifted.out, ", not capped, over the 80.0 GiB of the device: state ")) << lifted.out;
  EXPECT_TRUE(
      contains(work_.expect(0, "explain p.json").out, ", not capped, over the 80.0 GiB of the device\n"));
  work_.expect(0, "lint p.json");
}

TEST_F(MemoryCase, PeakMemorySaysWhatItCountsAndLeavesOut) {
  work_.write("long.jsonl", "{\"step\":0,\"packs\":[[120000]]}\n");
  work_.write("config.json", R"({"layers": 28, "hidden": 3584, "ffn": 18944, "query_heads": 28, "kv_heads": 4,
    "head_dim": 128, "element_type": "bf16"})");
  const std::string plan =
      "plan --batch long.jsonl --topology dgx_h100:1 --model config.json --memory-cap 80GiB --recompute full "
      "-o p.json";
  const std::string out = work_.expect(0, plan).out;
  for (const char* part :
       {"peak memory ", ", cap 80.0 GiB a rank: state ", "activations ", "attention ",
        "left out (the model states no", "communicators ", "  left out of it: norms, gradient buckets"}) {
    EXPECT_TRUE(contains(out, part)) << part << '\n' << out;
  }
  const std::string explained = work_.expect(0, "explain p.json").out;
  for (const char* part :
       {"memory of the fullest rank, ", ", cap 80.0 GiB a rank\n", "  state ", "  activations ",
        "  attention ", "  logits left out: the model states no vocabulary\n", "  communicators ",
        "  left out of it: norms, gradient buckets"}) {
    EXPECT_TRUE(contains(explained, part)) << part << '\n' << explained;
  }
  EXPECT_TRUE(contains(work_.expect(0, "simulate p.json").out, ", cap 80.0 GiB a rank: state "));
  const JsonDocument document = parsed(work_.expect(0, "explain p.json --json").out);
  EXPECT_EQ(keys(member(document, "predicted.memory")),
            (std::vector<std::string>{"rank", "state_bytes", "activation_bytes", "attention_bytes",
                                      "logits_bytes", "communicator_bytes"}));
  EXPECT_TRUE(member(document, "predicted.memory.logits_bytes").is_null());
}

TEST_F(MemoryCase, WhatCapsMemoryStandsInThePlanAndLintHoldsItTo) {
  const std::string plan =
      "plan --batch small.jsonl --topology dgx_h100:1 --model tiny --heads 8:8 -o p.json";
  const auto request = [&](const std::string& more) {
    work_.expect(0, plan + more);
    return work_.read("p.json");
  };
  EXPECT_TRUE(contains(request(""), R"("memory_cap":"device","memory_cap_bytes":0,"recompute":"none",)"));
  EXPECT_TRUE(contains(request(" --memory-cap none"), R"("memory_cap":"none","memory_cap_bytes":0)"));
  EXPECT_TRUE(contains(request(" --memory-cap 64GiB --recompute full --offload-activations --logits chunked"
                               " --state-shards 4 --state-bytes-per-parameter 12.5"),
                       R"("memory_cap":"size","memory_cap_bytes":68719476736,"recompute":"full",)"
                       R"("offload_activations":true,"logits":"chunked","state_shards":4,)"
                       R"("state_bytes_per_parameter":12.5)"));
  work_.expect(0, "lint p.json");
  work_.edit("p.json", "\"state_bytes\":", "\"state_bytes\":1");
  const Finished lint = work_.expect(1, "lint p.json");
  EXPECT_TRUE(contains(lint.out, "predicted.peak_memory_bytes: predicted: ")) << lint.out;
  EXPECT_TRUE(contains(lint.out, ", but the terms add up to ")) << lint.out;
}

TEST_F(MemoryCase, OptionsOfMemoryThatMakeNoSenseAreNamed) {
  const std::string plan = "plan --batch small.jsonl --topology cpu:1x2 --model tiny -o p.json ";
  struct Bad {
    const char *options, *message;
  };
  for (const Bad& bad :
       {Bad{"--memory-cap lots", "--memory-cap: found 'lots', expected a size such as 80GiB"},
        Bad{"--memory-cap 9EiB", "'9EiB', expected a size such as 80GiB, in B, KB, MB, GB, TB, KiB, MiB, "},
        Bad{"--memory-cap 80gib", "'80gib', expected a size such as 80GiB, in B, KB, "},
        Bad{"--memory-cap 9000000TiB", "expected a size such as 80GiB, at most 9e18 bytes"},
        Bad{"--memory-cap 1e999", "expected a size such as 80GiB, of 1 to 9e18 bytes"},
        Bad{"--memory-cap inf", "expected a size such as 80GiB, at most 9e18 bytes"},
        Bad{"--memory-cap nan", "'nan', expected a size such as 80GiB\n"},
        Bad{"--memory-cap 0GiB", "'0GiB', expected a size such as 80GiB, at least 1 byte"},
        Bad{"--recompute some", "--recompute: found 'some', expected none or selective or full"},
        Bad{"--offload-activations", "--offload-activations: found --recompute none, expected"},
        Bad{"--logits half", "--logits: found 'half', expected full or chunked"},
        Bad{"--state-shards -1", "--state-shards: found -1, expected 0 to 16777216"},
        Bad{"--state-bytes-per-parameter nan", "--state-bytes-per-parameter: found 'nan'"},
        Bad{"--state-bytes-per-parameter 16B", "--state-bytes-per-parameter: found '16B'"}}) {
    const Finished refused = work_.expect(2, plan + bad.options);
    EXPECT_TRUE(contains(refused.err, bad.message)) << refused.err;
  }
}

TEST_F(MemoryCase, AProfileInAPlanIsReadByWhoeverReadsThePlan) {
  work_.expect(0, "plan --batch small.jsonl --topology cpu:1x2 --model tiny -o good.json");
  const std::string honest = profile_of(work_.read("good.json"));
  std::string claims = honest;
  const std::string unmeasured = "\"measured\":false";
  claims.replace(claims.find(unmeasured), unmeasured.size(), "\"measured\":true");
  // An empty profile and one that only claims to have been measured, with digests that fit.
  struct Forgery {
    std::string profile;
    const char* message;
  };
  for (const Forgery& forgery : {Forgery{"{}", "no field 'format_version'"},
                                 Forgery{claims, "a date such as 2026-11-21, because measured is true"}}) {
    work_.write("bad.json", work_.read("good.json"));
    work_.edit("bad.json", honest, forgery.profile);
    work_.edit("bad.json", digest_of(honest), digest_of(forgery.profile));
    for (const char* command : {"lint bad.json", "explain bad.json", "simulate bad.json"}) {
      const Finished refused = work_.expect(1, command);
      EXPECT_TRUE(contains(refused.out, "bad.json: inputs.profile.content")) << refused.out;
      EXPECT_TRUE(contains(refused.out, forgery.message)) << refused.out;
    }
    const Finished run = work_.expect(2, "run bad.json");
    EXPECT_TRUE(contains(run.err, forgery.message)) << run.err;
  }
}

TEST_F(MemoryCase, APlanOfFormatVersion1IsPlannedAgain) {
  work_.expect(0, "plan --batch small.jsonl --topology cpu:1x2 --model tiny -o p.json");
  work_.edit("p.json", "\"format_version\": 2", "\"format_version\": 1");
  for (const char* command : {"lint p.json", "explain p.json", "simulate p.json", "run p.json"}) {
    EXPECT_EQ(
        work_.expect(2, command).err,
        "strata: p.json: format_version: found format version 1, expected format version 2: plan again\n");
  }
}

}  // namespace
}  // namespace strata::test
