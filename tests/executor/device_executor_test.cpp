// SPDX-License-Identifier: Apache-2.0
// The executor of one device, run on a device made of queues: every strategy computes what one device would,
// whatever order the scheduler picks among the streams, and an order that a program lost is noticed. Arenas
// are poisoned.
#include "executor/device_executor.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/lower.hpp"
#include "executor/check_detail.hpp"
#include "planner/strategy_table.hpp"
#include "tests/executor/hand_programs.hpp"
#include "tests/executor/random_batches.hpp"
#include "tests/support/host_accelerator.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using testing::BatchSize;
using testing::HostAccelerator;
using testing::HostAcceleratorOptions;
using testing::RandomBatch;

RunResult run_with_seed(const Execution& execution, const DeviceOptions& options, std::uint64_t seed,
                        bool tensor_cores = false) {
  HostAcceleratorOptions settings;
  settings.tensor_cores = tensor_cores;
  settings.seed = seed;
  HostAccelerator device(settings);
  return run_on_device(execution, options, device);
}

DeviceOptions poisoned(std::uint64_t seed) {
  DeviceOptions options;
  options.seed = seed;
  options.poison = true;
  options.threads = 1;
  options.record_timeline = false;
  return options;
}

Bytes sent_by(const std::vector<RankProgram>& programs) {
  Bytes sent;
  for (const RankProgram& program : programs) {
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      for (const Instruction& instruction : program.instructions(pass)) {
        sent += sent_bytes(program, instruction.op);
      }
    }
  }
  return sent;
}

/// Pairs times heads times width: what the plain attention costs here.
std::int64_t work_of(const WaveRequest& request) {
  std::int64_t pairs = 0;
  for (const std::int64_t length : request.lengths) {
    pairs += document_pair_count(request.model.mask(), length);
  }
  return pairs * request.model.query_heads * request.model.head_dim;
}

/// Every strategy on one batch, under two orders of the streams each.
void run_batch(const RandomBatch& batch, std::uint64_t number, bool tensor_cores,
               std::vector<std::int64_t>& ran) {
  std::vector<PlacedDocument> documents;
  for (std::size_t i = 0; i < batch.request.documents.size(); ++i) {
    documents.push_back({batch.request.documents[i], batch.request.lengths[i]});
  }
  const FullOracle oracle(batch.request.model, std::move(documents), batch.seed, 1);
  const std::vector<Strategy> strategies = all_strategies();
  ran.resize(strategies.size());
  for (std::size_t s = 0; s < strategies.size(); ++s) {
    SCOPED_TRACE(fmt::format("batch {}, strategy {}", number, strategies[s].name));
    const PlanOptions plan = testing::random_options(number, s);
    WaveRequest request = batch.request;
    request.exchange = plan.exchange;
    if (strategies[s].rejects(request)) continue;
    ++ran[s];
    const Wave wave = make_wave(strategies[s], request, plan);
    Execution execution;
    execution.model = request.model;
    execution.waves.push_back({lower_wave(wave, request.model), wave.placement});
    const RunResult result = run_with_seed(execution, poisoned(batch.seed), 2 * number, tensor_cores);
    const GatheredResults gathered(request.model, wave.placement, result.results.front());
    ErrorCollector errors(request.model.element_type);
    compare_full(oracle, request.model, gathered, 0, 1, errors);
    const CheckReport report{CheckMode::full, errors.finish()};
    EXPECT_TRUE(report.passed()) << report.to_text();
    EXPECT_EQ(result.sent, sent_by(execution.waves.front().programs));
    const RunResult again = run_with_seed(execution, poisoned(batch.seed), 2 * number + 1, tensor_cores);
    EXPECT_TRUE(again.results == result.results) << "another order of the streams gives other bits";
  }
}

TEST(DeviceExecutor, EveryStrategyComputesWhatOneDeviceWouldInAnyOrderOfTheStreams) {
  const std::int64_t wanted = small_scale() ? 6 : 60;
  std::vector<std::int64_t> ran;
  std::int64_t batches = 0;
  for (std::uint64_t number = 0; batches < wanted; ++number) {
    const RandomBatch batch = testing::random_batch(number, BatchSize::small);
    if (work_of(batch.request) > 1'500'000) continue;
    ++batches;
    run_batch(batch, number, false, ran);
  }
  for (std::size_t s = 0; s < ran.size(); ++s) {
    EXPECT_GE(6 * ran[s], wanted) << all_strategies()[s].name << " hardly ever ran";
  }
}

TEST(DeviceExecutor, EveryStrategyComputesWhatOneDeviceWouldOnTensorCores) {
  RandomBatch batch;
  batch.request.documents = {0, 1, 2};
  batch.request.lengths = {90, 1, 45};
  batch.request.rank_count = 2;
  batch.request.model = testing::hand_model(ElementType::bf16);
  batch.request.model.head_dim = batch.request.model.value_head_dim = 64;
  std::vector<std::int64_t> ran;
  run_batch(batch, 5, true, ran);
  EXPECT_EQ(ran, std::vector<std::int64_t>(ran.size(), 1));
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

/// Whether some order of the streams gives other results than `expected`.
bool noticed(const Execution& execution, const std::vector<std::vector<LocalResults>>& expected) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    if (run_with_seed(execution, poisoned(1), seed).results != expected) return true;
  }
  return false;
}

TEST(DeviceExecutor, AWaitThatAProgramLostShowsInTheResultsOfSomeOrder) {
  std::size_t edges = 0, unnoticed = 0;
  for (const Strategy& strategy : all_strategies()) {
    const Execution execution = planned(strategy, {});
    const auto expected = run_with_seed(execution, poisoned(1), 1).results;
    EXPECT_FALSE(noticed(execution, expected)) << strategy.name;
    for (const Edge& edge : needed_edges(execution.waves.front().programs)) {
      Execution damaged = execution;
      RankProgram& program = damaged.waves.front().programs[edge.rank];
      auto& list = edge.pass == Pass::forward ? program.forward : program.backward;
      std::erase(list[edge.instruction].wait_for, edge.before);
      ++edges;
      if (!noticed(damaged, expected)) ++unnoticed;
    }
  }
  EXPECT_GE(edges, 100U);
  // An order may also follow from exchanges with other ranks; those edges change nothing.
  EXPECT_LE(unnoticed, edges / 50);
}

}  // namespace
}  // namespace strata
