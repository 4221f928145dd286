// SPDX-License-Identifier: Apache-2.0
#include "tools/job/job_watchdog.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>

#include "core/base/check.hpp"
#include "executor/device_error.hpp"

namespace strata::tools {

JobWatchdog::JobWatchdog(Duration deadline, std::int32_t process, std::string what)
    : deadline_(deadline), process_(process), what_(std::move(what)) {
  if (thread_.start([this] { watch(); })) return;
  throw DeviceError(-1, fmt::format("{}: found no way to start a thread that watches the deadline ({})",
                                    what_, thread_.failure()));
}

JobWatchdog::~JobWatchdog() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void JobWatchdog::watch() {
  constexpr std::int64_t kStaggerNs = 250'000'000;
  constexpr std::int32_t kStaggered = 16;
  const std::chrono::nanoseconds limit(deadline_.ns + kStaggerNs * std::min(process_, kStaggered));
  std::unique_lock lock(mutex_);
  if (wake_.wait_for(lock, limit, [this] { return done_; })) return;
  std::cerr << fmt::format("strata: process {}: {}: not all processes took part within {} s\n", process_,
                           what_, deadline_.ns / 1'000'000'000)
            << std::flush;
  std::_Exit(4);
}

}  // namespace strata::tools
