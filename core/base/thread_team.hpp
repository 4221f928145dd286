// SPDX-License-Identifier: Apache-2.0
// The one place where threads are started. A system may give fewer than were asked for (a limit on processes,
// on memory): whoever starts them learns how many there are, and why not more, and decides.
#pragma once

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

}  // namespace strata
