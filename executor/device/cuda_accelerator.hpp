// SPDX-License-Identifier: Apache-2.0
// A GPU behind the Accelerator interface. A build without CUDA has the same functions and says so.
#pragma once

#include <cstdint>
#include <memory>

#include "executor/device/accelerator.hpp"

namespace strata {

/// Whether this build has the CUDA parts.
bool cuda_available();

class Gpu : public Accelerator {
 public:
  /// The cudaStream_t behind a stream's number.
  virtual void* native_stream(std::int32_t stream) const = 0;
};

/// How many GPUs this process sees, at least one. Throws DeviceError that says what was found when there is
/// no driver, an old one, or no GPU.
std::int32_t gpu_count();

/// Opens GPU number `device` for the calling thread. Throws what gpu_count does, and DeviceError when there
/// is no such GPU or none that this build has kernels for.
std::unique_ptr<Gpu> open_gpu(std::int32_t device);

}  // namespace strata
