// SPDX-License-Identifier: Apache-2.0
// Schedules by hand whose slices have several origins, and explicit backward schedules that are cut otherwise
// than forward: each kind that a random schedule got wrong once.
#include <gtest/gtest.h>

#include "core/lowering/lower.hpp"
#include "tests/executor/schedule_trial.hpp"
#include "tests/support/hand_built_waves.hpp"

namespace strata::test {
namespace {

void expect_right(const Wave& wave) {
  const RandomSchedule schedule{hand_built_model(), wave.placement.rank_count(), wave};
  for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{8}}) {
    const Trial trial = try_schedule(schedule, seed);
    EXPECT_EQ(trial.verdict, Verdict::right) << trial.what;
  }
}

/// `wave` with its backward schedule written down, and changed.
template <typename Change>
Wave changed_backward(Wave wave, Change change) {
  wave = with_explicit_backward(std::move(wave), hand_built_model());
  change(wave.backward.steps);
  for (ScheduleStep& step : wave.backward.steps) sort_canonically(step);
  return wave;
}

TEST(SliceOrigins, AGradientSliceIsOwnInSomeRowsAndPassedOnInOthers) {
  Wave wave = mixed_slice_wave();
  expect_right(wave);
  wave.backward.kv = BackwardKeep::retain;
  expect_right(wave);
  wave.backward.gradient_return = GradientReturn::owner;
  expect_right(wave);
}

TEST(SliceOrigins, WhatIsPassedOnIsAddedBeforeItIsSent) {
  // Rank 1 gets dkv of rows [0, 8) from rank 2 in one slice and owes rows [4, 8) to rank 0.
  const RankProgram program = lower_wave(mixed_slice_wave(), hand_built_model())[1];
  std::vector<std::int64_t> rows_before_sending, rows_after;
  bool sent = false;
  for (const Instruction& instruction : program.backward) {
    if (const auto* exchange = std::get_if<Exchange>(&instruction.op)) {
      sent = sent || (exchange->step > 3 && !exchange->sends.empty());
    } else if (const auto* sum = std::get_if<AccumulateGradient>(&instruction.op)) {
      for (const RowCopy& addition : sum->additions) {
        if (program.buffers[static_cast<std::size_t>(addition.source)].rows != 8) continue;
        (sent ? rows_after : rows_before_sending).push_back(addition.source_row);
      }
    }
  }
  EXPECT_EQ(rows_before_sending, std::vector<std::int64_t>({4}));
  EXPECT_EQ(rows_after, std::vector<std::int64_t>({0})) << "the rank's own rows";
  EXPECT_TRUE(sent);
}

TEST(ExplicitBackward, TakesOutputGradientsInHalvesOfTheHeadsOfTheirQueries) {
  for (const auto keep : {BackwardKeep::refetch, BackwardKeep::retain}) {
    Wave wave = head_split_wave();
    wave.backward.kv = keep;
    expect_right(changed_backward(wave, [](std::vector<ScheduleStep>& steps) {
      std::vector<Transfer> halves;
      for (Transfer& transfer : steps[0].transfers) {
        if (transfer.tensor != TensorKind::d_o) continue;
        halves.push_back(transfer);
        halves.back().heads.begin = --transfer.heads.end;
        halves.back().lane = 1;
      }
      ASSERT_EQ(halves.size(), 2U);
      steps[0].transfers.insert(steps[0].transfers.end(), halves.begin(), halves.end());
    }));
  }
}

TEST(ExplicitBackward, TakesOutputGradientsBeforeTheirQueries) {
  expect_right(changed_backward(travelling_query_wave(), [](std::vector<ScheduleStep>& steps) {
    // Now q arrives in two halves of its rows one step after d_o.
    const Transfer query = steps[0].transfers[0];
    ASSERT_EQ(query.tensor, TensorKind::q);
    steps[0].transfers.erase(steps[0].transfers.begin());
    steps.insert(steps.begin() + 1, ScheduleStep{});
    for (std::size_t step = 2; step < steps.size(); ++step) {
      for (Reduction& reduction : steps[step].reductions) ++reduction.ready;
    }
    Transfer first = query, second = query;
    first.span.end = second.span.begin = 6;
    first.ready = second.ready = 2;
    steps[1].transfers = {first, second};
  }));
}

TEST(ExplicitBackward, LetsOutputGradientsBeRelayed) {
  expect_right(changed_backward(relayed_query_wave(), [](std::vector<ScheduleStep>& steps) {
    // d_o goes the way of the queries: from rank 2 by way of rank 1 to rank 0.
    for (Transfer& transfer : steps[1].transfers) {
      if (transfer.tensor == TensorKind::d_o) transfer.source = 1;
    }
    steps[0].transfers.push_back({2, {{1, 2}}, TensorKind::d_o, {0, 8, 12}, {0, 4}, 0, 1});
  }));
}

TEST(ExplicitBackward, LetsSumsPassARankThatDoesNotHoldTheirKeys) {
  expect_right(changed_backward(multicast_wave(), [](std::vector<ScheduleStep>& steps) {
    // dkv of rows [4, 8) goes from rank 2 by way of rank 0 to rank 1.
    Reduction& home = steps[2].reductions[1];
    ASSERT_EQ(home, (Reduction{1, {{2, 3}}, TensorKind::dkv, {0, 4, 8}, {0, 2}, 0, 3}));
    home.target = 0;
    steps.resize(4);
    steps[3].reductions.push_back({1, {{0, 1}}, TensorKind::dkv, {0, 4, 8}, {0, 2}, 0, 4});
  }));
}

TEST(ExplicitBackward, MayComputeOnOtherRanksThanForward) {
  // Forward sends queries to the keys, backward keys to the queries.
  Wave wave = travelling_query_wave();
  wave.backward.gradient_return = GradientReturn::explicit_steps;
  wave.backward.steps.resize(3);
  wave.backward.steps[0].tasks = wave.schedule.steps[0].tasks;
  wave.backward.steps[0].transfers = {{0, {{1, 2}}, TensorKind::kv, {0, 0, 4}, {0, 2}, 0, 1}};
  wave.backward.steps[1].tasks = {{1, {0, 4, 8}, {0, 0, 4}, {0, 4}}};
  wave.backward.steps[2].reductions = {{0, {{1, 2}}, TensorKind::dkv, {0, 0, 4}, {0, 2}, 0, 3}};
  for (const auto keep : {BackwardKeep::refetch, BackwardKeep::retain}) {
    wave.backward.kv = keep;
    expect_right(wave);
  }
}

TEST(RelayedQueries, HaveADerivedBackward) {
  Wave wave = relayed_query_wave();
  for (const auto keep : {BackwardKeep::refetch, BackwardKeep::retain}) {
    wave.backward.kv = keep;
    expect_right(wave);
  }
}

}  // namespace
}  // namespace strata::test
