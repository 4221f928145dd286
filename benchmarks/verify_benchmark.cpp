// SPDX-License-Identifier: Apache-2.0
// The verifier on one recorded 131,072-token pack: records (transfers, reductions and tasks, forward and
// derived backward) per second through verify_wave, and the share of it that derives the backward schedule.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "benchmarks/recorded_pack.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/verify/verify_schedule.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata {
namespace {

WaveRequest recorded_wave(std::int32_t rank_count) {
  WaveRequest request;
  request.lengths = kRecordedPack;
  for (std::size_t i = 0; i < kRecordedPack.size(); ++i) {
    request.documents.push_back(static_cast<std::int32_t>(i));
  }
  request.rank_count = rank_count;
  request.model = named_model("llama3_70b");
  return request;
}

struct Records {
  std::int64_t moves = 0;           ///< transfers and reductions; a multicast counts once
  std::int64_t point_to_point = 0;  ///< the same, every pair of ranks counted
  std::int64_t tasks = 0;
};

void count(const CommSchedule& schedule, Records& records) {
  const auto add = [&](const std::vector<RankRange>& ranges) {
    ++records.moves;
    for (const RankRange& range : ranges) records.point_to_point += range.count();
  };
  for (const ScheduleStep& step : schedule.steps) {
    for (const Transfer& transfer : step.transfers) add(transfer.targets);
    for (const Reduction& reduction : step.reductions) add(reduction.sources);
    records.tasks += static_cast<std::int64_t>(step.tasks.size());
  }
}

void verify(benchmark::State& state, const char* name) {
  const Strategy strategy = strategy_named(name);
  const WaveRequest request = recorded_wave(static_cast<std::int32_t>(state.range(0)));
  if (const auto rejection = strategy.rejects(request)) {
    state.SkipWithError(rejection->reason.c_str());
    return;
  }
  const Wave wave = make_wave(strategy, request, {});
  while (state.KeepRunning()) {
    const auto violations = verify_wave(wave, request.model, request.rank_count, "waves[0]");
    if (!violations.empty()) state.SkipWithError(violations.front().message.c_str());
  }
  Records records;
  count(wave.schedule, records);
  count(derive_backward(wave, request.model), records);
  state.counters["moves"] = static_cast<double>(records.moves);
  state.counters["pairs"] = static_cast<double>(records.point_to_point);
  state.counters["tasks"] = static_cast<double>(records.tasks);
  state.SetItemsProcessed(state.iterations() * (records.moves + records.tasks));
}

void derive(benchmark::State& state, const char* name) {
  const Strategy strategy = strategy_named(name);
  const WaveRequest request = recorded_wave(static_cast<std::int32_t>(state.range(0)));
  const Wave wave = make_wave(strategy, request, {});
  while (state.KeepRunning()) benchmark::DoNotOptimize(derive_backward(wave, request.model));
}

void ranks(benchmark::internal::Benchmark* what) {
  what->Arg(8)->Arg(64)->Unit(benchmark::kMillisecond)->UseRealTime();  // several threads work
}

BENCHMARK_CAPTURE(verify, ulysses, "ulysses")->Apply(ranks);
BENCHMARK_CAPTURE(verify, ring, "ring")->Apply(ranks);
BENCHMARK_CAPTURE(verify, zigzag_ring, "zigzag_ring")->Apply(ranks);
BENCHMARK_CAPTURE(verify, per_document, "per_document")->Apply(ranks);
BENCHMARK_CAPTURE(verify, allgather, "allgather")->Apply(ranks);
BENCHMARK_CAPTURE(verify, whole_document, "whole_document")->Apply(ranks);
BENCHMARK_CAPTURE(derive, per_document, "per_document")->Apply(ranks);
BENCHMARK_CAPTURE(derive, ulysses, "ulysses")->Apply(ranks);

}  // namespace
}  // namespace strata
