// SPDX-License-Identifier: Apache-2.0
// strata run as one of the processes that mpirun or srun started.
#pragma once

#include <cstdint>
#include <optional>

#include "executor/process_run.hpp"
#include "tools/run_setup.hpp"

namespace strata::tools {

struct MpiOutcome {
  bool reports = false;  ///< this process has the results and prints
  int code = 0;          ///< to exit with when it does not
  std::int32_t processes = 1;
  RunSetup setup;
  ProcessRun run;
};

/// Runs the plan with the other processes of the job. InputError when nothing launched this process. Errors
/// of the job end all of its processes; one of them has said why.
MpiOutcome run_with_mpi(const RunOptions& options, const Output& output);

}  // namespace strata::tools
