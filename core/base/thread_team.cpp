// SPDX-License-Identifier: Apache-2.0
#include "core/base/thread_team.hpp"

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

}  // namespace strata
