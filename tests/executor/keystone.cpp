// SPDX-License-Identifier: Apache-2.0
#include "tests/executor/keystone.hpp"

#include <fmt/format.h>

#include "core/lowering/lower.hpp"
#include "core/verify/verify_programs.hpp"
#include "core/verify/verify_schedule.hpp"

namespace strata::testing {

Keystone::Keystone(Runner runner, bool checks)
    : runner_(std::move(runner)),
      checks_(checks),
      strategies_(all_strategies()),
      tallies_(strategies_.size()) {}

void Keystone::run(std::uint64_t number, BatchSize size) {
  const RandomBatch batch = random_batch(number, size);
  std::optional<FullOracle> oracle;
  if (checks_) {
    std::vector<PlacedDocument> documents;
    for (std::size_t i = 0; i < batch.request.documents.size(); ++i) {
      documents.push_back({batch.request.documents[i], batch.request.lengths[i]});
    }
    oracle.emplace(batch.request.model, std::move(documents), batch.seed, 1);
  }
  for (std::size_t s = 0; s < strategies_.size(); ++s) {
    const PlanOptions options = random_options(number, s);
    WaveRequest request = batch.request;
    request.exchange = options.exchange;
    const std::string place =
        fmt::format("batch {} ({}), strategy {}, {} ranks, exchange {}, kv {}, return {}", number,
                    size == BatchSize::small ? "small" : "large", strategies_[s].name, request.rank_count,
                    static_cast<int>(options.exchange), static_cast<int>(options.kv),
                    static_cast<int>(options.gradient_return));
    const bool rejected = strategies_[s].rejects(request).has_value();
    if (!rejected)
      run_strategy(strategies_[s], request, options, oracle ? &*oracle : nullptr, batch.seed, place);
    const std::lock_guard lock(mutex_);
    ++(rejected ? tallies_[s].rejected : tallies_[s].ran);
  }
}

std::int64_t Keystone::cases() const {
  const std::lock_guard lock(mutex_);
  std::int64_t ran = 0;
  for (const StrategyTally& tally : tallies_) ran += tally.ran;
  return ran;
}

std::vector<std::string> Keystone::faults(std::int64_t batches) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> all = faults_;
  for (std::size_t s = 0; s < strategies_.size(); ++s) {
    const StrategyTally& tally = tallies_[s];
    if (tally.ran + tally.rejected == batches && 10 * tally.ran >= batches) continue;
    all.push_back(fmt::format("{}: ran on {} and rejected {} of {} batches", strategies_[s].name, tally.ran,
                              tally.rejected, batches));
  }
  return all;
}

void Keystone::run_strategy(const Strategy& strategy, const WaveRequest& request, const PlanOptions& options,
                            const FullOracle* oracle, std::uint64_t seed, const std::string& place) {
  const Wave wave = make_wave(strategy, request, options);
  if (checks_) {
    for (const Violation& violation : verify_wave(wave, request.model, request.rank_count, "wave", 1)) {
      fault(place, violation.place + ": " + violation.message);
    }
  }
  Execution execution;
  execution.model = request.model;
  execution.waves.push_back({lower_wave(wave, request.model), wave.placement});
  const std::vector<RankProgram>& programs = execution.waves.front().programs;
  if (checks_) {
    for (const Violation& violation : verify_programs(programs, "programs", 1)) {
      fault(place, violation.place + ": " + violation.message);
    }
    expect_pairs(programs, request, place);
  }
  CpuOptions cpu;
  cpu.threads = seed % 4 == 0 ? 2 : 1;
  cpu.seed = seed;
  cpu.poison = true;
  const RunnerOutcome outcome = runner_(execution, cpu);
  if (!outcome.fault.empty()) fault(place, outcome.fault);
  if (!outcome.result || oracle == nullptr) return;
  const RunResult& result = *outcome.result;
  expect_bytes(programs, result, place);
  const GatheredResults gathered(request.model, wave.placement, result.results.front());
  ErrorCollector errors(request.model.element_type);
  compare_full(*oracle, request.model, gathered, 0, 1, errors);
  const CheckReport report{CheckMode::full, errors.finish()};
  if (!report.passed()) fault(place, "\n" + report.to_text());
}

/// Pairs x heads of all ranks equal the closed form, in both passes.
void Keystone::expect_pairs(const std::vector<RankProgram>& programs, const WaveRequest& request,
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

void Keystone::expect_bytes(const std::vector<RankProgram>& programs, const RunResult& result,
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

void Keystone::fault(const std::string& place, const std::string& what) {
  const std::lock_guard lock(mutex_);
  faults_.push_back(place + ": " + what);
}

}  // namespace strata::testing
