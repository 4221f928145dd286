// SPDX-License-Identifier: Apache-2.0
// The executor of one device, run on a device made of queues: every strategy computes what one device would,
// whatever order the scheduler picks among the streams, and an order that a program lost is noticed. Arenas
// are poisoned.
#include "executor/device/device_executor.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/lowering/lower.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/executor/hand_programs.hpp"
#include "tests/executor/schedule_trial.hpp"
#include "tests/executor/strategy_runs.hpp"
#include "tests/support/host_accelerator.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using testing::HostAccelerator;
using testing::HostAcceleratorOptions;
using testing::poisoned;

RunResult run_with_seed(const Execution& execution, const DeviceOptions& options, std::uint64_t seed) {
  HostAcceleratorOptions settings;
  settings.seed = seed;
  HostAccelerator device(settings);
  return run_on_device(execution, options, device);
}

TEST(DeviceExecutor, EveryStrategyComputesWhatOneDeviceWouldInAnyOrderOfTheStreams) {
  std::uint64_t runs = 0;
  const auto run = [&](const Execution& execution, const DeviceOptions& options, std::uint64_t) {
    return run_with_seed(execution, options, runs++);
  };
  testing::expect_random_batches(small_scale() ? 6 : 60, 1'500'000, run);
}

TEST(DeviceExecutor, SchedulesThatNoStrategyMakesComputeWhatOneDeviceWould) {
  const auto run = [](const Execution& execution, std::uint64_t seed) {
    return run_with_seed(execution, poisoned(seed), seed);
  };
  for (std::uint64_t seed = 0; seed < (small_scale() ? 10 : 100); ++seed) {
    const test::Trial trial = test::try_schedule(test::random_schedule(seed), seed, run);
    ASSERT_EQ(trial.verdict, test::Verdict::right) << "schedule " << seed << ": " << trial.what;
  }
}

TEST(DeviceExecutor, EveryStrategyComputesWhatOneDeviceWouldOnTensorCores) {
  const auto run = [](const Execution& execution, const DeviceOptions& options, std::uint64_t order) {
    HostAcceleratorOptions settings;
    settings.tensor_cores = true;
    settings.seed = order;
    HostAccelerator device(settings);
    return run_on_device(execution, options, device);
  };
  std::vector<std::int64_t> ran;
  testing::expect_strategies(testing::tensor_core_batch(2, 64, {90, 1, 45}), 5, run, ran);
  const auto half = testing::tensor_core_batch(2, 64, {33, 1, 20}, ElementType::f16);
  testing::expect_strategies(half, 6, run, ran);
  EXPECT_EQ(ran, std::vector<std::int64_t>(ran.size(), 2));
}

/// Four ranks, documents across rank borders.
Execution planned(const Strategy& strategy, const PlanOptions& options) {
  WaveRequest request;
  request.documents = {0, 1, 2};
  request.lengths = {41, 1, 22};
  request.rank_count = 4;
  request.exchange = options.exchange;
  request.model = testing::hand_model(ElementType::f32);
  request.model.head_dim = request.model.value_head_dim = 8;
  const Wave wave = make_wave(strategy, request, options);
  Execution execution;
  execution.model = request.model;
  execution.waves.push_back({lower_wave(wave, request.model), wave.placement});
  return execution;
}

TEST(DeviceExecutor, ATimelineAddsAtMostTwoEventsAnInstructionAndNoLaunch) {
  for (const Strategy& strategy : all_strategies()) {
    const Execution execution = planned(strategy, {});
    std::int64_t instructions = 0;
    for (const RankProgram& program : execution.waves.front().programs) {
      instructions += std::ssize(program.forward) + std::ssize(program.backward);
    }
    DeviceOptions options;
    options.threads = 1;
    HostAccelerator with({}), without({});
    const RunResult result = run_on_device(execution, options, with);
    options.record_timeline = false;
    run_on_device(execution, options, without);
    EXPECT_EQ(std::ssize(result.timeline.events), instructions);
    EXPECT_EQ(with.launches(), without.launches()) << strategy.name;
    EXPECT_LE(with.recordings(), without.recordings() + 2 * instructions) << strategy.name;
    EXPECT_LT(without.recordings(), with.recordings()) << strategy.name;
  }
}

/// A wait of one instruction for another.
struct Edge {
  std::size_t rank = 0;
  Pass pass = Pass::forward;
  std::size_t instruction = 0;
  std::int32_t before = 0;
};

/// Whether the rank's other edges order the two instructions as well.
bool implied(const std::vector<Instruction>& list, const Edge& edge) {
  std::vector<char> after(list.size(), 0);
  after[static_cast<std::size_t>(edge.before)] = 1;
  for (std::size_t i = static_cast<std::size_t>(edge.before) + 1; i <= edge.instruction; ++i) {
    for (std::size_t j = static_cast<std::size_t>(edge.before); j < i; ++j) {
      const bool waits = std::find(list[i].wait_for.begin(), list[i].wait_for.end(),
                                   static_cast<std::int32_t>(j)) != list[i].wait_for.end();
      const bool dropped = i == edge.instruction && static_cast<std::int32_t>(j) == edge.before;
      if (after[j] != 0 && ((waits && !dropped) || list[i].stream == list[j].stream)) after[i] = 1;
    }
  }
  return after[edge.instruction] != 0;
}

std::vector<Edge> needed_edges(const std::vector<RankProgram>& programs) {
  std::vector<Edge> edges;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      const std::vector<Instruction>& list = programs[r].instructions(pass);
      for (std::size_t i = 0; i < list.size(); ++i) {
        for (const std::int32_t before : list[i].wait_for) {
          const Edge edge{r, pass, i, before};
          if (!implied(list, edge)) edges.push_back(edge);
        }
      }
    }
  }
  return edges;
}

/// Whether one of `orders` orders of the streams gives other results than `expected`.
bool noticed(const Execution& execution, const std::vector<std::vector<LocalResults>>& expected,
             std::uint64_t orders) {
  for (std::uint64_t seed = 0; seed < orders; ++seed) {
    if (run_with_seed(execution, poisoned(1), seed).results != expected) return true;
  }
  return false;
}

TEST(DeviceExecutor, AWaitThatAProgramLostShowsInTheResultsOfSomeOrder) {
  constexpr std::uint64_t kOrders = 200;
  const std::size_t stride = small_scale() ? 8 : 1;  // every how many edges one is taken away
  std::size_t edges = 0, unnoticed = 0;
  for (const Strategy& strategy : all_strategies()) {
    const Execution execution = planned(strategy, {});
    const auto expected = run_with_seed(execution, poisoned(1), 1).results;
    EXPECT_FALSE(noticed(execution, expected, kOrders / stride)) << strategy.name;
    for (const Edge& edge : needed_edges(execution.waves.front().programs)) {
      if (edges++ % stride != 0) continue;
      Execution damaged = execution;
      RankProgram& program = damaged.waves.front().programs[edge.rank];
      auto& list = edge.pass == Pass::forward ? program.forward : program.backward;
      std::erase(list[edge.instruction].wait_for, edge.before);
      if (!noticed(damaged, expected, kOrders)) ++unnoticed;
    }
  }
  EXPECT_GE(edges, 100U);
  // An order may also follow from exchanges with other ranks; those edges change nothing.
  EXPECT_LE(unnoticed, edges / 50);
}

}  // namespace
}  // namespace strata
