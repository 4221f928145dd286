// SPDX-License-Identifier: Apache-2.0
// One plan, one result: bitwise equal outputs over 20 runs on 1, 2 and 4 threads, with random delays between
// the items, for every strategy, every storage type and every way gradients come home.
#include <gtest/gtest.h>

#include <array>

#include "core/lowering/lower.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/executor/random_batches.hpp"

namespace strata {
namespace {

Execution planned(const Strategy& strategy, const PlanOptions& options, ElementType type) {
  WaveRequest request;
  request.documents = {0, 1, 2, 3};
  request.lengths = {150, 1, 67, 42};
  request.rank_count = 4;
  request.exchange = options.exchange;
  request.model.query_heads = 8;
  request.model.kv_heads = 2;
  request.model.head_dim = request.model.value_head_dim = 16;
  request.model.hidden = 128;
  request.model.ffn = 256;
  request.model.element_type = type;
  EXPECT_FALSE(strategy.rejects(request).has_value());
  const Wave wave = make_wave(strategy, request, options);
  Execution execution;
  execution.model = request.model;
  execution.waves.push_back({lower_wave(wave, request.model), wave.placement});
  return execution;
}

TEST(Determinism, ResultsAreBitwiseEqualOverThreadsAndRandomDelaysForEveryStrategy) {
  std::uint64_t number = 0;
  for (const Strategy& strategy : all_strategies()) {
    for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
      const PlanOptions plan = testing::random_options(1, number++);
      const Execution execution = planned(strategy, plan, type);
      CpuOptions options;
      options.threads = 1;
      options.poison = true;
      options.layers = 2;
      const auto expected = run_on_cpu(execution, options).results;
      for (std::uint64_t run = 0; run < 20; ++run) {
        options.threads = std::array{1, 2, 4}[run % 3];
        options.random_delay = {30'000};
        options.delay_seed = 100 * number + run;
        ASSERT_EQ(run_on_cpu(execution, options).results, expected) << strategy.name << ", run " << run;
      }
    }
  }
}

}  // namespace
}  // namespace strata
