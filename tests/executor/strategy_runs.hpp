// SPDX-License-Identifier: Apache-2.0
// Plans with every strategy, run on a device that the test provides and compared with the float64 oracle.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "executor/device/device_executor.hpp"
#include "tests/executor/random_batches.hpp"

namespace strata::testing {

/// One run; `order` is 0 or 1 and may change what runs beside what.
using DeviceRunner =
    std::function<RunResult(const Execution& execution, const DeviceOptions& options, std::uint64_t order)>;

/// Poison, no timeline, one thread.
DeviceOptions poisoned(std::uint64_t seed);

/// Pairs times heads times width: what plain attention costs.
std::int64_t work_of(const WaveRequest& request);

/// Every strategy that takes the batch computes what one device would, sends what its programs say, and gives
/// the same bits in both orders. Counts those that ran in `ran`, [strategy]; `number` draws the plans'
/// options.
void expect_strategies(const RandomBatch& batch, std::uint64_t number, const DeviceRunner& run,
                       std::vector<std::int64_t>& ran);

/// expect_strategies over small random batches of at most `most_work`; no strategy is left out.
void expect_random_batches(std::int64_t batches, std::int64_t most_work, const DeviceRunner& run);

/// Three documents in a 16-bit type and grouped heads, as tensor-core kernels need them.
RandomBatch tensor_core_batch(std::int32_t ranks, std::int32_t head_dim, std::vector<std::int64_t> lengths,
                              ElementType type = ElementType::bf16);

}  // namespace strata::testing
