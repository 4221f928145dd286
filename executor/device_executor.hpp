// SPDX-License-Identifier: Apache-2.0
// Runs all ranks' programs on one device: one thread issues everything, streams and events keep the order the
// programs ask for, exchanges are copies between arenas. Every list, event and stream exists before the first
// instruction; the issue loop allocates nothing.
#pragma once

#include <cstdint>
#include <string>

#include "executor/accelerator.hpp"
#include "executor/run.hpp"

namespace strata {

struct DeviceOptions {
  std::int32_t layers = 1;   ///< every layer runs the same programs on the same inputs
  std::int32_t repeats = 1;  ///< of the whole step; the inputs are made again each time
  std::uint64_t seed = 0;    ///< of the inputs
  bool record_timeline = true;
  bool keep_results = true;
  /// Arenas start as NaN; scratch becomes NaN again at the start of each pass and, where one stream writes
  /// all of a buffer, before its first write.
  bool poison = false;
  /// Everything on one stream: each instruction has the device for itself, and its time is what it alone
  /// costs. The timeline's source then ends in "-serial".
  bool serial = false;
  /// Plain fp32 attention even where there is a tensor-core kernel.
  bool plain_attention = false;
  /// A wait for one layer's forward or backward that takes longer ends the run; 0: never.
  Duration deadline;
  std::int32_t threads = 0;  ///< of the host, to make the inputs; 0: one per hardware thread
  std::string source = "cuda";
};

/// Waves run one after the other; making, uploading and downloading inputs and results is outside of all
/// times. Throws DeviceError when the device has too little memory (before anything runs), refuses a launch,
/// does not finish in time, or when an instruction can never run; InternalError when a program does not fit
/// its own arena.
RunResult run_on_device(const Execution& execution, const DeviceOptions& options, Accelerator& device);

}  // namespace strata
