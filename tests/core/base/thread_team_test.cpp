// SPDX-License-Identifier: Apache-2.0
// Threads that the system does not give. A child process limits its own memory to less than a thread's stack,
// which binds every user.
#include "core/base/thread_team.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <stdexcept>

#include "core/base/parallel_for.hpp"
#include "tests/support/sanitized.hpp"

namespace strata {
namespace {

/// The exit code of a child in which `body` runs and no thread's stack fits into memory. 99: no such limit.
int without_threads(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    constexpr std::int64_t kRoom = 4 << 20;
    const auto bytes = static_cast<rlim_t>(pages * ::sysconf(_SC_PAGESIZE) + kRoom);
    const rlimit limit{bytes, bytes};
    if (pages == 0 || ::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(99);
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(ThreadTeam, RunsWhatItStarted) {
  std::atomic<int> sum{0};
  {
    ThreadTeam team;
    for (int i = 1; i <= 4; ++i) ASSERT_TRUE(team.start([&sum, i] { sum += i; }));
    EXPECT_EQ(team.size(), 4U);
    EXPECT_EQ(team.failure(), "");
  }
  EXPECT_EQ(sum, 10);
}

TEST(ThreadTeam, SaysWhyTheSystemGivesNoThread) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs the memory that is limited here";
  EXPECT_EQ(without_threads([] {
              constexpr std::size_t kMany = 64;  // more stacks than are kept from threads that have ended
              ThreadTeam team;
              std::atomic<bool> done{false};
              while (team.size() < kMany && team.start([&] { done.wait(false); })) {
              }
              const bool refused = team.size() < kMany && !team.failure().empty();
              done = true;
              done.notify_all();
              return refused;
            }),
            0);
}

TEST(ParallelFor, DoesAllJobsOnTheThreadsThatThereAre) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs the memory that is limited here";
  const auto sum_is_right = [] {
    std::atomic<int> sum{0};
    parallel_for(100, 8, [&](std::int64_t i) { sum += static_cast<int>(i); });
    return sum == 4950;
  };
  EXPECT_TRUE(sum_is_right());
  EXPECT_EQ(without_threads(sum_is_right), 0);
  EXPECT_EQ(without_threads([] {
              try {
                parallel_for(9, 8, [](std::int64_t i) {
                  if (i == 3) throw std::runtime_error("three");
                });
              } catch (const std::runtime_error&) {
                return true;
              }
              return false;
            }),
            0);
}

}  // namespace
}  // namespace strata
