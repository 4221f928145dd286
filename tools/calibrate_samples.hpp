// SPDX-License-Identifier: Apache-2.0
// strata calibrate on an executor of several processes or on a GPU: raw samples and a table.
#pragma once

#include <cstdint>
#include <string>

#include "tools/calibration_runs.hpp"
#include "tools/output.hpp"

namespace strata::tools {

struct SamplesOptions {
  std::string output, executor, model;  ///< executor: "cuda" or "mpi"
  Fineness fineness = Fineness::normal;
  std::int64_t threads = 0, device = 0;
};

/// Measures, writes the samples file and prints the table; under mpi as one of the processes of a job, of
/// which process 0 writes and prints. Returns the exit code; errors as `strata run` on the same executor.
int calibrate_samples(const SamplesOptions& options, Output& output);

}  // namespace strata::tools
