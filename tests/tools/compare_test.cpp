// SPDX-License-Identifier: Apache-2.0
// compare plans batches side by side, and its answer does not show it. plan --prune through the program.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

/// Measured values say 0.
std::string without_times(const std::string& json) {
  static const std::regex kTimes(R"re("(plan_time|search|lower|verify|simulate)_ns":\d+)re");
  return std::regex_replace(json, kTimes, "\"$1_ns\":0");
}

TEST(Compare, SaysTheSameHoweverManyThreadsWork) {
  const Workspace work;
  // Steps of very different sizes, so that they end in another order than they begin.
  work.write("b.jsonl",
             "{\"step\": 0, \"packs\": [[4000, 24, 72, 3000, 1000]]}\n{\"step\": 1, \"packs\": [[9]]}\n"
             "{\"step\": 2, \"packs\": [[800, 7, 90], [16]]}\n{\"step\": 3, \"packs\": [[1, 2, 3]]}\n"
             "{\"step\": 4, \"packs\": [[60000]]}\n{\"step\": 5, \"packs\": [[50, 60]]}\n");
  // The cap rejects the fifth step, the ranks reject ulysses.
  const std::string command =
      "compare --batches b.jsonl --topology cpu:2x4 --model tiny --strategies all --memory-cap 120MiB --json";
  const Finished serial = work.expect(0, command + " --threads 1");
  EXPECT_NE(serial.out.find("over the memory cap"), std::string::npos) << "nothing was too large";
  EXPECT_EQ(keys(parsed(serial.out).root()), (std::vector<std::string>{"read_as", "interrupted", "rows"}));
  for (const char* threads : {"0", "2", "3", "40"}) {
    const Finished finished = work.expect(0, command + " --threads " + threads);
    EXPECT_EQ(without_times(finished.out), without_times(serial.out)) << threads;
    EXPECT_EQ(finished.err, serial.err) << threads;
  }
}

TEST(Compare, StagesTakeNoMoreThanTheWholeAndFollowTheSchema) {
  const Workspace work;
  work.write("b.jsonl", "{\"step\": 0, \"packs\": [[400, 24, 72]]}\n{\"step\": 7, \"packs\": [[90]]}\n");
  const Finished finished =
      work.expect(0, "compare --batches b.jsonl --topology cpu:1x3 --model tiny --strategies all --json");
  const JsonDocument document = parsed(finished.out);
  EXPECT_TRUE(member(document, "interrupted").is_null());
  for (const JsonValue row : member(document, "rows").items()) {
    const auto ns = [&](const std::string& key) { return member(row, key).integer(0, INT64_MAX); };
    EXPECT_LE(ns("search_ns") + ns("lower_ns") + ns("verify_ns") + ns("simulate_ns"), ns("plan_time_ns"));
    const bool rejected = !member(row, "rejected").is_null();
    EXPECT_EQ(ns("simulate_ns") == 0, rejected) << member(row, "strategy").string();
    EXPECT_EQ(ns("lower_ns") == 0, rejected) << member(row, "strategy").string();
  }
  work.write("good.json", finished.out);
  work.write("bad.json", std::regex_replace(finished.out, std::regex("lower_ns"), "lowering_ns"));
  work.write("list", "compare valid good.json\ncompare invalid bad.json\n");
  const std::string root = STRATA_SOURCE_DIR;
  const Finished checked = work.script(
      fmt::format("python3 '{0}/tests/core/plan/check_schemas.py' '{0}/docs/schemas' list", root));
  if (checked.code == 77 || checked.code == 127) GTEST_SKIP() << "not checked: " << checked.out;
  EXPECT_EQ(checked.code, 0) << checked.out << checked.err;
}

TEST(Compare, TheBarOnlyGrowsAlsoWithManyThreads) {
  const Workspace work;
  std::string batches;
  for (int step = 0; step < 12; ++step) {
    batches += fmt::format("{{\"step\": {}, \"packs\": [[{}, 9]]}}\n", step, 1 + 600 * (step % 3));
  }
  work.write("b.jsonl", batches);
  for (const std::string& command :
       {std::string("compare --threads 4 --batches"), std::string("plan -o p.json --batch")}) {
    const Finished shown =
        work.script("script -qec '" STRATA_BINARY " " + command +
                    " b.jsonl --topology cpu:2x2 --model tiny --strategies all' /dev/null");
    if (shown.code == 127) GTEST_SKIP() << "no script(1) to make a terminal";
    const std::regex share(R"(\] (\d+)%)");
    int last = -1, seen = 0;
    for (std::sregex_iterator at(shown.out.begin(), shown.out.end(), share), end; at != end; ++at, ++seen) {
      const int percent = std::stoi((*at)[1]);
      EXPECT_GE(percent, last);
      last = percent;
    }
    EXPECT_EQ(last, 100) << shown.out;
    EXPECT_GE(seen, 12);
  }
}

TEST(Prune, ThePlanSaysWhatTheOthersExceedAndIsProved) {
  const Workspace work;
  work.write("b.jsonl", "{\"step\": 0, \"packs\": [[4000, 24, 72]]}\n");
  const std::string plan = "plan --batch b.jsonl --topology dgx_h100:1 --strategy all ";
  work.expect(0, plan + "-o full.json");
  const Finished pruned = work.expect(0, plan + "--prune -o pruned.json");
  EXPECT_NE(pruned.out.find("whole_document          -        -  slower: more than "), std::string::npos)
      << pruned.out;
  const std::string file = work.read("pruned.json");
  EXPECT_NE(file.find("\"step_time_ns\":null,\"rejected\":null,\"settled\":true,\"slower_than_ns\":"),
            std::string::npos);
  // All but the candidates is the same.
  const std::string full = work.read("full.json");
  const auto at = full.find("\"candidates\": [");
  ASSERT_NE(at, std::string::npos);
  EXPECT_EQ(file.substr(0, at), full.substr(0, at));
  EXPECT_NE(work.expect(0, "lint pruned.json").out.find("clean"), std::string::npos);
  EXPECT_NE(work.expect(0, "explain pruned.json").out.find("where its simulation was ended"),
            std::string::npos);
  const JsonDocument document = parsed(work.expect(0, plan + "--prune -o pruned.json --json").out);
  for (const JsonValue candidate : member(document, "candidates").items()) {
    const bool unknown =
        member(candidate, "step_time_ns").is_null() && member(candidate, "rejected").is_null();
    EXPECT_EQ(keys(candidate).back() == "slower_than_ns", unknown);
  }
}

}  // namespace
}  // namespace strata::test
