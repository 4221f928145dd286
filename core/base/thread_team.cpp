// SPDX-License-Identifier: Apache-2.0
#include "core/base/thread_team.hpp"

#include <algorithm>
#include <new>
#include <system_error>

namespace strata {

ThreadTeam::~ThreadTeam() { join(); }

bool ThreadTeam::start(std::function<void()> work) {
  try {
    threads_.emplace_back(std::move(work));
    return true;
  } catch (const std::system_error& error) {
    failure_ = error.code().message();
  } catch (const std::bad_alloc&) {
    failure_ = "too little memory";
  }
  return false;
}

void ThreadTeam::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

namespace {

/// 0: all of the hardware. It bounds how many threads work, never what they compute.
thread_local std::int64_t share_of_this_thread = 0;

}  // namespace

std::int64_t available_threads() {
  if (share_of_this_thread > 0) return share_of_this_thread;
  return std::max<std::int64_t>(1, std::thread::hardware_concurrency());
}

ThreadShare::ThreadShare(std::int64_t threads) : before_(share_of_this_thread) {
  share_of_this_thread = std::max<std::int64_t>(1, threads);
}

ThreadShare::~ThreadShare() { share_of_this_thread = before_; }

}  // namespace strata
