// SPDX-License-Identifier: Apache-2.0
// A token-by-token interpreter of forward schedules that shares no code with the planner or core's verifier:
// every row of every rank is one flag. Slow and obvious, for small waves.
#pragma once

#include <string>
#include <vector>

#include "planner/strategies/strategy.hpp"

namespace strata::testing {

/// Everything wrong with the schedule, one sentence each; empty when it computes exactly what the mask
/// allows, every rank holds what it sends and uses, nothing arrives twice, and (needed mode) nothing arrives
/// for nothing.
std::vector<std::string> complaints_about(const WaveRequest& request, const SequenceLayout& layout,
                                          const CommSchedule& schedule);

/// Payload of the tensor kv in rows x KV heads, summed over the targets.
std::int64_t kv_rows(const CommSchedule& schedule);

}  // namespace strata::testing
