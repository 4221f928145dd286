// SPDX-License-Identifier: Apache-2.0
// The body of the keystone tests: every strategy, planned, verified and lowered for random batches, run by
// some executor, computes what one device would, forward and backward. The float64 oracle is computed once
// per batch and shared by all strategies.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "executor/check_detail.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/executor/random_batches.hpp"

namespace strata::testing {

/// Runs one case. A runner that finds a fault of its own returns it as text; no result: another process has
/// it.
struct RunnerOutcome {
  std::optional<RunResult> result;
  std::string fault;
};
using Runner = std::function<RunnerOutcome(const Execution& execution, const CpuOptions& options)>;

class Keystone {
 public:
  /// `checks`: false in a process that only helps to run.
  Keystone(Runner runner, bool checks);

  /// Every strategy that serves batch `number`. May be called from several threads.
  void run(std::uint64_t number, BatchSize size);

  std::int64_t cases() const;
  /// Faults, one a line; also a strategy that took part in fewer than one batch of ten.
  std::vector<std::string> faults(std::int64_t batches) const;

 private:
  struct StrategyTally {
    std::int64_t ran = 0, rejected = 0;
  };
  void run_strategy(const Strategy& strategy, const WaveRequest& request, const PlanOptions& options,
                    const FullOracle* oracle, std::uint64_t seed, const std::string& place);
  void expect_pairs(const std::vector<RankProgram>& programs, const WaveRequest& request,
                    const std::string& place);
  void expect_bytes(const std::vector<RankProgram>& programs, const RunResult& result,
                    const std::string& place);
  void fault(const std::string& place, const std::string& what);

  Runner runner_;
  bool checks_;
  std::vector<Strategy> strategies_;
  mutable std::mutex mutex_;
  std::vector<StrategyTally> tallies_;
  std::vector<std::string> faults_;
};

}  // namespace strata::testing
