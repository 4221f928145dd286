// SPDX-License-Identifier: Apache-2.0
// Processes of a test that meet through files: children of the test program, forked, each reporting how it
// ended, and the folder they share.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executor/job/file_control.hpp"

namespace strata::testing {

/// An empty folder for one test.
class SharedPlace {
 public:
  SharedPlace();
  ~SharedPlace();
  SharedPlace(const SharedPlace&) = delete;
  SharedPlace& operator=(const SharedPlace&) = delete;
  const std::filesystem::path& path() const { return path_; }
  /// Paths of everything below it, relative to it, sorted.
  std::vector<std::string> files() const;
  /// Returns once something there has a path that ends so.
  void wait_for(const std::string& end) const;

 private:
  std::filesystem::path path_;
};

/// How a child ended. `code` is 128 + signal when a signal ended it, 1 when its body threw `text`.
struct Ended {
  int code = -1;
  std::string text;
  bool operator==(const Ended&) const = default;
};

class Child {
 public:
  /// Forks. The body's result is its text when it does not throw.
  explicit Child(const std::function<std::string()>& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void kill() const;
  Ended wait();

 private:
  pid_t child_ = -1;
  int pipe_ = -1;
};

/// A child per process, each of which joins job "job" and then runs `body`.
using JobBody = std::function<std::string(Control&)>;
std::unique_ptr<Child> start_process(const SharedPlace& place, std::int32_t process, std::int32_t processes,
                                     Duration deadline, const JobBody& body);
/// All of them at once; how each ended, by process.
std::vector<Ended> run_file_job(const SharedPlace& place, std::int32_t processes, Duration deadline,
                                const JobBody& body);

}  // namespace strata::testing
