// SPDX-License-Identifier: Apache-2.0
// strata calibrate on an executor of several processes or on a GPU: raw samples and a table.
#pragma once

#include <string>

#include "tools/calibration/calibration_runs.hpp"
#include "tools/output.hpp"
#include "tools/run_setup.hpp"

namespace strata::tools {

struct SamplesOptions {
  std::string output, model;
  Fineness fineness = Fineness::normal;
  RunOptions run;  ///< executor ("cuda", "mpi" or "nccl"), threads, device, rendezvous
};

/// Measures, writes the samples file and prints the table; under mpi and nccl as one of the processes of a
/// job, of which process 0 writes and prints. Returns the exit code; errors as `strata run` on the same
/// executor.
int calibrate_samples(const SamplesOptions& options, Output& output);

}  // namespace strata::tools
