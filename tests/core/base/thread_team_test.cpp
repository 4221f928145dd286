// SPDX-License-Identifier: Apache-2.0
// Threads that the system does not give. A child process limits its own memory to less than a thread's stack,
// which binds every user.
#include "core/base/thread_team.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <thread>
#include <vector>

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

TEST(ParallelFor, SharesItsThreadsWithWhatItsJobsStart) {
  const std::int64_t hardware = available_threads();
  const auto shares = [](std::int64_t jobs, std::int32_t threads) {
    std::vector<std::int64_t> seen(static_cast<std::size_t>(jobs));
    parallel_for(jobs, threads,
                 [&](std::int64_t i) { seen[static_cast<std::size_t>(i)] = available_threads(); });
    return seen;
  };
  EXPECT_EQ(shares(5, 4), std::vector<std::int64_t>(5, 1));
  EXPECT_EQ(shares(2, 9), std::vector<std::int64_t>(2, 4));
  EXPECT_EQ(shares(1, 3), std::vector<std::int64_t>(1, 3));
  EXPECT_EQ(available_threads(), hardware);
  parallel_for(3, 3, [](std::int64_t) {
    const std::thread::id outer = std::this_thread::get_id();
    parallel_for(20, 0, [&](std::int64_t) { EXPECT_EQ(std::this_thread::get_id(), outer); });
  });
}

TEST(ParallelFor, ThrowsWhatOneThreadWouldHaveMet) {
  for (int trial = 0; trial < 20; ++trial) {
    std::atomic<bool> later_failed{false};
    try {
      parallel_for(8, 8, [&](std::int64_t i) {
        if (i == 5) {
          later_failed = true;
          throw std::runtime_error("five");
        }
        if (i != 3) return;
        // The later job fails first; the bound is for a system that gives too few threads.
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!later_failed && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
        throw std::runtime_error("three");
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "three");
    }
  }
}

}  // namespace
}  // namespace strata
