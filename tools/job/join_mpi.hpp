// SPDX-License-Identifier: Apache-2.0
// Jobs that mpirun, or srun with its PMIx plugin, started: CPU ranks over MPI.
#pragma once

#include <memory>

#include "executor/job/mpi_job.hpp"
#include "tools/job/launch.hpp"
#include "tools/job/process_job.hpp"

namespace strata::tools {

/// Calls start_mpi. When not all processes start within the deadline, prints one line on stderr and does not
/// return.
std::unique_ptr<MpiJob> start_launched_mpi(Duration deadline, const Launch& launch);

/// See join_job.
std::unique_ptr<ProcessJob> join_mpi_job(Duration deadline, const JobCommand& command);

}  // namespace strata::tools
