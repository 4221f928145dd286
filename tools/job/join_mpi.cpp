// SPDX-License-Identifier: Apache-2.0
#include "tools/job/join_mpi.hpp"

#include <fmt/format.h>

#include "kernels/cpu_features.hpp"
#include "tools/job/job_watchdog.hpp"

namespace strata::tools {

namespace {

class MpiProcessJob : public ProcessJob {
 public:
  explicit MpiProcessJob(std::unique_ptr<MpiJob> job) : job_(std::move(job)) {}

  Control& control() override { return *job_; }
  std::string device() const override { return kernels::instruction_set(); }
  bool shares_processes() const override { return true; }
  std::string attention_kernel(const ModelShape&) override { return "cpu"; }
  ProcessRun execute(const RunSetup& setup) override {
    return run_in_processes(setup.execution, setup.cpu, *job_, job_->transports(lane_count(setup.execution)),
                            "mpi");
  }

 private:
  std::unique_ptr<MpiJob> job_;
};

}  // namespace

std::unique_ptr<MpiJob> start_launched_mpi(Duration deadline, const Launch& launch) {
  const JobWatchdog watchdog(deadline, launch.process, "starting MPI");
  return start_mpi(deadline);
}

std::unique_ptr<ProcessJob> join_mpi_job(Duration deadline, const JobCommand& command) {
  expect_built_with("mpi");
  const Launch launch = find_launch();
  if (launch.kind != Launch::Kind::mpi) {
    throw InputError("--executor mpi", "no launcher",
                     fmt::format("mpirun -np {0} --bind-to none strata {1}, or srun --mpi=pmix -n {0} "
                                 "strata {1}",
                                 command.ranks(), command.arguments));
  }
  return std::make_unique<MpiProcessJob>(start_launched_mpi(deadline, launch));
}

}  // namespace strata::tools
