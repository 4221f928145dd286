// SPDX-License-Identifier: Apache-2.0
// The keystone: every strategy, planned, verified, lowered and run on CPU ranks, computes what one device
// would, forward and backward. Arenas are poisoned, so that a read of a row nobody wrote, of a foreign head
// or of another document gives NaN.
#include "tests/executor/keystone.hpp"

#include <gtest/gtest.h>

#include "core/base/parallel_for.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using testing::BatchSize;
using testing::Keystone;

void run_batches(std::uint64_t first, std::int64_t count, BatchSize size) {
  const auto on_cpu = [](const Execution& execution, const CpuOptions& options) {
    return testing::RunnerOutcome{run_on_cpu(execution, options), ""};
  };
  Keystone keystone(on_cpu, true);
  parallel_for(count, 2, [&](std::int64_t i) { keystone.run(first + static_cast<std::uint64_t>(i), size); });
  const std::vector<std::string> faults = keystone.faults(count);
  EXPECT_TRUE(faults.empty()) << faults.size() << " faults, the first: " << faults.front();
}

class KeystoneShard : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(KeystoneShard, EveryStrategyComputesWhatOneDeviceWouldOnSmallBatches) {
  run_batches(GetParam() * 150, small_scale() ? 17 : 150, BatchSize::small);
}
INSTANTIATE_TEST_SUITE_P(Of150, KeystoneShard, ::testing::Range(std::uint64_t{0}, std::uint64_t{6}));

class LargeKeystoneShard : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(LargeKeystoneShard, EveryStrategyComputesWhatOneDeviceWouldOnLargeBatches) {
  if (small_scale()) GTEST_SKIP() << "large batches are left out at small scale";
  run_batches(GetParam() * 20, 20, BatchSize::large);
}
INSTANTIATE_TEST_SUITE_P(Of20, LargeKeystoneShard, ::testing::Range(std::uint64_t{0}, std::uint64_t{5}));

}  // namespace
}  // namespace strata
