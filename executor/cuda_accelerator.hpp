// SPDX-License-Identifier: Apache-2.0
// A GPU behind the Accelerator interface. A build without CUDA has the same functions and says so.
#pragma once

#include <cstdint>
#include <memory>

#include "executor/accelerator.hpp"

namespace strata {

/// Whether this build has the CUDA parts.
bool cuda_available();

/// Opens GPU number `device` for the calling thread. Throws DeviceError that says what was found when there
/// is no driver, an old one, no such GPU, or none that this build has kernels for.
std::unique_ptr<Accelerator> open_gpu(std::int32_t device);

}  // namespace strata
