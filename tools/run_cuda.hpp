// SPDX-License-Identifier: Apache-2.0
// strata run with all ranks on one GPU.
#pragma once

#include "executor/run.hpp"
#include "tools/run_setup.hpp"

namespace strata::tools {

struct CudaOutcome {
  RunSetup setup;
  RunResult result;
};

/// Runs the plan and says on what. InputError in a build without CUDA. When the device fails, says so and
/// ends the process with code 4: a kernel that never ends would otherwise keep it.
CudaOutcome run_with_cuda(const RunOptions& options, const Output& output);

}  // namespace strata::tools
