// SPDX-License-Identifier: Apache-2.0
// All ranks on a real GPU: every strategy computes what one device would, with plain attention and on tensor
// cores, and always the same bits. Skipped, saying why, where there is no GPU.
#include "executor/device/cuda_accelerator.hpp"
#include "executor/device_error.hpp"

#include <gtest/gtest.h>

#include <string>

#include "core/base/check.hpp"
#include "core/lowering/lower.hpp"
#include "executor/kernel_arguments.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/executor/strategy_runs.hpp"

namespace strata {
namespace {

using testing::poisoned;
using testing::RandomBatch;

class OnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      open_gpu(0);
    } catch (const DeviceError& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

RunResult run_on_gpu(const Execution& execution, const DeviceOptions& options, std::uint64_t) {
  const std::unique_ptr<Accelerator> gpu = open_gpu(0);
  return run_on_device(execution, options, *gpu);
}

Execution planned(const Strategy& strategy, const RandomBatch& batch) {
  const Wave wave = make_wave(strategy, batch.request, {});
  Execution execution;
  execution.model = batch.request.model;
  execution.waves.push_back({lower_wave(wave, execution.model), wave.placement});
  return execution;
}

TEST_F(OnGpu, EveryStrategyComputesWhatOneDeviceWouldWithPlainAttention) {
  testing::expect_random_batches(60, 10'000'000, run_on_gpu);
}

TEST_F(OnGpu, EveryStrategyComputesWhatOneDeviceWouldOnTensorCores) {
  for (const std::int32_t dim : {64, 96, 128, 192, 256}) {
    const ElementType type = dim == 96 || dim == 128 ? ElementType::f16 : ElementType::bf16;
    const std::unique_ptr<Accelerator> gpu = open_gpu(0);
    kernels::AttentionShape shape;
    shape.element = kernel_element(type);
    shape.k_dim = shape.v_dim = dim;
    EXPECT_GT(gpu->prepare_attention(kernels::WorkKind::forward, shape, 0), 0);
    std::vector<std::int64_t> ran;
    for (const std::int32_t ranks : {1, 2, 4}) {
      const auto number = static_cast<std::uint64_t>(dim + ranks);
      testing::expect_strategies(testing::tensor_core_batch(ranks, dim, {700, 1, 323}, type), number,
                                 run_on_gpu, ran);
    }
  }
}

TEST_F(OnGpu, AHundredRunsAndTheSerialOneGiveTheSameBits) {
  const RandomBatch batch = testing::tensor_core_batch(4, 128, {1500, 2, 546});
  for (const Strategy& strategy : all_strategies()) {
    const Execution execution = planned(strategy, batch);
    DeviceOptions options = poisoned(1);
    options.layers = 2;
    const auto expected = run_on_gpu(execution, options, 0).results;
    for (int run = 1; run < (strategy.name == "zigzag_ring" ? 100 : 10); ++run) {
      options.record_timeline = run % 2 == 0;
      options.serial = run == 7;
      ASSERT_TRUE(run_on_gpu(execution, options, 0).results == expected) << strategy.name << ", run " << run;
    }
  }
}

TEST_F(OnGpu, TimesAreInOrderAndWithinTheStep) {
  const Execution execution =
      planned(all_strategies().front(), testing::tensor_core_batch(4, 128, {1500, 2, 546}));
  DeviceOptions options = poisoned(1);
  options.record_timeline = true;
  options.layers = 3;
  options.repeats = 2;
  const RunResult result = run_on_gpu(execution, options, 0);
  // Events tell their time in steps of half a microsecond.
  constexpr std::int64_t kStepNs = 2000;
  ASSERT_FALSE(result.timeline.events.empty());
  for (const TimelineEvent& event : result.timeline.events) {
    EXPECT_LE(0, event.posted_ns);
    EXPECT_LE(event.posted_ns, event.matched_ns);
    EXPECT_LE(event.matched_ns, event.end_ns);
    EXPECT_LE(event.end_ns, result.wall[static_cast<std::size_t>(event.repeat)].ns + kStepNs);
  }
}

TEST_F(OnGpu, AGpuThatIsNotThereIsRefused) { EXPECT_THROW(open_gpu(1'000), DeviceError); }

}  // namespace
}  // namespace strata
