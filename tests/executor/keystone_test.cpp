// SPDX-License-Identifier: Apache-2.0
// The keystone: every strategy, planned, verified, lowered and run on CPU ranks, computes what one device
// would, forward and backward. Random batches; the float64 oracle is computed once per batch and shared by
// all strategies. Arenas are poisoned, so that a read of a row nobody wrote, of a foreign head or of another
// document gives NaN.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <mutex>
#include <string>

#include "core/lower.hpp"
#include "core/parallel_for.hpp"
#include "core/verify_programs.hpp"
#include "core/verify_schedule.hpp"
#include "executor/check_detail.hpp"
#include "executor/cpu_executor.hpp"
#include "planner/strategy_table.hpp"
#include "tests/executor/random_batches.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using testing::BatchSize;
using testing::RandomBatch;

/// What the runs of one strategy have shown so far.
struct StrategyTally {
  std::int64_t ran = 0, rejected = 0;
};

class Keystone {
 public:
  Keystone() : strategies_(all_strategies()), tallies_(strategies_.size()) {}

  void run(std::uint64_t number, BatchSize size) {
    const RandomBatch batch = random_batch(number, size);
    std::vector<PlacedDocument> documents;
    for (std::size_t i = 0; i < batch.request.documents.size(); ++i) {
      documents.push_back({batch.request.documents[i], batch.request.lengths[i]});
    }
    const FullOracle oracle(batch.request.model, std::move(documents), batch.seed, 1);
    for (std::size_t s = 0; s < strategies_.size(); ++s) {
      const PlanOptions options = testing::random_options(number, s);
      WaveRequest request = batch.request;
      request.exchange = options.exchange;
      const std::string place =
          fmt::format("batch {} ({}), strategy {}, {} ranks, exchange {}, kv {}, return {}", number,
                      size == BatchSize::small ? "small" : "large", strategies_[s].name, request.rank_count,
                      static_cast<int>(options.exchange), static_cast<int>(options.kv),
                      static_cast<int>(options.gradient_return));
      const bool rejected = strategies_[s].rejects(request).has_value();
      if (!rejected) run_strategy(strategies_[s], request, options, oracle, batch.seed, place);
      const std::lock_guard lock(mutex_);
      ++(rejected ? tallies_[s].rejected : tallies_[s].ran);
    }
  }

  /// Every strategy took part in at least one batch of ten; the faults, one a line.
  void expect_sound(std::int64_t batches) const {
    for (std::size_t s = 0; s < strategies_.size(); ++s) {
      EXPECT_EQ(tallies_[s].ran + tallies_[s].rejected, batches);
      EXPECT_GE(10 * tallies_[s].ran, batches) << strategies_[s].name << " hardly ever ran";
    }
    EXPECT_TRUE(faults_.empty()) << faults_.size() << " faults, the first: " << faults_.front();
  }

 private:
  void run_strategy(const Strategy& strategy, const WaveRequest& request, const PlanOptions& options,
                    const FullOracle& oracle, std::uint64_t seed, const std::string& place) {
    const Wave wave = make_wave(strategy, request, options);
    for (const Violation& violation : verify_wave(wave, request.model, request.rank_count, "wave", 1)) {
      return fault(place, violation.place + ": " + violation.message);
    }
    Execution execution;
    execution.model = request.model;
    execution.waves.push_back({lower_wave(wave, request.model), wave.placement});
    const std::vector<RankProgram>& programs = execution.waves.front().programs;
    for (const Violation& violation : verify_programs(programs, "programs", 1)) {
      return fault(place, violation.place + ": " + violation.message);
    }
    expect_pairs(programs, request, place);
    CpuOptions cpu;
    cpu.threads = seed % 4 == 0 ? 2 : 1;
    cpu.seed = seed;
    cpu.poison = true;
    const RunResult result = run_on_cpu(execution, cpu);
    expect_bytes(programs, result, place);
    const GatheredResults gathered(request.model, wave.placement, result.results.front());
    ErrorCollector errors(request.model.element_type);
    compare_full(oracle, request.model, gathered, 0, 1, errors);
    const CheckReport report{CheckMode::full, errors.finish()};
    if (!report.passed()) fault(place, "\n" + report.to_text());
  }

  /// Pairs x heads of all ranks equal the closed form, in both passes.
  void expect_pairs(const std::vector<RankProgram>& programs, const WaveRequest& request,
                    const std::string& place) {
    std::int64_t expected = 0;
    for (const std::int64_t length : request.lengths) {
      expected += document_pair_count(request.model.mask(), length) * request.model.query_heads;
    }
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      std::int64_t computed = 0;
      for (const RankProgram& program : programs) {
        for (const Instruction& instruction : program.instructions(pass)) {
          computed += attention_pairs(instruction.op);
        }
      }
      if (computed != expected) {
        fault(place, fmt::format("{}: {} pairs computed, {} allowed", to_string(pass), computed, expected));
      }
    }
  }

  void expect_bytes(const std::vector<RankProgram>& programs, const RunResult& result,
                    const std::string& place) {
    Bytes expected;
    for (const RankProgram& program : programs) {
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        for (const Instruction& instruction : program.instructions(pass)) {
          expected += sent_bytes(program, instruction.op);
        }
      }
    }
    if (result.sent != expected) {
      fault(place, fmt::format("{} bytes copied, {} in the programs", result.sent.count, expected.count));
    }
  }

  void fault(const std::string& place, const std::string& what) {
    const std::lock_guard lock(mutex_);
    faults_.push_back(place + ": " + what);
  }

  std::vector<Strategy> strategies_;
  std::mutex mutex_;
  std::vector<StrategyTally> tallies_;
  std::vector<std::string> faults_;
};

void run_batches(std::uint64_t first, std::int64_t count, BatchSize size) {
  Keystone keystone;
  parallel_for(count, 2, [&](std::int64_t i) { keystone.run(first + static_cast<std::uint64_t>(i), size); });
  keystone.expect_sound(count);
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
