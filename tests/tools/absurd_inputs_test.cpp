// SPDX-License-Identifier: Apache-2.0
// Inputs that are well formed and absurd: lengths, heads, dimensions, rates, caps at the ends of their
// ranges, in combinations drawn at random. Every command ends with 0, 1, 2 or 3 and says what is wrong in one
// line; none ends by a signal, as a bug of the program or for want of a device.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

using Words = std::vector<std::string>;

class Draw {
 public:
  explicit Draw(std::uint32_t seed) : engine_(seed) {}
  bool one_in(std::uint32_t n) { return engine_() % n == 0; }
  const std::string& of(const Words& words) { return words[engine_() % words.size()]; }

 private:
  std::mt19937 engine_;
};

std::string batch_text(Draw& draw) {
  static const Words kLengths = {"1", "1", "7", "300", "4096", "67108864", "2147483646", "2147483647"};
  static const Words kCounts = {"1", "2", "3", "20", "500"};
  const int count = std::stoi(draw.of(kCounts));
  const bool packs = draw.one_in(2);
  std::string text = fmt::format("{{\"step\":0,\"{}\":[", packs ? "packs" : "documents");
  for (int i = 0; i < count; ++i) {
    const std::string& length = draw.of(kLengths);
    text += fmt::format("{}{}", i == 0 ? "" : ",", packs ? "[" + length + "]" : length);
  }
  return text + "]}\n";
}

std::string model_text(Draw& draw) {
  static const Words kHeads = {"1,1", "8,2", "4096,1", "4096,4096"};
  static const Words kSizes = {"1", "64", "8192", "2147483647"};
  static const Words kDims = {"1", "64", "128", "1048576"};
  static const Words kWindows = {"1", "4096", "2147483647", "4611686018427387904", "9223372036854775807"};
  const std::string& heads = draw.of(kHeads);
  const auto comma = heads.find(',');
  std::string text =
      fmt::format(R"({{"layers":{},"hidden":{},"ffn":{},"query_heads":{},"kv_heads":{},"head_dim":{},)",
                  draw.of({"1", "2", "1048576"}), draw.of(kSizes), draw.of(kSizes), heads.substr(0, comma),
                  heads.substr(comma + 1), draw.of(kDims));
  if (draw.one_in(3)) text += fmt::format(R"("value_head_dim":{},)", draw.of(kDims));
  if (draw.one_in(3)) text += fmt::format(R"("attention":"window","window":{},)", draw.of(kWindows));
  if (draw.one_in(3)) text += R"("mask":"full_causal",)";
  return text + fmt::format(R"("element_type":"{}"}})", draw.of({"f32", "bf16", "f16"}));
}

std::string topology_text(Draw& draw) {
  static const Words kSpeeds = {"1", "1", "1e-300", "1e-9", "1e300"};
  static const Words kLatencies = {"0", "3750", "1099511627776", "4611686018427387904",
                                   "9223372036854775807"};
  static const Words kRates = {"370", "1e-300", "1e-9", "1e300"};
  std::string devices, links, ranks;
  for (int d = 0; d < 3; ++d) {
    const char* comma = d == 0 ? "" : ",";
    devices += fmt::format(R"({}{{"name":"d{}","node":0,"cores":{},"relative_speed":{},"memory_bytes":{}}})",
                           comma, d, draw.of({"1", "4", "2147483647"}), draw.of(kSpeeds),
                           draw.of({"0", "1", "9223372036854775807"}));
    ranks += fmt::format(R"({}{{"devices":[{}]}})", comma, draw.one_in(3) ? 0 : d);
    for (const bool up : {true, false}) {
      links +=
          fmt::format(R"({}{{"from":{},"to":{},"level":"node","latency_ns":{},"bandwidth_gbytes_per_s":{}}})",
                      links.empty() ? "" : ",", up ? d : 3, up ? 3 : d, draw.of(kLatencies), draw.of(kRates));
    }
  }
  return fmt::format(
      R"({{"name":"t","nodes":["n"],"devices":[{}],"switches":["s"],"links":[{}],"ranks":[{}]}})", devices,
      links, ranks);
}

std::string plan_options(Draw& draw) {
  std::string words;
  const auto maybe = [&](const std::string& option, const Words& values) {
    if (draw.one_in(5)) words += " " + option + " " + draw.of(values);
  };
  maybe("--ranks", {"1", "2", "3", "4097", "1000000000"});
  maybe("--heads", {"1:1", "4096:1", "4096:4096", "1000000000:1"});
  maybe("--head-dim", {"1", "1048576", "1000000000"});
  maybe("--layers", {"1", "1048576", "1000000000"});
  maybe("--memory-cap", {"1B", "4KiB", "288230376151711744", "262144TiB", "8e18B", "1e300"});
  maybe("--exchange", {"full"});
  maybe("--backward-kv", {"retain"});
  maybe("--gradient-return", {"reverse_tree"});
  maybe("--packs-per-step", {"2", "9223372036854775807"});
  maybe("--seed", {"18446744073709551615"});
  return words + " --strategy " + draw.of({"all", "auto", "ulysses", "ring", "per_document"});
}

class AbsurdInputs : public testing::Test {
 protected:
  /// 3 states a reason for every strategy on lines of their own; 1 is a verdict on stdout.
  int expect_answer(const std::string& command) {
    const Finished finished = work_.strata(command);
    EXPECT_TRUE(finished.code >= 0 && finished.code <= 3) << finished.code << ": strata " << command << '\n'
                                                          << finished.err << inputs();
    const auto lines = std::count(finished.err.begin(), finished.err.end(), '\n');
    if (finished.code == 2) {
      EXPECT_EQ(lines, 1) << "strata " << command << '\n' << finished.err << inputs();
    }
    if (finished.code >= 2) {
      EXPECT_TRUE(finished.err.starts_with("strata: ")) << finished.err;
    }
    return finished.code;
  }
  std::string inputs() const {
    return work_.read("b.jsonl").substr(0, 300) + work_.read("m.json") + '\n' + work_.read("t.json") + '\n';
  }
  Workspace work_;
};

TEST_F(AbsurdInputs, ArePlannedOrRefusedInOneLine) {
  const int cases = scaled(60, 15);
  for (int i = 0; i < cases; ++i) {
    Draw draw(static_cast<std::uint32_t>(i));
    work_.write("b.jsonl", batch_text(draw));
    work_.write("m.json", model_text(draw));
    work_.write("t.json", topology_text(draw));
    const std::string common =
        fmt::format(" --topology {} --model {}{}", draw.of({"t.json", "t.json", "dgx_h100:1", "cpu:1x3:1"}),
                    draw.of({"m.json", "m.json", "tiny"}), plan_options(draw));
    if (expect_answer("plan --batch b.jsonl -o p.json" + common) == 0) {
      EXPECT_EQ(expect_answer("lint p.json"), 0) << common << '\n' << inputs();
      expect_answer("explain p.json");
      expect_answer("simulate p.json");
    }
    if (draw.one_in(4)) expect_answer("compare --batches b.jsonl" + common);
    if (draw.one_in(4)) expect_answer("inspect b.jsonl");
    if (draw.one_in(4)) expect_answer("topo t.json");
  }
}

TEST_F(AbsurdInputs, OfManyDocumentsOnManyRanksAreRejectedByTheLimitOfTheVerifier) {
  std::string documents = "3";
  for (int i = 1; i < 16384; ++i) documents += ",3";
  work_.write("b.jsonl", "{\"step\":0,\"documents\":[" + documents + "]}\n");
  const Finished finished =
      work_.expect(3, "plan --batch b.jsonl --topology cpu:4096x2 --model tiny --strategy ring -o p.json");
  EXPECT_EQ(finished.err,
            "strata: no feasible plan\n  ring: document numbers 0 to 16383 on 8192 ranks, more than 67108864 "
            "pairs, a limit of the verifier; fewer documents in a wave or fewer ranks are within it\n");
  EXPECT_FALSE(work_.has("p.json"));
}

TEST_F(AbsurdInputs, OfMoreDevicesThanThereMayBeAreRefusedWithTheLimit) {
  work_.write("b.jsonl", "{\"step\":0,\"documents\":[300]}\n");
  const Finished finished = work_.expect(2, "plan --batch b.jsonl --topology dgx_h100:1024 -o p.json");
  EXPECT_NE(finished.err.find("at most 65536 ranks on 4096 devices"), std::string::npos) << finished.err;
}

TEST_F(AbsurdInputs, OfAMemoryCapNearTwoToThe58AreAsGoodAsWithoutOne) {
  work_.write("b.jsonl", "{\"step\":0,\"documents\":[300,200,17]}\n");
  const std::string common =
      "plan --batch b.jsonl --topology dgx_h100:8 --model tiny --strategy per_document";
  for (const char* cap : {"288230376151711743", "288230376151711744", "262144TiB", "8e18B"}) {
    work_.expect(0, fmt::format("{} --memory-cap {} -o p.json", common, cap));
    work_.expect(0, "lint p.json");
    EXPECT_GT(member(parsed(work_.read("p.json")), "bounds.lower_bound_ns").integer(0, std::int64_t{1} << 62),
              0)
        << cap;
  }
}

}  // namespace
}  // namespace strata::test
