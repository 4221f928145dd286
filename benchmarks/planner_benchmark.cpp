// SPDX-License-Identifier: Apache-2.0
// Planning and verifying one recorded 131,072-token pack of 49 documents: place, schedule, verify_wave
// (forward and derived backward). Read it against the goal: at most 10 ms below 5,000 transfers, otherwise
// 400 ns per transfer.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/recorded_pack.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/verify/verify_schedule.hpp"
#include "planner/report/wave_metrics.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata {
namespace {

WaveRequest recorded_wave(std::int32_t rank_count) {
  WaveRequest request;
  for (std::size_t i = 0; i < kRecordedPack.size(); ++i)
    request.documents.push_back(static_cast<std::int32_t>(i));
  request.lengths = kRecordedPack;
  request.rank_count = rank_count;
  request.model = named_model("llama3_70b");
  return request;
}

void report(benchmark::State& state, const Wave& wave, const ModelShape& model) {
  // What the verifier goes through: the written forward records and those it derives for backward.
  const auto forward = static_cast<double>(transfer_count(wave.schedule));
  const auto derived = static_cast<double>(transfer_count(derive_backward(wave, model)));
  const double limit_ms = forward < 5000 ? 10.0 : forward * 400e-6;
  state.counters["transfers"] = forward;
  state.counters["derived"] = derived;
  state.counters["limit_ms"] = limit_ms;
  if (forward == 0) return;
  state.counters["s_per_transfer"] = benchmark::Counter(
      forward, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void plan_and_verify(benchmark::State& state, const char* name) {
  const Strategy strategy = strategy_named(name);
  const WaveRequest request = recorded_wave(static_cast<std::int32_t>(state.range(0)));
  if (const auto rejection = strategy.rejects(request)) {
    state.SkipWithError(rejection->reason.c_str());
    return;
  }
  Wave wave;
  while (state.KeepRunning()) {
    state.PauseTiming();
    wave = {};  // giving back the last wave's memory is no part of planning this one
    state.ResumeTiming();
    wave = make_wave(strategy, request, {});
    const auto violations = verify_wave(wave, request.model, request.rank_count, "waves[0]");
    if (!violations.empty()) {
      state.SkipWithError((violations.front().rule + " at " + violations.front().place).c_str());
      return;
    }
  }
  report(state, wave, request.model);
}

void plan_only(benchmark::State& state, const char* name) {
  const Strategy strategy = strategy_named(name);
  const WaveRequest request = recorded_wave(static_cast<std::int32_t>(state.range(0)));
  if (const auto rejection = strategy.rejects(request)) {
    state.SkipWithError(rejection->reason.c_str());
    return;
  }
  Wave wave;
  while (state.KeepRunning()) {
    wave = make_wave(strategy, request, {});
    benchmark::DoNotOptimize(wave);
  }
  report(state, wave, request.model);
}

void ranks(benchmark::internal::Benchmark* what) {
  // Several threads work, so only the wall clock says how long it takes.
  what->Arg(8)->Arg(64)->Arg(256)->Unit(benchmark::kMillisecond)->UseRealTime();
}

BENCHMARK_CAPTURE(plan_only, ulysses, "ulysses")->Apply(ranks);
BENCHMARK_CAPTURE(plan_only, ring, "ring")->Apply(ranks);
BENCHMARK_CAPTURE(plan_only, zigzag_ring, "zigzag_ring")->Apply(ranks);
BENCHMARK_CAPTURE(plan_only, per_document, "per_document")->Apply(ranks);
BENCHMARK_CAPTURE(plan_only, allgather, "allgather")->Apply(ranks);
BENCHMARK_CAPTURE(plan_only, whole_document, "whole_document")->Apply(ranks);
BENCHMARK_CAPTURE(plan_and_verify, ulysses, "ulysses")->Apply(ranks);
BENCHMARK_CAPTURE(plan_and_verify, ring, "ring")->Apply(ranks);
BENCHMARK_CAPTURE(plan_and_verify, zigzag_ring, "zigzag_ring")->Apply(ranks);
BENCHMARK_CAPTURE(plan_and_verify, per_document, "per_document")->Apply(ranks);
BENCHMARK_CAPTURE(plan_and_verify, allgather, "allgather")->Apply(ranks);
BENCHMARK_CAPTURE(plan_and_verify, whole_document, "whole_document")->Apply(ranks);

}  // namespace
}  // namespace strata
