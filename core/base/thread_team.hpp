// SPDX-License-Identifier: Apache-2.0
// The one place where threads are started. A system may give fewer than were asked for (a limit on processes,
// on memory). Whoever starts them learns how many there are and why there are not more, and decides.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace strata {

class ThreadTeam {
 public:
  ThreadTeam() = default;
  /// Joins.
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  /// Starts one more thread that calls `work`, which must not throw. False when the system gives none.
  bool start(std::function<void()> work);
  /// Threads that were started and not joined.
  std::size_t size() const { return threads_.size(); }
  /// Why the last start failed ("Resource temporarily unavailable"); empty when none did.
  const std::string& failure() const { return failure_; }
  /// Waits for all of them to end.
  void join();

 private:
  std::vector<std::thread> threads_;
  std::string failure_;
};

/// How many threads work that begins on this thread may use: the hardware's, or the share of a job that runs
/// beside others (ThreadShare). At least 1.
std::int64_t available_threads();

/// While this object lives, work that begins on this thread may use `threads` threads. Jobs that run side by
/// side share the hardware in this way, so what they start in turn does not multiply.
class ThreadShare {
 public:
  explicit ThreadShare(std::int64_t threads);
  ~ThreadShare();
  ThreadShare(const ThreadShare&) = delete;
  ThreadShare& operator=(const ThreadShare&) = delete;

 private:
  std::int64_t before_;
};

}  // namespace strata
