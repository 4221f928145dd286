// SPDX-License-Identifier: Apache-2.0
// Which devices there are and what they can do.
#include <cstring>

#include "kernels/cuda/launch_status.cuh"

namespace strata::kernels::cuda {

Status device_count(std::int32_t* count) {
  int found = 0;
  const cudaError_t error = cudaGetDeviceCount(&found);
  *count = error == cudaSuccess ? found : 0;
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
  return status_of(error, "device count");
}

Status device_info(std::int32_t device, DeviceInfo* info) {
  cudaDeviceProp properties{};
  cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess) return status_of(error, "device properties");
  std::memcpy(info->name, properties.name, sizeof(info->name));
  info->compute_major = properties.major;
  info->compute_minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  info->memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem);
  info->shared_bytes_block = static_cast<std::int64_t>(properties.sharedMemPerBlockOptin);
  error = cudaDriverGetVersion(&info->driver_version);
  if (error == cudaSuccess) error = cudaRuntimeGetVersion(&info->runtime_version);
  return status_of(error, "driver version");
}

}  // namespace strata::kernels::cuda
