// SPDX-License-Identifier: Apache-2.0
// NCCL between the GPUs of a job's processes: a communicator of all of them for each lane, grouped sends and
// receives, nothing that waits without a deadline. The library is looked for when it is needed, so that
// everything else runs where there is none; a build without NCCL's header has the same functions and says so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "executor/device/cuda_accelerator.hpp"
#include "executor/device/device_network.hpp"
#include "executor/job/control.hpp"

namespace strata {

/// Whether this build can use NCCL.
bool nccl_available();

class NcclNetwork : public DeviceNetwork {
 public:
  /// Collective: makes communicators until there are `lanes`. Throws TransportError, also when not all
  /// processes take part within the control's deadline.
  virtual void connect(std::int32_t lanes) = 0;
  /// Ends everything under way on this process's side, or gives up after a few seconds. Nothing but the
  /// process's end may follow.
  virtual void abort() noexcept = 0;
};

/// Loads the library: the file that the environment variable STRATA_NCCL names, else libnccl.so.2 from where
/// the loader looks. Throws DeviceError that says what was found when there is none, or an old one. `control`
/// and `gpu` outlive the network, whose thread calls it.
std::unique_ptr<NcclNetwork> open_nccl(Control& control, const Gpu& gpu);

/// The version of the library that open_nccl would load, "2.28.9". Throws as open_nccl does.
std::string nccl_version();

}  // namespace strata
