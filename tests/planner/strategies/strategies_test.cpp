// SPDX-License-Identifier: Apache-2.0
// Every strategy computes exactly what the mask allows, and moves exactly the traffic that is known in closed
// form. Random small waves go through a token-by-token interpreter; large ones are held to the closed forms.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "core/lowering/lower.hpp"
#include "core/verify/verify_programs.hpp"
#include "core/verify/verify_schedule.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/planner/realise/random_waves.hpp"
#include "tests/planner/realise/schedule_interpreter.hpp"

namespace strata::testing {
namespace {

CommSchedule schedule_of(std::string_view name, const WaveRequest& request) {
  const Strategy strategy = strategy_named(name);
  return strategy.schedule(request, strategy.place(request));
}

std::int64_t kv_rows_of(std::string_view name, WaveRequest request, ExchangeMode exchange) {
  request.exchange = exchange;
  return kv_rows(schedule_of(name, request));
}

TEST(Strategies, ComputeEveryAllowedPairOnceInThousandsOfRandomWaves) {
  RandomWaves waves(1);
  std::map<std::string_view, int> accepted;
  for (int i = 0; i < 3000; ++i) {
    const WaveRequest request = waves.next();
    for (const Strategy& strategy : all_strategies()) {
      if (strategy.rejects(request)) continue;
      ++accepted[strategy.name];
      const SequenceLayout layout = strategy.place(request);
      const auto complaints = complaints_about(request, layout, strategy.schedule(request, layout));
      ASSERT_TRUE(complaints.empty()) << "wave " << i << ", " << strategy.name << ": " << complaints.front();
    }
  }
  for (const Strategy& strategy : all_strategies()) EXPECT_GT(accepted[strategy.name], 1500) << strategy.name;
}

TEST(Strategies, InterpreterNoticesADroppedTransferAndADroppedTask) {
  const WaveRequest request = wave_of({37, 5}, 4, 4, 2);
  for (const Strategy& strategy : all_strategies()) {
    const SequenceLayout layout = strategy.place(request);
    const CommSchedule schedule = strategy.schedule(request, layout);
    ASSERT_TRUE(complaints_about(request, layout, schedule).empty());
    for (std::size_t step = 0; step < schedule.steps.size(); ++step) {
      for (std::size_t i = 0; i < schedule.steps[step].transfers.size(); ++i) {
        CommSchedule broken = schedule;
        broken.steps[step].transfers.erase(broken.steps[step].transfers.begin() +
                                           static_cast<std::ptrdiff_t>(i));
        EXPECT_FALSE(complaints_about(request, layout, broken).empty()) << strategy.name;
      }
      for (std::size_t i = 0; i < schedule.steps[step].tasks.size(); ++i) {
        CommSchedule broken = schedule;
        broken.steps[step].tasks.erase(broken.steps[step].tasks.begin() + static_cast<std::ptrdiff_t>(i));
        EXPECT_FALSE(complaints_about(request, layout, broken).empty()) << strategy.name;
      }
    }
  }
}

TEST(Strategies, OneDocumentMovesThreeQuartersOfFullUnderZigzag) {
  for (const std::int32_t ranks : {2, 3, 4, 8, 16, 64}) {
    const WaveRequest request = wave_of({2 * ranks * 35}, ranks);
    for (const std::string_view name : {"zigzag_ring", "per_document", "allgather"}) {
      const std::int64_t full = kv_rows_of(name, request, ExchangeMode::full);
      EXPECT_EQ(full, std::int64_t{2} * ranks * 35 * (ranks - 1)) << name;
      EXPECT_EQ(4 * kv_rows_of(name, request, ExchangeMode::needed), 3 * full) << name << " on " << ranks;
    }
  }
}

TEST(Strategies, OneDocumentMovesHalfOfFullUnderContiguousShards) {
  for (const std::int32_t ranks : {2, 3, 4, 8, 16, 64}) {
    const WaveRequest request = wave_of({std::int64_t{ranks} * 35}, ranks);
    const std::int64_t full = kv_rows_of("ring", request, ExchangeMode::full);
    EXPECT_EQ(full, std::int64_t{ranks} * 35 * (ranks - 1));
    EXPECT_EQ(2 * kv_rows_of("ring", request, ExchangeMode::needed), full) << ranks << " ranks";
  }
}

TEST(Strategies, WholeDocumentsMoveNothingInEitherMode) {
  RandomWaves waves(2);
  for (int i = 0; i < 300; ++i) {
    for (const ScheduleStep& step : schedule_of("whole_document", waves.next()).steps) {
      EXPECT_TRUE(step.transfers.empty());
    }
  }
}

TEST(Strategies, AreIdenticalOnOneRank) {
  RandomWaves waves(3);
  for (int i = 0; i < 300; ++i) {
    WaveRequest request = waves.next();
    request.rank_count = 1;
    const Strategy first = all_strategies().front();
    const SequenceLayout layout = first.place(request);
    const CommSchedule schedule = first.schedule(request, layout);
    ASSERT_EQ(schedule.steps.size(), 1u);
    EXPECT_TRUE(schedule.steps[0].transfers.empty());
    ASSERT_EQ(schedule.steps[0].tasks.size(), request.documents.size());
    for (const Strategy& strategy : all_strategies()) {
      EXPECT_EQ(strategy.place(request), layout) << strategy.name;
      EXPECT_EQ(strategy.schedule(request, layout), schedule) << strategy.name;
    }
  }
}

TEST(Strategies, ContiguousShardsNeedOneRemoteIntervalOverTenThousandRows) {
  RandomWaves waves(4);
  int several_hops = 0;
  for (int i = 0; i < 10000; ++i) {
    WaveRequest request = waves.next();
    request.exchange = ExchangeMode::needed;
    std::vector<std::vector<TokenSpan>> received(static_cast<std::size_t>(request.rank_count));
    for (const ScheduleStep& step : schedule_of("ring", request).steps) {
      for (const Transfer& transfer : step.transfers) {
        received[static_cast<std::size_t>(transfer.targets.front().begin)].push_back(transfer.span);
      }
    }
    for (auto& spans : received) {
      std::sort(spans.begin(), spans.end());
      several_hops += spans.size() > 1 ? 1 : 0;
      for (std::size_t s = 1; s < spans.size(); ++s) {
        ASSERT_EQ(spans[s].document, spans[s - 1].document) << "row " << i;
        ASSERT_EQ(spans[s].begin, spans[s - 1].end) << "row " << i;
      }
    }
  }
  EXPECT_GT(several_hops, 1000) << "the rows hardly test anything";
}

TEST(Strategies, PassTheVerifierAndLowerToValidProgramsUnderEveryPolicy) {
  RandomWaves waves(6);
  for (int i = 0; i < 400; ++i) {
    const WaveRequest request = waves.next();
    PlanOptions options;
    options.kv = i % 2 == 0 ? BackwardKeep::retain : BackwardKeep::refetch;
    options.gradient_return = i % 4 < 2 ? GradientReturn::owner : GradientReturn::reverse_tree;
    for (const Strategy& strategy : all_strategies()) {
      if (strategy.rejects(request)) continue;
      const Wave wave = make_wave(strategy, request, options);
      const auto violations = verify_wave(wave, request.model, request.rank_count, "waves[0]", 1);
      ASSERT_TRUE(violations.empty()) << "wave " << i << ", " << strategy.name << ": "
                                      << violations.front().place << ": " << violations.front().message;
    }
  }
}

TEST(Strategies, NeededNeverMovesMoreThanFull) {
  RandomWaves waves(5);
  for (int i = 0; i < 500; ++i) {
    const WaveRequest request = waves.next();
    for (const std::string_view name : {"ring", "zigzag_ring", "per_document", "allgather"}) {
      EXPECT_LE(kv_rows_of(name, request, ExchangeMode::needed),
                kv_rows_of(name, request, ExchangeMode::full));
    }
  }
}

TEST(Strategies, MarkOnlyTruePatternsAsCollectives) {
  WaveRequest request = wave_of({50, 13}, 4, 4, 2);
  for (const ExchangeMode exchange : {ExchangeMode::needed, ExchangeMode::full}) {
    request.exchange = exchange;
    const bool full = exchange == ExchangeMode::full;
    EXPECT_EQ(schedule_of("allgather", request).steps[0].collective,
              full ? CollectiveKind::all_gather : CollectiveKind::none);
    EXPECT_EQ(schedule_of("per_document", request).steps[0].collective,
              full ? CollectiveKind::all_gather : CollectiveKind::none);
    EXPECT_EQ(schedule_of("ring", request).steps[0].collective, CollectiveKind::none);
    const CommSchedule ulysses = schedule_of("ulysses", request);
    ASSERT_EQ(ulysses.steps.size(), 3u);
    EXPECT_EQ(ulysses.steps[0].collective, CollectiveKind::all_to_all);
    EXPECT_EQ(ulysses.steps[1].collective, CollectiveKind::none);
    EXPECT_EQ(ulysses.steps[2].collective, CollectiveKind::all_to_all);
  }
}

TEST(Ulysses, RejectsHeadsThatDoNotDivideAndNamesTheNumbers) {
  const auto rejection = strategy_named("ulysses").rejects(wave_of({100}, 3, 8, 2));
  ASSERT_TRUE(rejection);
  EXPECT_EQ(rejection->strategy, "ulysses");
  EXPECT_EQ(rejection->reason,
            "8 query heads cannot be divided evenly among 3 ranks"
            "; degrees that work: 1 (of 3 ranks); other"
            " strategies divide no heads");
  EXPECT_FALSE(strategy_named("ulysses").rejects(wave_of({100}, 4, 8, 2)));
}

TEST(Ulysses, ReplicatesKvByMulticastWhenRanksExceedKvHeads) {
  const WaveRequest request = wave_of({64}, 8, 8, 2);
  const CommSchedule schedule = schedule_of("ulysses", request);
  for (const Transfer& transfer : schedule.steps[0].transfers) {
    if (transfer.tensor == TensorKind::kv) {
      EXPECT_EQ(transfer.heads.count(), 1);
      EXPECT_GE(target_count(transfer), 3);
    }
  }
}

TEST(Ring, RejectsRelaysLongerThanTheStatedDegree) {
  WaveRequest request = wave_of({100000}, 257);
  for (const std::string_view name : {"ring", "zigzag_ring"}) {
    request.exchange = ExchangeMode::full;
    const auto full = strategy_named(name).rejects(request);
    ASSERT_TRUE(full) << name;
    EXPECT_NE(full->reason.find("257 ranks"), std::string::npos) << full->reason;
    request.exchange = ExchangeMode::needed;
    const auto needed = strategy_named(name).rejects(request);
    ASSERT_TRUE(needed) << name;
    EXPECT_NE(needed->reason.find("100000 tokens"), std::string::npos) << needed->reason;
  }
  WaveRequest many = wave_of(std::vector<std::int64_t>(1000, 100), 257);
  EXPECT_FALSE(strategy_named("ring").rejects(many));
}

TEST(StrategyTable, ListsTheKnownNamesForAnUnknownOne) {
  try {
    strategy_named("rign");
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(
        error.what(),
        "strategy: found \"rign\", expected one of ulysses, ring, zigzag_ring, per_document, allgather, "
        "whole_document, auto; did you mean 'ring'?");
  }
}

TEST(StrategyTable, KeepsTableOrderAndExpandsAuto) {
  const auto chosen = strategies_named({"allgather", "ulysses"});
  ASSERT_EQ(chosen.size(), 2u);
  EXPECT_EQ(chosen[0].name, "ulysses");
  EXPECT_EQ(chosen[1].name, "allgather");
  EXPECT_EQ(strategies_named({"auto"}).size(), all_strategies().size());
  EXPECT_EQ(strategies_named({}).size(), all_strategies().size());
  EXPECT_THROW(strategies_named({"ring", "ring"}), InputError);
}

}  // namespace
}  // namespace strata::testing
