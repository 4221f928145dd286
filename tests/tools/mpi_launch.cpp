// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/mpi_launch.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <thread>
#include <utility>

namespace strata::test {

namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience(60);
constexpr std::chrono::milliseconds kLook(20);

/// Leaves the number of its process where signal() finds it, then becomes the command.
const char* const kNoteNumber = R"(echo $$ > "$0/$OMPI_COMM_WORLD_RANK"; exec "$@")";

}  // namespace

MpiJobUnderTest::MpiJobUnderTest(const Workspace& work, const std::vector<Processes>& parts) {
  // Tests may run as root, in a container, on fewer cores than processes; a user decides that for himself.
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  std::vector<std::string> words{"mpirun", "--oversubscribe"};
  for (const Processes& part : parts) {
    if (words.size() > 2) words.emplace_back(":");
    const std::vector<std::string> start = {"-np",       std::to_string(part.count), "sh", "-c",
                                            kNoteNumber, streams_.path(".").string()};
    words.insert(words.end(), start.begin(), start.end());
    words.insert(words.end(), part.command.begin(), part.command.end());
  }
  mpirun_ = start_program(STRATA_MPIRUN, std::move(words), work.path("."), streams_.path("out"),
                          streams_.path("err"));
}

MpiJobUnderTest::~MpiJobUnderTest() {
  if (mpirun_ < 0) return;
  ::kill(mpirun_, SIGTERM);
  ::waitpid(mpirun_, nullptr, 0);
}

std::string MpiJobUnderTest::read(const std::string& name) const {
  return streams_.has(name) ? streams_.read(name) : "";
}

void MpiJobUnderTest::wait_until_running(std::chrono::milliseconds into) const {
  const auto end = steady_clock::now() + kPatience;
  while ((read("out") + read("err")).find(" in ") == std::string::npos) {
    ASSERT_LT(steady_clock::now(), end) << read("out") << read("err");
    std::this_thread::sleep_for(kLook);
  }
  std::this_thread::sleep_for(into);
}

void MpiJobUnderTest::signal(int process, int signal) const {
  const int number = std::atoi(read(std::to_string(process)).c_str());
  ASSERT_GT(number, 1) << "process " << process;
  ASSERT_EQ(::kill(number, signal), 0) << "process " << process << " has ended: " << read("err");
}

Finished MpiJobUnderTest::wait(std::chrono::seconds patience) {
  const auto end = steady_clock::now() + patience;
  int status = 0;
  while (::waitpid(mpirun_, &status, WNOHANG) == 0) {
    if (steady_clock::now() > end) {
      ADD_FAILURE() << "the job has not ended: " << read("out") << read("err");
      ::kill(mpirun_, SIGTERM);
      ::waitpid(mpirun_, &status, 0);
      break;
    }
    std::this_thread::sleep_for(kLook);
  }
  mpirun_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read("out"), read("err")};
}

std::vector<std::string> strata_command(const std::string& arguments, const std::string& limit) {
  std::vector<std::string> words;
  if (!limit.empty()) words = {"sh", "-c", "ulimit " + limit + R"(; exec "$0" "$@")"};
  words.emplace_back(STRATA_BINARY);
  std::istringstream rest(arguments);
  for (std::string word; rest >> word;) words.push_back(word);
  return words;
}

Finished run_job(const Workspace& work, int count, const std::string& arguments) {
  return MpiJobUnderTest(work, {{count, strata_command(arguments)}}).wait();
}

}  // namespace strata::test
