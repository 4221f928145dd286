// SPDX-License-Identifier: Apache-2.0
// `strata lint` on a plan of one recorded 131,072-token pack: what the command does with the file once it is
// in memory, as a whole and by part. items_per_second counts the plan's transfers and tasks; read it against
// the goal of 200,000.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "benchmarks/recorded_pack.hpp"
#include "core/json/json_document.hpp"
#include "core/lowering/lower.hpp"
#include "core/plan/plan_json.hpp"
#include "core/verify/verify_programs.hpp"
#include "core/verify/verify_schedule.hpp"
#include "planner/search/plan_batch.hpp"

namespace strata {
namespace {

/// Nothing where the strategy cannot serve that many ranks.
std::optional<Plan> recorded_plan(const char* strategy, std::int64_t hosts) {
  PlanRequest request;
  request.batch.packs = {kRecordedPack};
  request.batch.fixed_packs = true;
  request.topology = named_topology("dgx_h100:" + std::to_string(hosts));
  request.model = named_model("llama3_8b");
  request.options.strategies = {strategy};
  request.profile = default_profile(request.topology);
  return plan_batch(request).plan;
}

std::int64_t record_count(const Plan& plan) {
  std::int64_t count = 0;
  for (const Wave& wave : plan.waves) {
    for (const ScheduleStep& step : wave.schedule.steps) {
      count += static_cast<std::int64_t>(step.transfers.size() + step.tasks.size());
    }
  }
  return count;
}

/// Repeats `part(plan, text)` for the plan of `strategy` on state.range(0) hosts of eight ranks.
template <typename Part>
void repeat(benchmark::State& state, const char* strategy, const Part& part) {
  const std::optional<Plan> plan = recorded_plan(strategy, state.range(0));
  if (!plan) {
    state.SkipWithError("the strategy cannot serve that many ranks");
    return;
  }
  const std::string text = to_json(*plan);
  while (state.KeepRunning()) {
    if (!part(*plan, text)) state.SkipWithError("the plan is not clean");
  }
  state.counters["records"] = static_cast<double>(record_count(*plan));
  state.SetItemsProcessed(state.iterations() * record_count(*plan));
}

Plan parse(const std::string& text) {
  std::istringstream in(text);
  return read_plan(in, "plan");
}

void lint(benchmark::State& state, const char* strategy) {
  repeat(state, strategy, [](const Plan&, const std::string& text) {
    const Plan plan = parse(text);
    return !plan.waves.empty() && verify_plan(plan).empty() && verify_plan_programs(plan).empty();
  });
}

void json(benchmark::State& state, const char* strategy) {
  repeat(state, strategy, [](const Plan&, const std::string& text) {
    return JsonDocument::parse_text(text, "plan").root().size() > 0;
  });
}

void read(benchmark::State& state, const char* strategy) {
  repeat(state, strategy, [](const Plan&, const std::string& text) { return !parse(text).waves.empty(); });
}

void schedule(benchmark::State& state, const char* strategy) {
  repeat(state, strategy, [](const Plan& plan, const std::string&) { return verify_plan(plan).empty(); });
}

void lowering(benchmark::State& state, const char* strategy) {
  repeat(state, strategy, [](const Plan& plan, const std::string&) {
    return !lower_wave(plan.waves.front(), plan.model).empty();
  });
}

void programs(benchmark::State& state, const char* strategy) {
  repeat(state, strategy,
         [](const Plan& plan, const std::string&) { return verify_plan_programs(plan).empty(); });
}

void hosts(benchmark::internal::Benchmark* what) {
  what->Arg(1)->Arg(8)->Unit(benchmark::kMillisecond)->UseRealTime()->MeasureProcessCPUTime();
}

BENCHMARK_CAPTURE(lint, ulysses, "ulysses")->Apply(hosts);
BENCHMARK_CAPTURE(lint, ring, "ring")->Apply(hosts);
BENCHMARK_CAPTURE(lint, zigzag_ring, "zigzag_ring")->Apply(hosts);
BENCHMARK_CAPTURE(lint, per_document, "per_document")->Apply(hosts);
BENCHMARK_CAPTURE(lint, allgather, "allgather")->Apply(hosts);
BENCHMARK_CAPTURE(lint, whole_document, "whole_document")->Apply(hosts);
BENCHMARK_CAPTURE(json, per_document, "per_document")->Apply(hosts);
BENCHMARK_CAPTURE(read, per_document, "per_document")->Apply(hosts);
BENCHMARK_CAPTURE(schedule, per_document, "per_document")->Apply(hosts);
BENCHMARK_CAPTURE(lowering, per_document, "per_document")->Apply(hosts);
BENCHMARK_CAPTURE(programs, per_document, "per_document")->Apply(hosts);

}  // namespace
}  // namespace strata
