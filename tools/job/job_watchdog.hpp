// SPDX-License-Identifier: Apache-2.0
// Ends this process when the others do not take part in time. It is for calls that wait for all processes of
// a job and know no deadline, such as MPI_Init.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

#include "core/base/thread_team.hpp"
#include "core/base/units.hpp"

namespace strata::tools {

class JobWatchdog {
 public:
  /// `what` says what is being done, for the line that is printed before the exit with 4. `process` staggers
  /// the ends, so that one process is the first to speak. DeviceError when no thread can be started to watch.
  JobWatchdog(Duration deadline, std::int32_t process, std::string what);
  ~JobWatchdog();
  JobWatchdog(const JobWatchdog&) = delete;
  JobWatchdog& operator=(const JobWatchdog&) = delete;

 private:
  void watch();

  Duration deadline_;
  std::int32_t process_;
  std::string what_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
  ThreadTeam thread_;
};

}  // namespace strata::tools
