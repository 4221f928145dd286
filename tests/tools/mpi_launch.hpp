// SPDX-License-Identifier: Apache-2.0
// Jobs of several `strata` processes under mpirun, as a user would start them, and what a test does to them
// while they run.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {

/// One part of an mpirun command line: so many processes of the same command.
struct Processes {
  int count = 1;
  std::vector<std::string> command;
};

class MpiJobUnderTest {
 public:
  /// Starts mpirun in the folder of `work`; its streams go to files elsewhere.
  MpiJobUnderTest(const Workspace& work, const std::vector<Processes>& parts);
  ~MpiJobUnderTest();
  MpiJobUnderTest(const MpiJobUnderTest&) = delete;
  MpiJobUnderTest& operator=(const MpiJobUnderTest&) = delete;

  /// Until process 0 has said that all processes agree and run, and then for as long as brings them `into`
  /// the first layers; fails the test when process 0 never says it.
  void wait_until_running(std::chrono::milliseconds into = std::chrono::milliseconds(700)) const;
  void signal(int process, int signal) const;
  /// The end of mpirun. Fails the test, and ends the job, when it takes longer than `patience`.
  Finished wait(std::chrono::seconds patience = std::chrono::seconds(60));

 private:
  std::string read(const std::string& name) const;
  Workspace streams_;
  pid_t mpirun_ = -1;
};

/// `strata` with these arguments; under `limit` (an `ulimit` option, say "-v 1000000") where one is given.
std::vector<std::string> strata_command(const std::string& arguments, const std::string& limit = "");
/// Runs a job of `count` equal processes to its end.
Finished run_job(const Workspace& work, int count, const std::string& arguments);

}  // namespace strata::test
