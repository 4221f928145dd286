// SPDX-License-Identifier: Apache-2.0
// Ctrl-C. Standard error of the program under test is a terminal, so that its bar says when work has begun:
// what is killed then has far more to do than a test waits for.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

/// `strata` with a terminal for standard error.
class Running {
 public:
  struct Streams {
    int out = -1;                 ///< standard output; -1: the file "out" of the workspace
    bool ignores_ctrl_c = false;  ///< as under nohup
  };

  Running(const Workspace& work, const std::string& arguments, const Streams& streams)
      : out_(work.path("out").string()) {
    terminal_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal_ < 0 || ::grantpt(terminal_) != 0 || ::unlockpt(terminal_) != 0) {
      throw std::runtime_error("no terminal");
    }
    const std::string name = ::ptsname(terminal_);
    const std::string command = "exec '" STRATA_BINARY "' " + arguments;
    const std::string folder = work.path("").string();
    child_ = ::fork();
    if (child_ != 0) return;
    // Between fork and exec: only calls that are safe there.
    ::signal(SIGINT, streams.ignores_ctrl_c ? SIG_IGN : SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int out = streams.out >= 0 ? streams.out : ::open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = ::open(name.c_str(), O_WRONLY | O_NOCTTY);
    if (out < 0 || err < 0 || ::chdir(folder.c_str()) != 0) ::_exit(126);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(terminal_);
  }

  /// Reads the terminal until it shows `text`. False when the program ended before.
  bool shows(const std::string& text) {
    while (shown_.find(text) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  void signal(int number) const { ::kill(child_, number); }
  /// Reads the terminal to its end. The status as of waitpid.
  int wait() {
    while (read_some()) {
    }
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return status;
  }
  const std::string& shown() const { return shown_; }

 private:
  bool read_some() {
    std::array<char, 4096> block{};
    ssize_t count = 0;
    do {
      count = ::read(terminal_, block.data(), block.size());
    } while (count < 0 && errno == EINTR);
    if (count <= 0) return false;  // EIO: nobody has the terminal any more
    shown_.append(block.data(), static_cast<std::size_t>(count));
    return true;
  }

  std::string out_;
  int terminal_ = -1;
  pid_t child_ = -1;
  std::string shown_;
};

const std::string kAllPacks =
    "compare --topology dgx_h100:8 --max 0 --recompute selective --strategies all --batches " +
    sample("codeparrot_128k_all.jsonl");
constexpr std::int64_t kAllRows = 781 * 6;

bool exited_with(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }

TEST(Interruption, CompareReportsWhatItHasDone) {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    const Workspace work;
    Running compare(work, kAllPacks + " --json", {});
    ASSERT_TRUE(compare.shows("comparing [")) << compare.shown();
    compare.signal(signal);
    EXPECT_TRUE(exited_with(compare.wait(), code)) << compare.shown();
    const JsonDocument document = parsed(work.read("out"));
    const auto rows = static_cast<std::int64_t>(member(document, "rows").size());
    EXPECT_EQ(member(document, "interrupted.rows").integer(0, kAllRows), rows);
    EXPECT_EQ(member(document, "interrupted.of").integer(0, kAllRows), kAllRows);
    EXPECT_GE(rows, 1);
    EXPECT_LT(rows, kAllRows);
    // Rows come batch by batch and in each in the order of the strategies.
    std::int64_t last = -1;
    for (const JsonValue row : member(document, "rows").items()) {
      const std::string name(member(row, "strategy").string());
      const auto& names = strategy_names();
      const std::int64_t place = member(row, "step").integer(0, kAllRows) * 6 +
                                 (std::find(names.begin(), names.end(), name) - names.begin());
      EXPECT_GT(place, last);
      last = place;
    }
    for (const char* part : {" of 781 batches compared with every strategy (", " of 4,686 rows)",
                             "strategy        mean step", "strata: interrupted: "}) {
      EXPECT_NE(compare.shown().find(part), std::string::npos) << part << '\n' << compare.shown();
    }
    EXPECT_EQ(work.files(), (std::vector<std::string>{"out"}));
  }
}

TEST(Interruption, CompareGivesTheTableToStandardOutput) {
  const Workspace work;
  Running compare(work, kAllPacks, {});
  ASSERT_TRUE(compare.shows("comparing [")) << compare.shown();
  compare.signal(SIGINT);
  EXPECT_TRUE(exited_with(compare.wait(), 130)) << compare.shown();
  const std::string table = work.read("out");
  EXPECT_NE(table.find("\n  interrupted: "), std::string::npos) << table;
  EXPECT_NE(table.find("\nwhole_document "), std::string::npos) << table;
}

TEST(Interruption, ASecondOneEndsTheReport) {
  const Workspace work;
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK), 0);
  while (::write(pipe[1], "x", 1) == 1) {  // until it is full: nobody reads the report
  }
  ASSERT_EQ(::fcntl(pipe[1], F_SETFL, 0), 0);
  Running compare(work, kAllPacks + " --json", {pipe[1], false});
  ASSERT_TRUE(compare.shows("comparing [")) << compare.shown();
  compare.signal(SIGINT);
  ASSERT_TRUE(compare.shows("interrupted: ")) << compare.shown();
  compare.signal(SIGINT);
  const int status = compare.wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status << compare.shown();
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(Interruption, WhatWasIgnoredStaysIgnored) {
  const Workspace work;
  Running compare(work, kAllPacks, {-1, true});
  ASSERT_TRUE(compare.shows("comparing [")) << compare.shown();
  compare.signal(SIGINT);
  compare.signal(SIGTERM);
  EXPECT_TRUE(exited_with(compare.wait(), 143)) << compare.shown();
}

TEST(Interruption, APlanEndsAtOnceAndLeavesNothing) {
  const Workspace work;
  Running plan(work,
               "plan --topology dgx_h100:128 --strategy all --recompute full -o plan.json --batch " +
                   sample("codeparrot_128k_all.jsonl") + ":1",
               {});
  ASSERT_TRUE(plan.shows("planning, ")) << plan.shown();
  plan.signal(SIGINT);
  const int status = plan.wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << plan.shown();
  EXPECT_EQ(work.files(), (std::vector<std::string>{"out"}));
  EXPECT_EQ(work.read("out"), "");
}

/// Their input is a pipe that gives nothing, so that they are caught in the middle of reading it.
TEST(Interruption, SimulateAndInspectEndAtOnceAndLeaveNothing) {
  for (const std::string command : {"simulate --timeline t.json --trace t.trace pipe", "inspect pipe"}) {
    const Workspace work;
    ASSERT_EQ(::mkfifo(work.path("pipe").c_str(), 0600), 0);
    Running running(work, command, {});
    const int pipe = ::open(work.path("pipe").c_str(), O_WRONLY | O_CLOEXEC);  // waits for its reader
    ASSERT_GE(pipe, 0);
    running.signal(SIGINT);
    const int status = running.wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << command << running.shown();
    EXPECT_EQ(work.files(), (std::vector<std::string>{"out", "pipe"})) << command;
    EXPECT_EQ(work.read("out"), "") << command;
    ::close(pipe);
  }
}

}  // namespace
}  // namespace strata::test
