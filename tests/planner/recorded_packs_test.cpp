// SPDX-License-Identifier: Apache-2.0
// All 781 recorded packs of 131,072 tokens (traces/samples) are planned with every strategy for 8 and 64
// ranks, and the verifier finds nothing; ulysses is rejected exactly where the heads do not divide. At small
// scale every 60th pack.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/verify_schedule.hpp"
#include "planner/plan_batch.hpp"
#include "planner/strategy_table.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::testing {
namespace {

std::vector<std::vector<std::int64_t>> recorded_packs() {
  std::ifstream file(std::string(STRATA_SOURCE_DIR) + "/traces/samples/codeparrot_128k_all.jsonl");
  std::vector<std::vector<std::int64_t>> packs;
  for (std::string line; std::getline(file, line);) {
    const std::string key = "\"seqlens\":[";
    const auto at = line.find(key);
    if (at == std::string::npos) continue;
    std::vector<std::int64_t>& pack = packs.emplace_back();
    for (const char* text = line.c_str() + at + key.size(); *text != ']';) {
      char* end = nullptr;
      pack.push_back(std::strtoll(text, &end, 10));
      if (end == text) return {};
      text = *end == ',' ? end + 1 : end;
    }
  }
  return packs;
}

std::size_t stride() { return small_scale() ? 60 : 1; }

/// Plans and verifies every pack with every strategy; returns how often each was rejected, by reason.
std::map<std::string, int> plan_all(std::int32_t rank_count, const ModelShape& model) {
  std::map<std::string, int> rejected;
  const auto packs = recorded_packs();
  EXPECT_EQ(packs.size(), 781u);
  for (std::size_t row = 0; row < packs.size(); row += stride()) {
    WaveRequest request;
    request.lengths = packs[row];
    for (std::size_t i = 0; i < request.lengths.size(); ++i) {
      request.documents.push_back(static_cast<std::int32_t>(i));
    }
    EXPECT_EQ(request.token_count(), 131072) << "row " << row;
    request.rank_count = rank_count;
    request.model = model;
    for (const Strategy& strategy : all_strategies()) {
      if (const auto rejection = strategy.rejects(request)) {
        ++rejected[rejection->reason];
        continue;
      }
      const auto violations = verify_wave(make_wave(strategy, request, {}), model, rank_count, "waves[0]", 1);
      if (violations.empty()) continue;
      ADD_FAILURE() << "row " << row << ", " << strategy.name << ": " << violations.front().rule << " at "
                    << violations.front().place << ": " << violations.front().message;
      return rejected;
    }
  }
  return rejected;
}

TEST(RecordedPacks, PlanAndVerifyCleanOnEightRanks) {
  EXPECT_TRUE(plan_all(8, named_model("llama3_8b")).empty());
}

TEST(RecordedPacks, PlanAndVerifyCleanOnSixtyFourRanks) {
  EXPECT_TRUE(plan_all(64, named_model("llama3_70b")).empty());
}

TEST(RecordedPacks, CountRejectionsByReason) {
  const int planned = small_scale() ? 14 : 781;
  const std::map<std::string, int> expected = {
      {"4 query heads cannot be divided evenly among 8 ranks", planned}};
  EXPECT_EQ(plan_all(8, named_model("tiny")), expected);
}

}  // namespace
}  // namespace strata::testing
