// SPDX-License-Identifier: Apache-2.0
// The work of `strata compare`: every batch planned with every strategy, batches side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "planner/search/plan_batch.hpp"

namespace strata::tools {

/// What one strategy makes of one batch.
struct CompareRow {
  std::size_t batch = 0;  ///< place in the input, from 0
  std::int64_t step = 0;
  std::string strategy;
  Prediction predicted;  ///< empty when rejected
  Duration lower_bound;
  double gap = 0;
  /// Measured; on one thread when there are as many batches as threads.
  std::int64_t plan_time_ns = 0;
  StageTimes times;      ///< their sum is at most plan_time_ns
  std::string rejected;  ///< empty when the strategy accepts the batch
  bool lacks_memory = false;
};

/// The rows of a comparison, filled by several threads in any order and read in that of the input: batch by
/// batch, in each the strategies in their order.
class CompareRows {
 public:
  CompareRows(std::size_t batches, std::size_t strategies);
  void put(std::size_t batch, std::size_t strategy, CompareRow row);
  /// The rows that there are so far.
  std::vector<CompareRow> finished() const;
  std::size_t strategies() const { return strategies_; }
  std::size_t expected() const { return rows_.size(); }

 private:
  std::size_t strategies_;
  mutable std::mutex mutex_;
  std::vector<std::optional<CompareRow>> rows_;  ///< [batch x strategies + strategy]
};

/// Fills `rows` on `threads` threads (0: one per hardware thread) and calls `finished` after each. A thread
/// holds one plan at a time. The rows are those of a single thread, measured times excepted. The InputError
/// that is thrown is that of a single thread, too: the first in the order of the input.
void compare_batches(const PlanRequest& base, const std::vector<Batch>& batches,
                     const std::vector<Strategy>& strategies, std::int32_t threads, CompareRows& rows,
                     const std::function<void()>& finished);

}  // namespace strata::tools
