// SPDX-License-Identifier: Apache-2.0
// MPI as control and transport of a job. Nonblocking calls only, tested against the deadline; one thread per
// process calls MPI. A build without MPI has the same functions and says so.
#pragma once

#include <memory>

#include "executor/job/control.hpp"
#include "executor/transport.hpp"

namespace strata {

/// Whether this build can start a job.
bool mpi_available();

class MpiJob : public Control {
 public:
  using Control::Control;
  /// Makes transports with a communicator per lane. Collective.
  virtual TransportFactory transports(std::int32_t lanes) = 0;
};

/// Initialises MPI for this process, once. Blocks, without a deadline, until all processes of the job do the
/// same. Throws DeviceError when MPI refuses, or is not in this build.
std::unique_ptr<MpiJob> start_mpi(Duration deadline);

}  // namespace strata
