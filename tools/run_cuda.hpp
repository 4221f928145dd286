// SPDX-License-Identifier: Apache-2.0
// strata run with all ranks on one GPU.
#pragma once

#include <string>

#include "executor/device/device_executor.hpp"
#include "tools/run_setup.hpp"

namespace strata::tools {

struct CudaOutcome {
  RunSetup setup;
  RunResult result;
};

/// The options with which a device runs a plan.
DeviceOptions device_options(const RunOptions& options, const CpuOptions& cpu);
/// "tensor-core attention" or "plain fp32 attention": kernels exist for some types and head dimensions only.
std::string attention_name(const DeviceOptions& options, const ModelShape& model, Accelerator& gpu);

/// Runs the plan and says on what. Throws InputError in a build without CUDA. When the device fails, says so
/// and ends the process with code 4: a kernel that never ends would otherwise hold it up.
CudaOutcome run_with_cuda(const RunOptions& options, const Output& output);

}  // namespace strata::tools
