// SPDX-License-Identifier: Apache-2.0
// Runs all ranks' programs in this process: any number of ranks on any number of worker threads. Every arena,
// work list, queue and record is built before the first instruction; the issue loop allocates nothing.
#pragma once

#include <cstdint>
#include <functional>

#include "executor/run.hpp"

namespace strata {

struct CpuOptions {
  std::int32_t threads = 0;  ///< workers, the calling thread included; 0: one per hardware thread
  std::int32_t layers = 1;   ///< every layer runs the same programs on the same inputs
  std::int32_t repeats = 1;  ///< of the whole step; the inputs are made again each time
  std::uint64_t seed = 0;    ///< of the inputs
  bool record_timeline = true;
  bool keep_results = true;
  /// Debug: arenas start as NaN, and a buffer that does not persist becomes NaN again before its first write
  /// of each pass, so that a read of a row nobody wrote shows in the results.
  bool poison = false;
  /// Debug: pauses of up to this long before random items, drawn from delay_seed. Results must not change.
  Duration random_delay;
  std::uint64_t delay_seed = 0;
  /// A repeat that takes longer is stopped; 0: never.
  Duration deadline;
  /// Called with the share of the work of this process that is done, 0 to 1, by one thread at a time while
  /// others wait for it.
  std::function<void(double)> progress;
};

/// Throws DeviceError, naming rank and instruction, when no instruction can ever run again (a program that
/// waits for something nobody sends) or the deadline passes; InternalError when a program does not fit its
/// own arena.
RunResult run_on_cpu(const Execution& execution, const CpuOptions& options);

}  // namespace strata
