// SPDX-License-Identifier: Apache-2.0
// From the CUDA runtime's errors to the status of the launch interface.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/cuda_kernels.hpp"

namespace strata::kernels::cuda {

inline Status status_of(cudaError_t error, const char* what) {
  return {static_cast<int>(error), what, cudaGetErrorString(error)};
}

/// Status of the launch just made. Clears the error, so that the next launch does not report it again.
inline Status launch_status(const char* what) { return status_of(cudaGetLastError(), what); }

inline cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

/// Multiprocessors of the current device.
inline Status multiprocessors(std::int32_t* count) {
  int device = 0;
  int value = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device);
  *count = value;
  return status_of(error, "device attribute");
}

}  // namespace strata::kernels::cuda
