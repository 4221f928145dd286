// SPDX-License-Identifier: Apache-2.0
// A command as one of the processes of a job: joining it, agreeing on what to run, running it, leaving, and
// one line and one exit code for whatever goes wrong in any of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "executor/job/process_run.hpp"
#include "tools/run_setup.hpp"

namespace strata::tools {

/// One process's part in a job; see join_job.
class ProcessJob {
 public:
  virtual ~ProcessJob() = default;
  virtual Control& control() = 0;
  /// Collective, once a process knows that it has something to run: opens what it computes on. Nothing
  /// happens when that is open already. Throws AgreedError when some process has none.
  virtual void open() {}
  /// Collective: closes what open() opened.
  virtual void close() {}
  /// The same when the job has failed; waits for nobody.
  virtual void abandon() noexcept {}
  /// What a process computes on, for people.
  virtual std::string device() const = 0;
  /// What runs the model's attention here, once open: "cpu", "tensor_core" or "plain".
  virtual std::string attention_kernel(const ModelShape& model) = 0;
  /// Collective: runs what all processes have agreed on; see run_in_processes.
  virtual ProcessRun execute(const RunSetup& setup) = 0;
  /// Whether one process can run several ranks.
  virtual bool shares_processes() const = 0;

  /// Process 0 has the results, prints and writes.
  bool reports() { return control().process() == 0; }
};

/// What the command line says that would start the job; for the error when nothing started it.
struct JobCommand {
  std::string arguments;                ///< of strata
  std::function<std::int32_t()> ranks;  ///< how many processes it takes
};

/// Joins the job that mpirun, srun or torchrun started for the executor `options` names ("mpi" or "nccl").
/// InputError when nothing started one, or the build lacks the executor. Does not return, after one line on
/// stderr, when not all processes join within the deadline.
std::unique_ptr<ProcessJob> join_job(const RunOptions& options, const JobCommand& command);

/// Collective: every process makes its setup. All setups are the same and fit the number of processes, and
/// every process has what it computes on; otherwise throws AgreedError. `name` is what the setup comes from,
/// for the error.
RunSetup load_in_job(ProcessJob& job, const std::string& name, const std::function<RunSetup()>& set_up);

/// Runs `body`, then leaves the job. Returns 0, or the code to exit with after an error that all processes
/// know of and one of them has printed. After any other error all processes end, and the call does not
/// return.
int in_job(ProcessJob& job, const std::function<void()>& body);

}  // namespace strata::tools
