// SPDX-License-Identifier: Apache-2.0
// Ctrl-C during long work whose finished part is worth having.
#pragma once

#include <csignal>
#include <functional>

#include "core/base/thread_team.hpp"

namespace strata::tools {

/// While this object lives, the first SIGINT or SIGTERM calls `report` on a thread of its own. Then it ends
/// the process with exit code 128 + signal (130 after Ctrl-C), whatever the other threads are at. A second
/// signal ends the process at once. Threads that do the work must be started while the object lives. A signal
/// that was ignored before stays ignored (nohup). Where the system gives no thread for the report, a signal
/// ends the process at once, as ever.
class Interruption {
 public:
  /// `report` is never called after the destructor has begun. Where it was called before, the destructor does
  /// not return. What `report` throws is reported as an error of the command.
  explicit Interruption(std::function<void()> report);
  ~Interruption();
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

 private:
  void watch();
  std::function<void()> report_;
  sigset_t signals_{}, before_{};
  int arrivals_ = -1, done_ = -1;  ///< descriptors: signals that came; that the work is done
  ThreadTeam watcher_;             ///< last: its thread uses everything above
};

}  // namespace strata::tools
