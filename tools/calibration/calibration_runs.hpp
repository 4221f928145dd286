// SPDX-License-Identifier: Apache-2.0
// Running calibration cases on an executor, one execution for every model shape.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "executor/device/accelerator.hpp"
#include "tools/calibration/calibration_samples.hpp"

namespace strata::tools {

struct SamplesRequest {
  ModelShape model;
  Fineness fineness = Fineness::normal;
  std::int32_t threads = 0;  ///< of every process; 0: as its executor finds best
  std::uint64_t seed = 0;
};

/// How often every case is run: `layers` times forward, then backward, in each of `repeats`.
struct Pacing {
  std::int32_t repeats = 2, layers = 6;
};
Pacing pacing(Fineness fineness);

/// Ranks that share the device where one is measured alone.
inline constexpr std::int32_t kRanksOfOneDevice = 4;

/// What runs the model's attention on a device: "tensor_core", or "plain" where it has no such kernel.
std::string attention_kernel(const ModelShape& model, Accelerator& device);

/// Measures one device, serially: every instruction has it for itself. `open` is called for each model shape,
/// so that each has the whole memory. Leaves `date` empty. Throws what run_on_device throws.
SamplesFile measure_on_device(const SamplesRequest& request,
                              const std::function<std::unique_ptr<Accelerator>()>& open,
                              const Output& output);

}  // namespace strata::tools
