// SPDX-License-Identifier: Apache-2.0
#include "tests/executor/strategy_runs.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/lowering/lower.hpp"
#include "executor/check_detail.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata::testing {

namespace {

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

}  // namespace

DeviceOptions poisoned(std::uint64_t seed) {
  DeviceOptions options;
  options.seed = seed;
  options.poison = true;
  options.threads = 1;
  options.record_timeline = false;
  return options;
}

std::int64_t work_of(const WaveRequest& request) {
  std::int64_t pairs = 0;
  for (const std::int64_t length : request.lengths) {
    pairs += document_pair_count(request.model.mask(), length);
  }
  return pairs * request.model.query_heads * request.model.head_dim;
}

void expect_strategies(const RandomBatch& batch, std::uint64_t number, const DeviceRunner& run,
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
    const PlanOptions plan = random_options(number, s);
    WaveRequest request = batch.request;
    request.exchange = plan.exchange;
    if (strategies[s].rejects(request)) continue;
    ++ran[s];
    const Wave wave = make_wave(strategies[s], request, plan);
    Execution execution;
    execution.model = request.model;
    execution.waves.push_back({lower_wave(wave, request.model), wave.placement});
    const RunResult result = run(execution, poisoned(batch.seed), 0);
    const GatheredResults gathered(request.model, wave.placement, result.results.front());
    ErrorCollector errors(request.model.element_type);
    compare_full(oracle, request.model, gathered, 0, 1, errors);
    const CheckReport report{CheckMode::full, errors.finish()};
    EXPECT_TRUE(report.passed()) << report.to_text();
    EXPECT_EQ(result.sent, sent_by(execution.waves.front().programs));
    const RunResult again = run(execution, poisoned(batch.seed), 1);
    EXPECT_TRUE(again.results == result.results) << "another order of the streams gives other bits";
  }
}

void expect_random_batches(std::int64_t batches, std::int64_t most_work, const DeviceRunner& run) {
  std::vector<std::int64_t> ran;
  std::int64_t done = 0;
  for (std::uint64_t number = 0; done < batches; ++number) {
    const RandomBatch batch = random_batch(number, BatchSize::small);
    if (work_of(batch.request) > most_work) continue;
    ++done;
    expect_strategies(batch, number, run, ran);
  }
  for (std::size_t s = 0; s < ran.size(); ++s) {
    EXPECT_GE(6 * ran[s], batches) << all_strategies()[s].name << " hardly ever ran";
  }
}

RandomBatch tensor_core_batch(std::int32_t ranks, std::int32_t head_dim, std::vector<std::int64_t> lengths,
                              ElementType type) {
  RandomBatch batch;
  batch.request.documents = {0, 1, 2};
  batch.request.lengths = std::move(lengths);
  batch.request.rank_count = ranks;
  ModelShape& model = batch.request.model;
  model.query_heads = 4;
  model.kv_heads = 2;
  model.head_dim = model.value_head_dim = head_dim;
  model.hidden = 4 * head_dim;
  model.ffn = 8 * head_dim;
  model.element_type = type;
  return batch;
}

}  // namespace strata::testing
