// SPDX-License-Identifier: Apache-2.0
// Jobs that mpirun, or srun with its PMIx plugin, started: CPU ranks over MPI.
#pragma once

#include <memory>

#include "tools/process_job.hpp"

namespace strata::tools {

/// See join_job.
std::unique_ptr<ProcessJob> join_mpi_job(Duration deadline, const JobCommand& command);

}  // namespace strata::tools
