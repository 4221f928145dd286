// SPDX-License-Identifier: Apache-2.0
#include "executor/cpu/cpu_executor.hpp"

#include <algorithm>
#include <thread>

#include "core/base/check.hpp"
#include "executor/cpu/cpu_workers.hpp"

namespace strata {

namespace {

std::int32_t worker_count(const CpuOptions& options) {
  if (options.threads > 0) return options.threads;
  return static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace

RunResult run_on_cpu(const Execution& execution, const CpuOptions& options) {
  STRATA_CHECK(options.layers > 0 && options.repeats > 0, "{} layers, {} repeats", options.layers,
               options.repeats);
  STRATA_CHECK(!execution.waves.empty(), "an execution without waves");
  const RankBlock all{0, static_cast<std::int32_t>(execution.waves.front().programs.size())};
  PreparedRun prepared = prepare_run(execution, options, all);
  constexpr bool kGated = false;
  CpuSchedule schedule(prepared, execution, options, kGated);
  std::int32_t threads = worker_count(options);
  RunResult result;
  result.wall.reserve(static_cast<std::size_t>(options.repeats));
  {
    WorkerOptions settings;
    settings.threads = threads;
    settings.spin = static_cast<unsigned>(threads) <= std::thread::hardware_concurrency();
    settings.scratch_bytes = prepared.scratch_bytes;
    settings.stream = prepared.stream;
    settings.attention_items = attention_items(prepared);
    CpuWorkers workers(schedule, options, settings);
    threads = workers.threads();
    for (std::int32_t repeat = 0; repeat < options.repeats; ++repeat) {
      workers.run(repeat);
      result.wall.push_back(schedule.wall());
    }
  }
  result.sent = schedule.sent();
  result.arena = std::move(prepared.arena_bytes);
  result.results = std::move(prepared.results);
  Timeline& timeline = result.timeline;
  state_run(execution, "cpu", options.layers, options.repeats, timeline);
  timeline.cores_per_device = threads;
  timeline.events = schedule.take_events();
  return result;
}

}  // namespace strata
