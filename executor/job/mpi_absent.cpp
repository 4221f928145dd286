// SPDX-License-Identifier: Apache-2.0
// What a build without MPI has in its place.
#include "executor/device_error.hpp"
#include "executor/job/mpi_job.hpp"

namespace strata {

bool mpi_available() { return false; }

std::unique_ptr<MpiJob> start_mpi(Duration) { throw DeviceError(-1, "this build of Strata has no MPI"); }

}  // namespace strata
