// SPDX-License-Identifier: Apache-2.0
// The recorded 131,072-token packs through files: planned, linted, and compared in one table.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

constexpr int kPacks = 16;
constexpr int kCompared = 32;

TEST(RecordedPacks, PlanAndLintCleanThroughFilesWithEveryStrategyThatAcceptsThem) {
  const Workspace work;
  std::vector<std::string> choices = strategy_names();
  choices.emplace_back("all");
  for (int line = 1; line <= scaled(kPacks, 1); ++line) {
    for (const std::string& strategy : choices) {
      const std::string plan =
          fmt::format("plan --batch {}:{} --topology cpu:2x4 --model tiny --strategy {} -o p.json",
                      sample("codeparrot_128k.jsonl"), line, strategy);
      if (strategy == "ulysses") {
        EXPECT_EQ(work.expect(3, plan).err,
                  "strata: no feasible plan\n  ulysses: 4 query heads cannot be divided evenly among 8 ranks"
                  "; degrees that work: 1, 2, 4 (of 8 ranks); other"
                  " strategies divide no heads\n");
        continue;
      }
      work.expect(0, plan);
      work.expect(0, "lint p.json");
    }
  }
}

class RecordedPacksOnSixtyFourRanks : public testing::TestWithParam<std::string> {};

TEST_P(RecordedPacksOnSixtyFourRanks, PlanAndLintCleanThroughFiles) {
  const Workspace work;
  for (int line = 1; line <= scaled(kPacks, 1); ++line) {
    work.expect(0, fmt::format("plan --batch {}:{} --topology dgx_h100:8 --model llama3_70b --strategy {} -o "
                               "p.json --memory-cap 10TiB --quiet",
                               sample("codeparrot_128k.jsonl"), line, GetParam()));
    work.expect(0, "lint p.json");
  }
}

INSTANTIATE_TEST_SUITE_P(EveryStrategy, RecordedPacksOnSixtyFourRanks, testing::ValuesIn(strategy_names()),
                         [](const auto& each) { return each.param; });

TEST(RecordedPacks, CompareGivesOneTableAndARowForEveryBatchAndStrategy) {
  const Workspace work;
  const int batches = scaled(kCompared, 2);
  const std::string command = fmt::format(
      "compare --batches {} --max {} --topology cpu:2x4 --model tiny "
      "--strategies all --json",
      sample("codeparrot_128k_all.jsonl"), batches);
  const Finished finished = work.expect(0, command);
  const JsonDocument document = parsed(finished.out);
  const JsonValue rows = member(document, "rows");
  ASSERT_EQ(rows.size(), static_cast<std::size_t>(batches) * strategy_names().size());
  std::set<std::pair<std::int64_t, std::string>> seen;
  for (const JsonValue row : rows.items()) {
    EXPECT_EQ(keys(row), (std::vector<std::string>{
                             "step", "strategy", "step_time_ns", "settled", "lower_bound_ns", "gap",
                             "imbalance", "kv_bytes", "total_bytes", "peak_memory_bytes", "plan_time_ns",
                             "search_ns", "lower_ns", "verify_ns", "simulate_ns", "rejected"}));
    std::string strategy;
    bool rejected = false;
    std::int64_t step = -1, time = 0, bound = 0;
    for (const JsonValue cell : row.members()) {
      if (cell.key() == "step") step = cell.integer(0, 1'000'000);
      if (cell.key() == "strategy") strategy = cell.string();
      if (cell.key() == "step_time_ns" && !cell.is_null()) time = cell.integer(0, INT64_MAX);
      if (cell.key() == "lower_bound_ns") bound = cell.integer(1, INT64_MAX);
      if (cell.key() == "rejected") rejected = !cell.is_null();
    }
    seen.insert({step, strategy});
    EXPECT_EQ(rejected, strategy == "ulysses");
    if (!rejected) {
      EXPECT_GE(time, bound) << strategy;
    }
  }
  EXPECT_EQ(seen.size(), rows.size()) << "every batch with every strategy once";
  // The table for people is on stderr here: one line per strategy, as wide as a terminal.
  for (const std::string& strategy : strategy_names()) {
    EXPECT_NE(finished.err.find("\n" + strategy + " "), std::string::npos) << strategy;
  }
  std::istringstream lines(finished.err);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 110U) << line;
}

}  // namespace
}  // namespace strata::test
