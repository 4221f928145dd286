// SPDX-License-Identifier: Apache-2.0
// Independent jobs over threads: checks, lowering, and other work outside an issue loop.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>

#include "core/base/thread_team.hpp"

namespace strata {

/// Calls `job(i)` for i in [0, count), starting them in ascending order, on `threads` threads (0: one per
/// hardware thread), the caller included; on fewer where the system gives no more. Rethrows the first
/// exception after all threads have stopped.
template <typename Job>
void parallel_for(std::int64_t count, std::int32_t threads, const Job& job) {
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (std::int64_t i = next++; i < count; i = next++) job(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  const std::int64_t hardware = std::max(1U, std::thread::hardware_concurrency());
  const std::int64_t workers = std::min<std::int64_t>(threads > 0 ? threads : hardware, count);
  ThreadTeam others;
  for (std::int64_t i = 1; i < workers && others.start(work); ++i) {
  }
  work();
  others.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace strata
