// SPDX-License-Identifier: Apache-2.0
// The backward pass: its schedule is written down as explicit steps, one rule is broken alone, and must be
// named with the place and the values. The steps of the hand-built waves are shown where they are changed.
#include <gtest/gtest.h>

#include "core/schedule/backward_schedule.hpp"
#include "tests/core/verify/verify_support.hpp"

namespace strata::test {
namespace {

using Steps = std::vector<ScheduleStep>;

/// Violations of `wave` with its backward steps written down and changed.
template <typename Change>
std::vector<Violation> with_backward(Wave wave, Change change) {
  wave = with_explicit_backward(std::move(wave), hand_built_model());
  EXPECT_TRUE(verify(wave).empty()) << listed(verify(wave));
  change(wave.backward.steps);
  return verify(wave);
}

TEST(VerifyBackward, WantsNoStepsUnlessThePolicyIsExplicit) {
  Wave wave = multicast_wave();
  wave.backward.steps.resize(2);
  expect_only(verify(wave), "backward_policy", ".backward",
              "2 steps are written down, but the policy derives them");
}

TEST(VerifyBackward, RejectsForwardTensors) {
  const auto violations = with_backward(multicast_wave(), [](Steps& steps) {
    steps[0].transfers.push_back({0, {{1, 2}}, TensorKind::o, {0, 4, 8}, {0, 4}, 0, 1});
  });
  expect_only(violations, "tensor", ".backward.steps[0].transfers[2]", "o is not a backward transfer");
}

TEST(VerifyBackward, RejectsGradientsInTransfers) {
  const auto violations = with_backward(multicast_wave(), [](Steps& steps) {
    steps[0].transfers.push_back({0, {{1, 2}}, TensorKind::dkv, {0, 4, 8}, {0, 2}, 0, 1});
  });
  expect_only(violations, "tensor", ".backward.steps[0].transfers[2]", "dkv is not a backward transfer");
}

TEST(VerifyBackward, WantsReductionsWithSourcesThatAreNotTheTarget) {
  // steps[2].reductions[0]: ranks 1 and 2 return dkv of rows [0, 4) to rank 0.
  expect_only(with_backward(multicast_wave(),
                            [](Steps& steps) {
                              steps[2].reductions[0].sources = {{0, 3}};
                            }),
              "ranks", ".backward.steps[2].reductions[0]", "rank 0 would send to itself");
  expect_only(with_backward(multicast_wave(), [](Steps& steps) { steps[2].reductions[0].sources = {}; }),
              "ranks", ".backward.steps[2].reductions[0]", "no source ranks");
  expect_only(with_backward(multicast_wave(), [](Steps& steps) { steps[2].reductions[0].target = 5; }),
              "ranks", ".backward.steps[2].reductions[0]", "target rank 5 is not below 3");
  expect_only(
      with_backward(multicast_wave(), [](Steps& steps) { steps[2].reductions[0].tensor = TensorKind::kv; }),
      "tensor", ".backward.steps[2].reductions[0]", "only dq and dkv in backward are summed");
}

TEST(VerifyBackward, WantsKeysAndOutputGradientsWhereTasksRun) {
  expect_only(with_backward(multicast_wave(), [](Steps& steps) { steps[0].transfers[1].targets = {}; }),
              "ranks", ".backward.steps[0].transfers[1]", "no target ranks");
  expect_only(with_backward(multicast_wave(), [](Steps& steps) { steps[0].transfers.pop_back(); }),
              "not_held", ".backward.steps[1].tasks[1]",
              "rank 2 reads kv rows [4, 8) of document 0, heads [0, 2), which it neither owns nor receives");
  // transfers of step 0: q of rows [4, 8) to rank 0, and their d_o.
  expect_only(with_backward(travelling_query_wave(), [](Steps& steps) { steps[0].transfers.pop_back(); }),
              "not_held", ".backward.steps[1].tasks[0]",
              "rank 0 reads do rows [4, 8) of document 0, heads [0, 4), which it neither owns nor receives");
}

TEST(VerifyBackward, KnowsWhatIsKeptFromForward) {
  Wave wave = multicast_wave();
  wave.backward.kv = BackwardKeep::retain;
  expect_only(with_backward(wave,
                            [](Steps& steps) {
                              steps[0].transfers = {{0, {{1, 2}}, TensorKind::kv, {0, 0, 4}, {0, 2}, 0, 1}};
                            }),
              "received_twice", ".backward.steps[0].transfers[0]",
              "rank 1 receives kv rows [0, 4) of document 0, heads [0, 2), which it has from forward");
  wave = with_explicit_backward(wave, hand_built_model());
  wave.backward.kv = BackwardKeep::refetch;
  const auto violations = verify(wave);
  ASSERT_EQ(violations.size(), 2u) << listed(violations);
  EXPECT_EQ(violations[0].rule, "not_held");
  EXPECT_EQ(violations[0].place, "waves[0].backward.steps[1].tasks[0]");
}

TEST(VerifyBackward, WantsEveryShareOfAKeyGradientHome) {
  expect_only(with_backward(multicast_wave(),
                            [](Steps& steps) { steps[2].reductions.erase(steps[2].reductions.begin()); }),
              "not_returned", ".backward.steps[1].tasks[0]",
              "rank 1 gets a share of dkv rows [0, 4) of document 0, heads [0, 2) here, but never sends it");
  expect_only(with_backward(multicast_wave(),
                            [](Steps& steps) {
                              steps[2].reductions[0].sources = {{1, 2}};
                            }),
              "not_returned", ".backward.steps[1].tasks[1]", "rank 2 gets a share of dkv rows [0, 4)");
  expect_only(with_backward(multicast_wave(),
                            [](Steps& steps) {
                              steps[1].reductions = {steps[2].reductions[0]};
                              steps[1].reductions[0].ready = 2;
                              steps[2].reductions.erase(steps[2].reductions.begin());
                            }),
              "returned_early", ".backward.steps[1].reductions[0]",
              "in step 1, before backward.steps[1].tasks");
  expect_only(with_backward(multicast_wave(),
                            [](Steps& steps) {
                              steps.push_back(steps[2]);
                              steps[3].reductions.pop_back();
                              steps[3].reductions[0].ready = 4;
                            }),
              "returned_twice", ".backward.steps[3].reductions[0]",
              "which it sends in backward.steps[2].reductions[0] too");
}

TEST(VerifyBackward, WantsQueryGradientsAtTheirOwner) {
  // steps[2].reductions[0]: rank 0 returns dq of rows [4, 8) to rank 1.
  expect_only(with_backward(travelling_query_wave(), [](Steps& steps) { steps[2].reductions.clear(); }),
              "not_returned", ".backward.steps[1].tasks[0]", "rank 0 gets a share of dq rows [4, 8)");
  expect_only(with_backward(travelling_query_wave(),
                            [](Steps& steps) {
                              steps[2].reductions[0].span = {0, 0, 4};
                            }),
              "owner", ".backward.steps[2].reductions[0]",
              "dq of rows [0, 4) of document 0 goes to rank 1, expected their owner 0");
}

TEST(VerifyBackward, FollowsSumsAlongTheirWayHome) {
  // The relay returns dkv of rows [0, 4) from rank 2 to rank 1, and from there, with rank 1's own, to rank 0.
  const CommSchedule backward = derive_backward(relay_wave(), hand_built_model());
  ASSERT_EQ(backward.steps.size(), 5u);
  ASSERT_EQ(backward.steps[3].reductions[0].target, 1);
  ASSERT_EQ(backward.steps[4].reductions[0].target, 0);
  expect_only(with_backward(relay_wave(), [](Steps& steps) { steps[4].reductions.clear(); }), "not_returned",
              ".backward.steps[3].reductions[0]", "rank 1 gets a share of dkv rows [0, 4)");
  expect_only(with_backward(relay_wave(), [](Steps& steps) { steps[3].reductions[0].ready = 5; }),
              "returned_early", ".backward.steps[4].reductions[0]",
              "in step 4, before backward.steps[3].reductions[0] has added to it");
  expect_only(
      with_backward(relay_wave(),
                    [](Steps& steps) {
                      steps[4].reductions.push_back({0, {{2, 3}}, TensorKind::dkv, {0, 0, 4}, {0, 2}, 1, 5});
                    }),
      "returned_twice", ".backward.steps[4].reductions[1]", "rank 2 sends dkv rows [0, 4)");
}

TEST(VerifyBackward, RejectsGradientsWithoutAShareAndGradientsThatLeaveTheirOwner) {
  expect_only(
      with_backward(multicast_wave(),
                    [](Steps& steps) {
                      steps[2].reductions.push_back({2, {{0, 1}}, TensorKind::dkv, {0, 8, 12}, {0, 2}, 0, 3});
                    }),
      "nothing_to_return", ".backward.steps[2].reductions[2]", "rank 0 sends dkv rows [8, 12)");
  // Rank 2 returns dkv of rows [4, 8) to rank 1 in step 2, and has them again from rank 1 by step 3.
  expect_only(
      with_backward(multicast_wave(),
                    [](Steps& steps) {
                      steps.resize(4);
                      steps[3].reductions = {{2, {{1, 2}}, TensorKind::dkv, {0, 8, 12}, {0, 2}, 0, 4}};
                    }),
      "nothing_to_return", ".backward.steps[3].reductions[0]", "rank 1 sends dkv rows [8, 12)");
  const auto violations = with_backward(multicast_wave(), [](Steps& steps) {
    steps.resize(4);
    steps[3].reductions = {{2, {{1, 2}}, TensorKind::dkv, {0, 5, 6}, {0, 2}, 0, 4}};
  });
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations.front().rule, "returned_by_owner") << listed(violations);
  EXPECT_EQ(violations.front().place, "waves[0].backward.steps[3].reductions[0]");
  EXPECT_NE(violations.front().message.find("rank 1 sends dkv rows [5, 6) of document 0, heads [0, 2) away"),
            std::string::npos);
}

TEST(VerifyBackward, RejectsOverlappingReturns) {
  Wave wave = with_explicit_backward(multicast_wave(), hand_built_model());
  wave.backward.steps[2].reductions[1].span = {0, 3, 8};  // rank 2 returned row 3 to rank 0 already
  const auto violations = verify(wave);
  EXPECT_NE(listed(violations)
                .find("returned_twice at waves[0].backward.steps[2].reductions[1]: rank 2 sends dkv "
                      "rows [3, 4)"),
            std::string::npos)
      << listed(violations);
}

TEST(VerifyBackward, CountsPairsAgain) {
  expect_only(
      with_backward(multicast_wave(), [](Steps& steps) { steps[0].tasks.erase(steps[0].tasks.begin() + 2); }),
      "coverage", ".backward", "no task computes queries [8, 12) with keys [8, 12)");
  expect_only(with_backward(multicast_wave(),
                            [](Steps& steps) {
                              steps[1].tasks.push_back({2, {0, 9, 10}, {0, 9, 10}, {0, 1}});
                            }),
              "computed_twice", ".backward.steps[1].tasks[2]",
              "are computed by backward.steps[0].tasks[2] too");
}

TEST(VerifyBackward, LetsAnotherRankComputeInBackward) {
  // Rank 1 computes the pairs of queries [4, 8) and keys [0, 4) in forward; here rank 2 does it in backward.
  const auto violations = with_backward(multicast_wave(), [](Steps& steps) {
    steps[1].tasks = {{2, {0, 4, 8}, {0, 0, 4}, {0, 4}}, {2, {0, 8, 12}, {0, 0, 8}, {0, 4}}};
    steps[0].transfers = {{1, {{2, 3}}, TensorKind::q, {0, 4, 8}, {0, 4}, 0, 1},
                          {0, {{2, 3}}, TensorKind::kv, {0, 0, 4}, {0, 2}, 0, 1},
                          {1, {{2, 3}}, TensorKind::kv, {0, 4, 8}, {0, 2}, 0, 1},
                          {1, {{2, 3}}, TensorKind::d_o, {0, 4, 8}, {0, 4}, 0, 1}};
    steps[2].reductions = {{1, {{2, 3}}, TensorKind::dq, {0, 4, 8}, {0, 4}, 0, 3},
                           {0, {{2, 3}}, TensorKind::dkv, {0, 0, 4}, {0, 2}, 0, 3},
                           {1, {{2, 3}}, TensorKind::dkv, {0, 4, 8}, {0, 2}, 0, 3}};
  });
  EXPECT_TRUE(violations.empty()) << listed(violations);
}

}  // namespace
}  // namespace strata::test
