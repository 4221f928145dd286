// SPDX-License-Identifier: Apache-2.0
#include "tools/join_mpi.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "executor/mpi_job.hpp"
#include "kernels/cpu_features.hpp"
#include "tools/job_watchdog.hpp"

namespace strata::tools {

namespace {

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

std::int32_t lane_count(const Execution& execution) {
  std::int32_t lanes = 1;
  for (const ExecutableWave& wave : execution.waves) {
    for (const RankProgram& program : wave.programs) lanes = std::max(lanes, program.lane_count);
  }
  return lanes;
}

class MpiProcessJob : public ProcessJob {
 public:
  explicit MpiProcessJob(std::unique_ptr<MpiJob> job) : job_(std::move(job)) {}

  Control& control() override { return *job_; }
  std::string device() const override { return kernels::instruction_set(); }
  bool shares_processes() const override { return true; }
  ProcessRun execute(const RunSetup& setup) override {
    return run_in_processes(setup.execution, setup.cpu, *job_, job_->transports(lane_count(setup.execution)),
                            "mpi");
  }

 private:
  std::unique_ptr<MpiJob> job_;
};

}  // namespace

std::unique_ptr<ProcessJob> join_mpi_job(Duration deadline, const JobCommand& command) {
  if (!mpi_available()) throw InputError("--executor", "'mpi'", "cpu: this build has no MPI");
  if (!launched()) {
    throw InputError("--executor mpi", "no launcher",
                     fmt::format("mpirun -np {0} --bind-to none strata {1}, or srun --mpi=pmix -n {0} "
                                 "strata {1}",
                                 command.ranks(), command.arguments));
  }
  const JobWatchdog watchdog(deadline, launched_as(), "starting MPI");
  return std::make_unique<MpiProcessJob>(start_mpi(deadline));
}

}  // namespace strata::tools
