// SPDX-License-Identifier: Apache-2.0
#include "executor/job/process_run.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <new>
#include <set>
#include <thread>

#include "executor/cpu/cpu_workers.hpp"
#include "executor/device_error.hpp"
#include "executor/job/agreement.hpp"
#include "executor/job/process_results.hpp"

namespace strata {

namespace {

std::int32_t different(const std::vector<std::string>& names) {
  return static_cast<std::int32_t>(std::set<std::string>(names.begin(), names.end()).size());
}

std::int32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
}

/// Which machine every process is on and what this one may use of its own.
struct Machines {
  std::vector<std::string> hosts;  ///< [process]
  std::int32_t count = 1;
  std::int32_t sharing = 1;  ///< processes on this machine
  std::int32_t cores = 1;    ///< of this machine, hardware threads

  explicit Machines(Control& control) : hosts(machine_names(control)) {
    const std::string& own = hosts[static_cast<std::size_t>(control.process())];
    count = different(hosts);
    sharing = static_cast<std::int32_t>(std::count(hosts.begin(), hosts.end(), own));
    cores = static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  }
  std::int32_t threads_of_each() const { return std::clamp(cores / sharing, 1, usable_cores()); }
};

/// What this process runs with; built before the first instruction of any process.
struct LocalRun {
  static constexpr bool kGated = true;
  LocalRun(const Execution& execution, const CpuOptions& options, RankBlock block, const WorkerOptions& base)
      : prepared(prepare_run(execution, options, block)),
        schedule(prepared, execution, options, kGated),
        workers(schedule, options, with_memory(base, prepared)) {}
  static WorkerOptions with_memory(WorkerOptions workers, const PreparedRun& run) {
    workers.scratch_bytes = run.scratch_bytes;
    workers.stream = run.stream;
    workers.attention_items = attention_items(run);
    return workers;
  }
  PreparedRun prepared;
  CpuSchedule schedule;
  CpuWorkers workers;
};

/// All processes have what they need, or AgreedError names those that do not.
std::unique_ptr<LocalRun> prepare(const Execution& execution, const CpuOptions& options, Control& control,
                                  RankBlock block, const WorkerOptions& workers) {
  std::unique_ptr<LocalRun> local;
  std::string failure;
  try {
    local = std::make_unique<LocalRun>(execution, options, block, workers);
  } catch (const std::bad_alloc&) {
    std::int64_t bytes = 0;
    for (std::int32_t rank = block.begin; rank < block.end; ++rank) {
      Bytes largest;
      for (const ExecutableWave& wave : execution.waves) {
        largest = std::max(largest, wave.programs[static_cast<std::size_t>(rank)].arena);
      }
      bytes += largest.count;
    }
    failure = fmt::format("found too little memory for arenas of {} bytes and what belongs to them", bytes);
  } catch (const DeviceError& error) {
    failure = error.what();
  }
  agree_on_success(control, failure, "preparing the run");
  return local;
}

}  // namespace

std::vector<std::string> machine_names(Control& control) {
  std::array<char, 256> name{};
  const bool known = gethostname(name.data(), name.size() - 1) == 0;
  return control.all_gather(known ? name.data() : "unknown", "finding machines");
}

std::vector<std::int32_t> machines_of_ranks(const Control& control, const std::vector<std::string>& names,
                                            std::int32_t ranks) {
  std::vector<std::string> known;
  std::vector<std::int32_t> machines;
  for (std::int32_t process = 0; process < control.processes(); ++process) {
    const std::string& name = names[static_cast<std::size_t>(process)];
    const auto found = std::find(known.begin(), known.end(), name);
    const auto number = static_cast<std::int32_t>(found - known.begin());
    if (found == known.end()) known.push_back(name);
    machines.insert(machines.end(), static_cast<std::size_t>(control.block(process, ranks).count()), number);
  }
  const auto count = static_cast<std::int32_t>(known.size());
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    if (machines[static_cast<std::size_t>(rank)] != device_of_equal_blocks(rank, count, ranks))
      return machines;
  }
  return {};
}

std::int32_t number_on_machine(Control& control) {
  const std::vector<std::string> names = machine_names(control);
  const auto own = names.begin() + control.process();
  return static_cast<std::int32_t>(std::count(names.begin(), own, *own));
}

std::int32_t machine_count(Control& control) { return different(machine_names(control)); }

ProcessRun run_in_processes(const Execution& execution, const CpuOptions& given, Control& control,
                            const TransportFactory& make_transport, const std::string& source) {
  STRATA_CHECK(given.layers > 0 && given.repeats > 0, "{} layers, {} repeats", given.layers, given.repeats);
  STRATA_CHECK(!execution.waves.empty(), "an execution without waves");
  const auto ranks = static_cast<std::int32_t>(execution.waves.front().programs.size());
  control.set_rank_count(ranks);
  const Machines machines(control);
  CpuOptions options = given;
  options.deadline = {};
  options.threads = given.threads > 0 ? given.threads : machines.threads_of_each();
  WorkerOptions workers;
  workers.threads = options.threads;
  workers.caller_works = false;
  workers.spin = machines.sharing * (options.threads + 1) <= machines.cores;
  const std::unique_ptr<LocalRun> local =
      prepare(execution, options, control, control.block(control.process(), ranks), workers);
  const std::unique_ptr<Transport> transport = make_transport(local->prepared);
  LocalRecord record;
  record.clock.first = measure_clock(control);
  for (std::int32_t repeat = 0; repeat < options.repeats; ++repeat) {
    local->workers.run(repeat, control, *transport);
    record.begin_ns.push_back(local->schedule.start_ns());
    record.end_ns.push_back(local->schedule.start_ns() + local->schedule.wall().ns);
  }
  record.clock.last = measure_clock(control);
  record.sent = local->schedule.sent();
  record.events = local->schedule.take_events();

  ProcessRun run;
  run.threads = local->workers.threads();
  run.machines = machines.count;
  RunResult& result = run.result;
  result.arena = local->prepared.arena_bytes;
  result.results = std::move(local->prepared.results);
  state_run(execution, source, options.layers, options.repeats, result.timeline);
  result.timeline.device_count = machines.count;
  result.timeline.rank_device = machines_of_ranks(control, machines.hosts, ranks);
  result.timeline.cores_per_device = std::min(machines.cores, machines.sharing * run.threads);
  gather_results(control, execution, std::move(record), result);
  return run;
}

}  // namespace strata
