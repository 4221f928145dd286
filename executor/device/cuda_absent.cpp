// SPDX-License-Identifier: Apache-2.0
// What a build without CUDA has in its place.
#include "core/base/check.hpp"
#include "executor/device/cuda_accelerator.hpp"
#include "executor/device_error.hpp"

namespace strata {

bool cuda_available() { return false; }

std::int32_t gpu_count() { throw DeviceError(-1, "this build of Strata has no CUDA"); }

std::unique_ptr<Gpu> open_gpu(std::int32_t) { throw DeviceError(-1, "this build of Strata has no CUDA"); }

}  // namespace strata
