// SPDX-License-Identifier: Apache-2.0
#include "tools/run_mpi.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <string_view>
#include <thread>

#include "core/counts.hpp"
#include "executor/agreement.hpp"
#include "executor/mpi_job.hpp"
#include "kernels/cpu_features.hpp"
#include "tools/error_report.hpp"

namespace strata::tools {

namespace {

constexpr std::int64_t kDefaultDeadlineS = 60;

/// mpirun, or srun with its PMIx plugin.
bool launched() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

/// Before MPI has told it; 0 when the launcher does not say.
std::int32_t launched_as() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK"}) {
    const char* text = std::getenv(name);
    if (text == nullptr) continue;
    const std::string_view digits(text);
    std::int32_t process = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), process);
    return process;
  }
  return 0;
}

/// Ends this process when the others do not join it in time. For the two calls that wait for all processes
/// and know no deadline, MPI_Init and MPI_Finalize.
class Watchdog {
 public:
  Watchdog(Duration deadline, std::string what)
      : what_(std::move(what)), deadline_(deadline), thread_([this] { watch(); }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch() {
    constexpr std::int64_t kStaggerNs = 250'000'000;  // so that one process is the first to speak
    const std::int32_t process = launched_as();
    const std::chrono::nanoseconds limit(deadline_.ns + kStaggerNs * std::min(process, 16));
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, limit, [this] { return done_; })) return;
    std::cerr << fmt::format("strata: process {}: {}: not all processes took part within {} s\n", process,
                             what_, deadline_.ns / 1'000'000'000)
              << std::flush;
    std::_Exit(4);
  }

  std::string what_;
  Duration deadline_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  std::thread thread_;
};

[[noreturn]] void throw_not_launched(const RunOptions& options, const Output& output) {
  const auto ranks = set_up_run(options, output).loaded.plan.topology.rank_count();
  throw InputError(
      "--executor mpi", "no launcher",
      fmt::format("mpirun -np {0} --bind-to none strata run {1} --executor mpi, or srun --mpi=pmix "
                  "-n {0} strata run {1} --executor mpi",
                  ranks, options.plan));
}

/// Collective: every process has loaded the same plan, or AgreedError.
void load(const RunOptions& options, const Output& output, Control& control, RunSetup& setup) {
  std::optional<RunIdentity> identity;
  std::string failure;
  try {
    if (control.process() == 0) {
      for (const std::string& path : {options.timeline, options.trace}) expect_writable(path);
    }
    setup = set_up_run(options, output);
    setup.cpu.record_timeline = !options.timeline.empty() || !options.trace.empty();
    identity = identify_run(setup.execution, setup.cpu);
  } catch (const InputError& error) {
    failure = error.what();
  } catch (const std::bad_alloc&) {
    failure = "found too little memory for the plan";
  }
  agree(control, identity, failure);
  const std::int32_t ranks = identity->ranks;
  if (control.processes() <= ranks) return;
  constexpr int kBadUsage = 2;
  throw AgreedError(fmt::format("{}: found {} processes, expected at most {}, one per rank", options.plan,
                                control.processes(), ranks),
                    kBadUsage);
}

std::int32_t lane_count(const Execution& execution) {
  std::int32_t lanes = 1;
  for (const ExecutableWave& wave : execution.waves) {
    for (const RankProgram& program : wave.programs) lanes = std::max(lanes, program.lane_count);
  }
  return lanes;
}

void finish(Control& control) {
  const Watchdog watchdog(control.deadline(), "leaving the job");
  control.finish();
}

/// Ends all processes for a reason that only this one knows.
[[noreturn]] void fail(Control& control) { control.abort(report_current_exception()); }

}  // namespace

MpiOutcome run_with_mpi(const RunOptions& options, const Output& output) {
  if (!mpi_available()) throw InputError("--executor", "'mpi'", "cpu: this build has no MPI");
  if (!launched()) throw_not_launched(options, output);
  const Duration deadline{options.deadline_s.value_or(kDefaultDeadlineS) * 1'000'000'000};
  std::unique_ptr<MpiJob> job;
  {
    const Watchdog watchdog(deadline, "starting MPI");
    job = start_mpi(deadline);
  }
  MpiOutcome outcome;
  outcome.reports = job->process() == 0;
  outcome.processes = job->processes();
  try {
    load(options, output, *job, outcome.setup);
    const RunSetup& setup = outcome.setup;
    if (outcome.reports) {
      output.line(fmt::format("{}: {} in {}, {}, {}", setup.loaded.plan.strategy,
                              counted(setup.loaded.plan.topology.rank_count(), "rank"),
                              counted(job->processes(), "process", "processes"), kernels::instruction_set(),
                              counted(setup.cpu.layers, "layer")));
      std::cout.flush();
    }
    outcome.run = run_in_processes(setup.execution, setup.cpu, *job,
                                   job->transports(lane_count(setup.execution)), "mpi");
    finish(*job);
  } catch (const AgreedError& error) {
    try {
      if (outcome.reports) std::cerr << fmt::format("strata: {}\n", error.what()) << std::flush;
      job->barrier("reporting an error");
      finish(*job);
    } catch (...) {
      fail(*job);
    }
    outcome.reports = false;
    outcome.code = error.code();
  } catch (...) {
    fail(*job);
  }
  return outcome;
}

}  // namespace strata::tools
