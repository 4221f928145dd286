// SPDX-License-Identifier: Apache-2.0
// Independent jobs over threads: checks, lowering, and other work outside an issue loop.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

#include "core/base/thread_team.hpp"

namespace strata {

/// Calls `job(i)` for i in [0, count), started in ascending order. The jobs share `threads` threads (0: as
/// many as are available here), the caller's included, and fewer where the system gives no more. A job has an
/// equal share of the threads for what it starts in turn: 1 where there are as many jobs as threads. No job
/// begins after one has thrown. Once all threads have stopped, the exception of the job with the least number
/// is rethrown: the one that a single thread would have met.
template <typename Job>
void parallel_for(std::int64_t count, std::int32_t threads, const Job& job) {
  const std::int64_t available = threads > 0 ? threads : available_threads();
  const std::int64_t workers = std::min(available, count);
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  std::int64_t failed = count;
  const auto work = [&] {
    const ThreadShare share(available / std::max<std::int64_t>(1, workers));
    for (std::int64_t i = next++; i < count; i = next++) {
      try {
        job(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (i < failed) error = std::current_exception();
        failed = std::min(failed, i);
        next = count;
      }
    }
  };
  ThreadTeam others;
  for (std::int64_t i = 1; i < workers && others.start(work); ++i) {
  }
  work();
  others.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace strata
