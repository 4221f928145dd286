// SPDX-License-Identifier: Apache-2.0
// Runs programs on one device. One thread issues everything; streams and events keep the order that the
// programs ask for. Either all ranks are on the device, and exchanges are copies between arenas. Or each
// process of a job has one rank, and exchanges go to a network. Every list, event and stream exists before
// the first instruction; the issue loop allocates nothing.
#pragma once

#include <cstdint>
#include <string>

#include "executor/device/accelerator.hpp"
#include "executor/device/device_network.hpp"
#include "executor/job/control.hpp"
#include "executor/job/process_run.hpp"
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
  /// Puts everything on one stream: each instruction has the device for itself, and its time is what it alone
  /// costs. The timeline's source then ends in "-serial".
  bool serial = false;
  /// Uses plain fp32 attention even where there is a tensor-core kernel.
  bool plain_attention = false;
  /// Multiprocessors that tensor-core attention leaves to whatever runs beside it.
  std::int32_t spare_multiprocessors = 0;
  /// A wait for one layer's forward or backward that takes longer ends the run; 0: never.
  Duration deadline;
  std::int32_t threads = 0;  ///< of the host, to make the inputs; 0: one per hardware thread
  std::string source = "cuda";
};

/// Waves run one after the other. Making inputs and moving inputs and results to and from the device is
/// outside of all times. Throws DeviceError when the device has too little memory (before anything runs),
/// refuses a launch, does not finish in time, or when an instruction can never run; InternalError when a
/// program does not fit its own arena.
RunResult run_on_device(const Execution& execution, const DeviceOptions& options, Accelerator& device);

/// The same with one rank in each process of a job; `control` says which. Collective: all processes hold the
/// same execution and options (agree() shows it). Instead of the options' deadline the control's is used. The
/// processes begin every wave together. Times are told on process 0's clock, within the timeline's
/// clock_error_ns. Throws AgreedError when some process lacks memory; DeviceError naming rank, instruction
/// and peers when a pass takes too long; TransportError when the network fails or another process ended.
ProcessRun run_on_devices(const Execution& execution, const DeviceOptions& options, Accelerator& device,
                          Control& control, DeviceNetwork& network);

}  // namespace strata
