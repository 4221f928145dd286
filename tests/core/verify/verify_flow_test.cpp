// SPDX-License-Identifier: Apache-2.0
// Data flow and coverage, forward: every rule is broken alone in a wave that is otherwise good, and must be
// named with the place and the values.
#include <gtest/gtest.h>

#include "tests/core/verify/verify_support.hpp"

namespace strata::test {
namespace {

TEST(VerifyFlow, NamesASenderThatDoesNotHoldTheRows) {
  Wave wave = relay_wave();
  wave.schedule.steps[1].transfers[0].source = 0;  // legal: the owner may send too
  wave.schedule.steps[0].transfers[0].targets = {{1, 2}};
  ASSERT_TRUE(verify(wave).empty()) << listed(verify(wave));
  wave = multicast_wave();
  wave.schedule.steps[0].transfers = {{0, {{1, 2}}, TensorKind::kv, {0, 0, 4}, {0, 2}, 0, 1},
                                      {1, {{2, 3}}, TensorKind::kv, {0, 0, 8}, {0, 2}, 0, 1}};
  expect_only(
      verify(wave), "not_held", ".steps[0].transfers[1]",
      "rank 1 sends kv rows [0, 4) of document 0, heads [0, 2) in step 0, but steps[0].transfers[0] makes it "
      "usable in step 1");
  wave.schedule.steps[0].transfers[0].source = 2;
  wave.schedule.steps[0].transfers[0].span = {0, 8, 12};
  wave.schedule.steps[0].transfers[0].targets = {{0, 1}};
  std::swap(wave.schedule.steps[0].transfers[0], wave.schedule.steps[0].transfers[1]);
  const auto violations = verify(wave);
  ASSERT_FALSE(violations.empty());
  EXPECT_NE(listed(violations)
                .find("rank 1 sends kv rows [0, 4) of document 0, heads [0, 2), which it neither owns "
                      "nor receives"),
            std::string::npos)
      << listed(violations);
}

TEST(VerifyFlow, NamesATaskThatLacksKeysOrQueries) {
  Wave wave = multicast_wave();
  wave.schedule.steps[0].transfers.pop_back();
  expect_only(verify(wave), "not_held", ".steps[1].tasks[1]",
              "rank 2 reads kv rows [4, 8) of document 0, heads [0, 2), which it neither owns nor receives");
  wave = relay_wave();
  wave.schedule.steps[0].transfers[1].ready = 2;
  expect_only(
      verify(wave), "not_held", ".steps[1].tasks[1]",
      "rank 2 reads kv rows [4, 8) of document 0, heads [0, 2) in step 1, but steps[0].transfers[1] makes it "
      "usable in step 2");
  wave = head_split_wave();
  wave.schedule.steps[0].transfers[1].span = {0, 7, 12};
  expect_only(verify(wave), "not_held", ".steps[1].tasks[0]",
              "rank 0 reads q rows [6, 7) of document 0, heads [0, 2), which it neither owns nor receives");
}

TEST(VerifyFlow, ChecksHeadsOneByOne) {
  Wave wave = multicast_wave();
  wave.schedule.steps[0].transfers[1].heads = {0, 1};
  expect_only(verify(wave), "not_held", ".steps[1].tasks[1]",
              "rank 2 reads kv rows [4, 8) of document 0, heads [1, 2), which it neither owns nor receives");
}

TEST(VerifyFlow, RejectsRowsThatArriveTwiceOrAtTheirOwner) {
  Wave wave = relay_wave();
  wave.schedule.steps[0].transfers[0].targets = {{1, 3}};
  expect_only(
      verify(wave), "received_twice", ".steps[1].transfers[0]",
      "rank 2 receives kv rows [0, 4) of document 0, heads [0, 2), which it has from steps[0].transfers[0]");
  wave = relay_wave();
  wave.schedule.steps[1].transfers[0].targets = {{0, 1}, {2, 3}};
  expect_only(verify(wave), "received_by_owner", ".steps[1].transfers[0]",
              "rank 0 receives kv rows [0, 4) of document 0, heads [0, 2), which it owns");
}

TEST(VerifyFlow, RejectsRowsThatNobodyUsesUnlessEverythingIsSent) {
  Wave wave = multicast_wave();
  wave.schedule.steps[0].transfers[1].targets = {{0, 1}, {2, 3}};
  expect_only(verify(wave), "not_needed", ".steps[0].transfers[1]",
              "rank 0 receives kv rows [4, 8) of document 0, heads [0, 2), but neither computes with it nor "
              "sends it on");
  wave.schedule.exchange = ExchangeMode::full;
  EXPECT_TRUE(verify(wave).empty()) << listed(verify(wave));
}

TEST(VerifyFlow, WantsEveryForeignShareBackOnceAndAfterItsLastTask) {
  const std::string at = ".steps[2].transfers[0]";
  Wave wave = travelling_query_wave();
  wave.schedule.steps[2].transfers.clear();
  expect_only(verify(wave), "not_returned", ".steps[1].tasks[0]",
              "rank 0 gets a share of o rows [4, 8) of document 0, heads [0, 4) here, but never sends it to "
              "the owner");
  wave = travelling_query_wave();
  wave.schedule.steps[2].transfers[0].heads = {0, 3};
  expect_only(verify(wave), "not_returned", ".steps[1].tasks[0]", "heads [3, 4)");
  wave = travelling_query_wave();
  wave.schedule.steps[1].transfers = {wave.schedule.steps[2].transfers[0]};
  wave.schedule.steps[1].transfers[0].ready = 2;
  wave.schedule.steps[2].transfers.clear();
  expect_only(
      verify(wave), "returned_early", ".steps[1].transfers[0]",
      "rank 0 sends o rows [4, 8) of document 0, heads [0, 4) in step 1, before steps[1].tasks[0] has added");
  wave = travelling_query_wave();
  wave.schedule.steps.push_back(wave.schedule.steps[2]);
  wave.schedule.steps[3].transfers[0].ready = 4;
  expect_only(verify(wave), "returned_twice", ".steps[3].transfers[0]",
              "which it sends in steps[2].transfers[0] too");
  wave = multicast_wave();
  wave.schedule.steps[1].transfers = {{0, {{1, 2}}, TensorKind::o, {0, 4, 8}, {0, 4}, 0, 2}};
  expect_only(verify(wave), "nothing_to_return", ".steps[1].transfers[0]",
              "rank 0 sends o rows [4, 8) of document 0, heads [0, 4), but has no share of it");
}

TEST(VerifyFlow, RejectsAnUnfinishedOutputThatCallsItselfFinished) {
  Wave wave = travelling_query_wave();
  wave.schedule.steps[2].transfers[0].tensor = TensorKind::o;
  expect_only(verify(wave), "not_finished", ".steps[2].transfers[0]",
              "rank 0 sends o, but computes only a part of rows [4, 8) of document 0, heads [0, 4)");
  wave = head_split_wave();
  wave.schedule.steps[2].transfers[0].tensor = TensorKind::o_part;
  std::swap(wave.schedule.steps[2].transfers[0], wave.schedule.steps[2].transfers[1]);
  EXPECT_TRUE(verify(wave).empty()) << listed(verify(wave));
}

TEST(VerifyCoverage, NamesTheFirstPairThatNobodyComputes) {
  Wave wave = multicast_wave();
  wave.schedule.steps[0].tasks.erase(wave.schedule.steps[0].tasks.begin() + 1);
  expect_only(verify(wave), "coverage", "",
              "no task computes queries [4, 8) with keys [4, 8) of document 0, heads [0, 4)");
  wave = multicast_wave();
  wave.schedule.steps[0].tasks[1] = {1, {0, 5, 8}, {0, 4, 8}, {0, 4}};
  expect_only(verify(wave), "coverage", "", "no task computes queries [4, 5) with keys [4, 5)");
  wave = multicast_wave();
  wave.schedule.steps[0].tasks[1].heads = {0, 2};
  expect_only(verify(wave), "coverage", "", "queries [4, 8) with keys [4, 8) of document 0, heads [2, 4)");
  wave = multicast_wave();
  wave.schedule.steps = {{}};
  expect_only(verify(wave), "coverage", "",
              "no task computes queries [0, 12) with keys [0, 12) of document 0");
}

TEST(VerifyCoverage, NamesPairsThatAreComputedTwice) {
  Wave wave = multicast_wave();
  wave.schedule.steps[1].tasks = {{1, {0, 4, 8}, {0, 0, 5}, {0, 4}}, wave.schedule.steps[1].tasks[1]};
  expect_only(
      verify(wave), "computed_twice", ".steps[0].tasks[1]",
      "queries [4, 8) with keys [4, 5) of document 0, heads [0, 4), are computed by steps[1].tasks[0] too");
  wave = multicast_wave();
  wave.schedule.steps[1].tasks.insert(wave.schedule.steps[1].tasks.begin() + 1,
                                      {1, {0, 6, 8}, {0, 2, 3}, {1, 2}});
  expect_only(
      verify(wave), "computed_twice", ".steps[1].tasks[1]",
      "queries [6, 8) with keys [2, 3) of document 0, heads [1, 2), are computed by steps[1].tasks[0] too");
}

/// Every rank owns one token. The last rank computes all rows but its own, of which every rank computes the
/// pair with its key.
Wave row_in_parts(std::int32_t ranks) {
  const std::int32_t last = ranks - 1;
  const HeadRange queries{0, 4}, keys{0, 2};
  Wave wave;
  wave.documents = {0};
  wave.lengths = {ranks};
  wave.groups = {{{}, {{"ring", ranks}}, {0}}};
  wave.schedule.steps.resize(3);
  auto& steps = wave.schedule.steps;
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    const TokenSpan own{0, rank, rank + 1}, row{0, last, ranks};
    wave.groups[0].ranks.push_back(rank);
    wave.placement.spans.push_back({own});
    steps[1].tasks.push_back({rank, row, own, queries});
    if (rank == last) continue;
    steps[0].transfers.push_back({rank, {{last, ranks}}, TensorKind::q, own, queries, 0, 1});
    steps[0].transfers.push_back({rank, {{last, ranks}}, TensorKind::kv, own, keys, 0, 1});
    steps[2].transfers.push_back({last, {{rank, rank + 1}}, TensorKind::o, own, queries, 0, 3});
    steps[2].transfers.push_back({rank, {{last, ranks}}, TensorKind::o_part, row, queries, 0, 3});
  }
  steps[0].transfers.push_back({last, {{0, last}}, TensorKind::q, {0, last, ranks}, queries, 0, 1});
  steps[1].tasks.push_back({last, {0, 0, last}, {0, 0, last}, queries});
  for (ScheduleStep& step : steps) sort_canonically(step);
  return wave;
}

TEST(VerifyOutputs, TakesNoMorePartsOfARowThanAnExecutorMerges) {
  const auto most = static_cast<std::int32_t>(kMaxPartialOutputs);
  EXPECT_TRUE(verify(row_in_parts(most + 1)).empty()) << listed(verify(row_in_parts(most + 1)));
  expect_only(verify(row_in_parts(most + 2)), "parts", ".steps",
              "more than 1023 ranks send a part of rows [1024, 1025) of document 0, heads [0, 4)");
}

}  // namespace
}  // namespace strata::test
