// SPDX-License-Identifier: Apache-2.0
// Single transfers, reductions and tasks: every rule is broken alone in a wave that is otherwise good, and
// must be named with the place and the values.
#include <gtest/gtest.h>

#include "tests/core/verify/verify_support.hpp"

namespace strata::test {
namespace {

/// The multicast wave with one change to its first transfer.
template <typename Change>
std::vector<Violation> with_first_transfer(Change change) {
  Wave wave = multicast_wave();
  change(wave.schedule.steps[0].transfers[0]);
  return verify(wave);
}

/// The multicast wave with one change to the last task of step 1: rank 2, queries [8, 12), keys [0, 8).
template <typename Change>
std::vector<Violation> with_last_task(Change change) {
  Wave wave = multicast_wave();
  change(wave.schedule.steps[1].tasks[1]);
  return verify(wave);
}

const std::string kFirst = ".steps[0].transfers[0]";
const std::string kLastTask = ".steps[1].tasks[1]";

TEST(VerifyRecords, WantsSpansInsideTheirDocument) {
  expect_only(with_first_transfer([](Transfer& t) { t.span.document = 1; }), "span", kFirst,
              "kv of document 1, which is not in the wave");
  expect_only(with_first_transfer([](Transfer& t) {
                t.span = {0, 0, 13};
              }),
              "span", kFirst, "kv rows [0, 13) of document 0, empty or outside its 12 tokens");
  expect_only(with_first_transfer([](Transfer& t) { t.span = {0, -1, 4}; }), "span", kFirst, "rows [-1, 4)");
  expect_only(with_first_transfer([](Transfer& t) { t.span = {0, 4, 4}; }), "span", kFirst, "rows [4, 4)");
}

TEST(VerifyRecords, CountsKvHeadsForKvAndQueryHeadsForQueries) {
  expect_only(with_first_transfer([](Transfer& t) {
                t.heads = {0, 3};
              }),
              "heads", kFirst, "heads [0, 3), empty or outside the 2 heads");
  expect_only(with_first_transfer([](Transfer& t) { t.heads = {1, 1}; }), "heads", kFirst, "heads [1, 1)");
  Wave wave = head_split_wave();
  wave.schedule.steps[0].transfers[0].heads = {2, 5};
  expect_only(verify(wave), "heads", kFirst, "heads [2, 5), empty or outside the 4 heads");
}

TEST(VerifyRecords, WantsRanksThatExistInCanonicalRanges) {
  expect_only(with_first_transfer([](Transfer& t) { t.source = 3; }), "ranks", kFirst,
              "source rank 3 is not below 3");
  expect_only(with_first_transfer([](Transfer& t) { t.source = -1; }), "ranks", kFirst,
              "source rank -1 is not below 3");
  expect_only(with_first_transfer([](Transfer& t) { t.targets = {}; }), "ranks", kFirst, "no target ranks");
  expect_only(with_first_transfer([](Transfer& t) {
                t.targets = {{1, 4}};
              }),
              "ranks", kFirst, "target ranks [1, 4), empty or not below 3");
  expect_only(with_first_transfer([](Transfer& t) {
                t.targets = {{2, 2}};
              }),
              "ranks", kFirst, "target ranks [2, 2)");
  expect_only(with_first_transfer([](Transfer& t) {
                t.targets = {{1, 2}, {2, 3}};
              }),
              "ranks", kFirst, "target ranks [2, 3) touch or precede those before");
  expect_only(with_first_transfer([](Transfer& t) {
                t.targets = {{0, 3}};
              }),
              "ranks", kFirst, "rank 0 would send to itself");
}

TEST(VerifyRecords, WantsASmallLaneAndAReadyStepThatSomebodyCanUse) {
  expect_only(with_first_transfer([](Transfer& t) { t.lane = 16; }), "lane", kFirst,
              "lane 16 is not below 16");
  expect_only(with_first_transfer([](Transfer& t) { t.lane = -1; }), "lane", kFirst,
              "lane -1 is not below 16");
  expect_only(with_first_transfer([](Transfer& t) { t.ready = 0; }), "ready", kFirst,
              "ready in step 0, expected 1 to 1");
  expect_only(with_first_transfer([](Transfer& t) { t.ready = 2; }), "ready", kFirst,
              "ready in step 2, expected 1 to 1");
  Wave wave = head_split_wave();
  wave.schedule.steps[2].transfers[0].ready = 4;
  expect_only(verify(wave), "ready", ".steps[2].transfers[0]", "ready in step 4, expected 3 to 3");
}

TEST(VerifyRecords, RejectsBackwardTensorsAndReductionsInForward) {
  for (const TensorKind tensor : {TensorKind::d_o, TensorKind::dq, TensorKind::dkv}) {
    expect_only(with_first_transfer([&](Transfer& t) { t.tensor = tensor; }), "tensor", kFirst,
                std::string(to_string(tensor)) + " is not a forward transfer");
  }
  expect_only(with_first_transfer([](Transfer& t) { t.tensor = static_cast<TensorKind>(99); }), "tensor",
              kFirst, "tensor kind 99 does not exist");
  Wave wave = multicast_wave();
  wave.schedule.steps[1].reductions = {{0, {{1, 2}}, TensorKind::dkv, {0, 0, 4}, {0, 2}, 0, 2}};
  expect_only(verify(wave), "tensor", ".steps[1].reductions[0]", "only dq and dkv in backward are summed");
}

TEST(VerifyRecords, SendsOutputsToTheOneOwnerOfTheirRows) {
  Wave wave = travelling_query_wave();
  wave.schedule.steps[2].transfers[0].span = {0, 3, 8};
  expect_only(verify(wave), "owner", ".steps[2].transfers[0]",
              "o_part of rows [3, 8) of document 0 goes to rank 1, but they have several owners");
  wave = travelling_query_wave();
  wave.schedule.steps[2].transfers[0].span = {0, 0, 4};
  expect_only(verify(wave), "owner", ".steps[2].transfers[0]", "goes to rank 1, expected their owner 0");
}

TEST(VerifyRecords, SendsOutputsToOneRankOnly) {
  Wave wave = multicast_wave();
  wave.schedule.steps[1].transfers = {{0, {{1, 3}}, TensorKind::o, {0, 4, 8}, {0, 4}, 0, 2}};
  expect_only(verify(wave), "owner", ".steps[1].transfers[0]", "o goes to 2 ranks, expected the owner only");
}

TEST(VerifyRecords, WantsTheCanonicalOrderWithoutRepeats) {
  Wave wave = multicast_wave();
  std::swap(wave.schedule.steps[0].transfers[0], wave.schedule.steps[0].transfers[1]);
  expect_only(verify(wave), "canonical", ".steps[0].transfers[1]", "not in canonical order");
  wave = multicast_wave();
  wave.schedule.steps[0].transfers.insert(wave.schedule.steps[0].transfers.begin(),
                                          wave.schedule.steps[0].transfers[0]);
  expect_only(verify(wave), "canonical", ".steps[0].transfers[1]", "the same as the entry before it");
  wave = multicast_wave();
  std::swap(wave.schedule.steps[0].tasks[0], wave.schedule.steps[0].tasks[2]);
  expect_only(verify(wave), "canonical", ".steps[0].tasks[1]", "not in canonical order");
}

TEST(VerifyRecords, BelievesACollectiveOnlyWhereItCanBe) {
  Wave wave = head_split_wave();
  wave.schedule.steps[0].collective = CollectiveKind::all_gather;
  expect_only(verify(wave), "collective", ".steps[0]", "an all-gather moves kv only");
  wave = multicast_wave();
  wave.schedule.steps[1].collective = CollectiveKind::all_to_all;
  expect_only(verify(wave), "collective", ".steps[1]", "a collective without transfers");
  wave = multicast_wave();
  wave.schedule.steps[0].collective = static_cast<CollectiveKind>(9);
  expect_only(verify(wave), "collective", ".steps[0]", "kind 9 does not exist");
}

TEST(VerifyRecords, WantsTasksOfOneDocumentWithinTheirRanges) {
  expect_only(with_last_task([](AttentionTask& t) { t.rank = 3; }), "task", kLastTask,
              "rank 3 is not below 3");
  expect_only(with_last_task([](AttentionTask& t) {
                t.heads = {0, 5};
              }),
              "task", kLastTask, "heads [0, 5), empty or outside the 4 heads");
  expect_only(with_last_task([](AttentionTask& t) { t.query.end = 13; }), "task", kLastTask,
              "queries rows [8, 13) of document 0, empty or outside its 12 tokens");
  expect_only(with_last_task([](AttentionTask& t) {
                t.key = {0, 5, 5};
              }),
              "task", kLastTask, "keys rows [5, 5)");
  expect_only(with_last_task([](AttentionTask& t) { t.key.document = 8; }), "task", kLastTask,
              "keys of document 8");
  Wave wave = multicast_wave();
  wave.documents = {0, 1};
  wave.lengths = {12, 8};
  wave.groups[0].documents = {0, 1};
  wave.placement.spans[2].push_back({1, 0, 8});
  wave.schedule.steps[0].tasks.push_back({2, {1, 0, 8}, {1, 0, 8}, {0, 4}});
  ASSERT_TRUE(verify(wave).empty()) << listed(verify(wave));
  wave.schedule.steps[1].tasks[1].key.document = 1;
  expect_only(verify(wave), "task", kLastTask, "queries of document 0 with keys of document 1");
}

TEST(VerifyRecords, RejectsTasksWithRowsThatSeeNothing) {
  expect_only(with_last_task([](AttentionTask& t) {
                t.query = {0, 0, 4}, t.key = {0, 4, 8};
              }),
              "masked_task", kLastTask,
              "queries [0, 4) with keys [4, 8) of document 0: the mask allows no pair");
  expect_only(with_last_task([](AttentionTask& t) {
                t.query = {0, 2, 12}, t.key = {0, 4, 8};
              }),
              "loose_task", kLastTask, "a query sees none of these keys");
  expect_only(with_last_task([](AttentionTask& t) {
                t.query = {0, 4, 6}, t.key = {0, 0, 8};
              }),
              "loose_task", kLastTask, "a key is seen by none of these queries");
}

TEST(VerifyRecords, RejectsTasksThatReachBeyondTheWindow) {
  ModelShape model = hand_built_model();
  model.attention = AttentionKind::window;
  model.window = 5;  // queries [8, 12) see keys 4 to 11
  Wave wave = multicast_wave();
  expect_only(verify(wave, model), "loose_task", kLastTask, "with keys [0, 8)");
  wave.schedule.steps[1].tasks[1].key = {0, 4, 8};
  wave.schedule.steps[0].transfers[0].targets = {{1, 2}};
  EXPECT_TRUE(verify(wave, model).empty()) << listed(verify(wave, model));
}

}  // namespace
}  // namespace strata::test
