// SPDX-License-Identifier: Apache-2.0
// From a batch to a validated run through files, for every strategy and every option that changes what moves;
// and that equal requests give byte-equal plan files wherever they are made.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

// Lengths that divide by nothing, one of a single token, one longer than the rest together.
const char* const kOddBatch = "{\"step\": 3, \"packs\": [[211, 1, 37], [64, 5, 2, 101]]}\n";

/// Plan, lint, run with a full check, validate.
void expect_journey(const Workspace& work, const std::string& options) {
  const Finished planned =
      work.strata("plan --batch b.jsonl --model tiny --topology cpu:2x4:2 -o p.json " + options);
  ASSERT_EQ(planned.code, 0) << options << '\n' << planned.err;
  work.expect(0, "lint p.json --quiet");
  const Finished ran = work.expect(0, "run p.json --check full --poison --timeline m.json");
  EXPECT_NE(ran.out.find("check passed (full): the result is what one device computes\n"), std::string::npos)
      << options << '\n'
      << ran.out;
  const JsonDocument compared = parsed(work.expect(0, "validate p.json m.json --json").out);
  EXPECT_EQ(member(compared, "unmatched").integer(0, 1'000'000), 0) << options;
  EXPECT_GT(member(compared, "matched").integer(0, 1'000'000), 0) << options;
}

class Journey : public testing::TestWithParam<std::string> {};

TEST_P(Journey, OfEveryVariantEndsInACheckedRun) {
  const Workspace work;
  work.write("b.jsonl", kOddBatch);
  const std::string strategy = " --strategy " + GetParam();
  const bool exchanges = GetParam() != "ulysses" && GetParam() != "whole_document";
  std::vector<std::string> variants = {
      "--ranks 1",
      "--ranks 3 --heads 6:3 --element-type f16",
      "--ranks 8 --heads 8:2",
      "--ranks 4 --element-type bf16",
      "--ranks 4 --backward-kv retain",
      "--ranks 4 --gradient-return reverse_tree",
  };
  if (exchanges) {
    variants.emplace_back("--ranks 4 --exchange full");
    variants.emplace_back("--ranks 3 --exchange full --backward-kv retain --gradient-return reverse_tree");
  }
  if (scaled(1, 0) == 0) variants.resize(3);
  for (const std::string& variant : variants) expect_journey(work, variant + strategy);
}

INSTANTIATE_TEST_SUITE_P(EveryStrategy, Journey, testing::ValuesIn(strategy_names()),
                         [](const auto& each) { return each.param; });

TEST(Journeys, FreeDocumentsArePlacedAndRunToo) {
  const Workspace work;
  work.write("b.jsonl", "{\"step\": 0, \"documents\": [120, 7, 64, 1, 33]}\n");
  expect_journey(work, "--strategy auto --ranks 4");
  expect_journey(work, "--strategy per_document --ranks 4 --memory-cap 9MiB");
}

TEST(Determinism, EqualRequestsGiveByteEqualPlansInAnyFolder) {
  const Workspace work;
  std::filesystem::create_directories(work.path("one"));
  std::filesystem::create_directories(work.path("another/below"));
  for (const std::string& strategy : strategy_names()) {
    const auto plan = [&](const std::string& folder) {
      const Finished finished =
          work.strata({"plan", "--batch", sample("codeparrot_32k.jsonl") + ":2", "--topology", "cpu:2x2",
                       "--model", "tiny", "--strategy", strategy, "--seed", "5", "-o", "p.json"},
                      folder);
      EXPECT_EQ(finished.code, 0) << finished.err;
      return work.read(folder + "/p.json");
    };
    const std::string text = plan("one");
    EXPECT_GT(text.size(), 1000U);
    EXPECT_TRUE(text == plan("another/below")) << strategy;
  }
}

TEST(Determinism, ThePlanDoesNotDependOnHowTheBatchWasWritten) {
  const Workspace work;
  work.write("tight.jsonl", "{\"step\":3,\"packs\":[[211,1,37],[64,5,2,101]]}");
  work.write("wide.jsonl", "{ \"packs\" : [ [ 211, 1, 37 ],  [64, 5, 2, 101 ] ], \"step\" : 3 }\n");
  for (const char* name : {"tight", "wide"}) {
    work.expect(0, std::string("plan --topology cpu:1x4 --model tiny --batch ") + name + ".jsonl -o " + name +
                       ".json");
  }
  EXPECT_TRUE(work.read("tight.json") == work.read("wide.json"));
}

TEST(Determinism, ATopologyFromAFileGivesThePlanOfItsName) {
  const Workspace work;
  work.write("b.jsonl", kOddBatch);
  work.write("topo.json", work.expect(0, "topo cpu:2x4 --json").out);
  for (const char* topology : {"topo.json", "cpu:2x4"}) {
    work.expect(0, std::string("plan --batch b.jsonl --model tiny --strategy ring --topology ") + topology +
                       " -o " + (topology[0] == 't' ? "file" : "name") + ".json");
  }
  EXPECT_TRUE(work.read("file.json") == work.read("name.json"));
}

TEST(Determinism, ResultsOfTwoSimulationsAreByteEqual) {
  const Workspace work;
  work.write("b.jsonl", kOddBatch);
  work.expect(
      0,
      "plan --batch b.jsonl --topology cpu:2x4 --model tiny --heads 8:2 --strategy per_document -o p.json");
  work.expect(0, "simulate p.json --timeline one.json --trace one.trace");
  work.expect(0, "simulate p.json --timeline two.json --trace two.trace");
  EXPECT_TRUE(work.read("one.json") == work.read("two.json"));
  EXPECT_TRUE(work.read("one.trace") == work.read("two.trace"));
}

TEST(Identities, OnOneRankEveryStrategyHasTheSamePrograms) {
  const Workspace work;
  work.write("b.jsonl", kOddBatch);
  std::string first;
  for (const std::string& strategy : strategy_names()) {
    work.expect(0, "plan --batch b.jsonl --topology cpu:1x1 --model tiny -o p.json --strategy " + strategy);
    const std::string digests = member(parsed(work.read("p.json")), "program_digests").canonical_text();
    if (first.empty()) first = digests;
    EXPECT_EQ(digests, first) << strategy;
  }
}

}  // namespace
}  // namespace strata::test
