// SPDX-License-Identifier: Apache-2.0
#include "tests/executor/file_job.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <thread>

namespace strata::testing {

namespace {

namespace fs = std::filesystem;

void write_text(int descriptor, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(descriptor, text.data() + done, text.size() - done);
    if (written <= 0) ::_exit(126);
    done += static_cast<std::size_t>(written);
  }
}

}  // namespace

SharedPlace::SharedPlace() {
  std::string name = (fs::temp_directory_path() / "strata_files_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder: " + name);
  path_ = name;
}

SharedPlace::~SharedPlace() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<std::string> SharedPlace::files() const {
  std::vector<std::string> found;
  // By hand: others add and remove while this looks, which a recursive iterator takes for an error.
  std::vector<fs::path> folders{path_};
  while (!folders.empty()) {
    const fs::path folder = folders.back();
    folders.pop_back();
    std::error_code gone;
    for (fs::directory_iterator at(folder, gone), end; !gone && at != end; at.increment(gone)) {
      found.push_back(at->path().lexically_relative(path_).string());
      std::error_code unknown;
      if (at->is_directory(unknown)) folders.push_back(at->path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

void SharedPlace::wait_for(const std::string& end) const {
  while (true) {
    const std::vector<std::string> found = files();
    if (std::any_of(found.begin(), found.end(), [&](const auto& name) { return name.ends_with(end); }))
      return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Child::Child(const std::function<std::string()>& body) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
  child_ = ::fork();
  if (child_ < 0) throw std::runtime_error("fork failed");
  if (child_ == 0) {
    ::close(ends[0]);
    try {
      write_text(ends[1], body());
      ::_exit(0);
    } catch (const std::exception& error) {
      write_text(ends[1], error.what());
      ::_exit(1);
    }
  }
  ::close(ends[1]);
  pipe_ = ends[0];
}

Child::~Child() {
  if (child_ > 0) {
    kill();
    wait();
  }
}

void Child::kill() const { ::kill(child_, SIGKILL); }

Ended Child::wait() {
  Ended ended;
  std::array<char, 4096> piece{};
  for (ssize_t got = 0; (got = ::read(pipe_, piece.data(), piece.size())) > 0;) {
    ended.text.append(piece.data(), static_cast<std::size_t>(got));
  }
  ::close(pipe_);
  int status = 0;
  if (::waitpid(child_, &status, 0) != child_) throw std::runtime_error("waitpid failed");
  child_ = -1;
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

std::unique_ptr<Child> start_process(const SharedPlace& place, std::int32_t process, std::int32_t processes,
                                     Duration deadline, const JobBody& body) {
  return std::make_unique<Child>([&] {
    const auto control = join_by_files(place.path(), "job", process, processes, deadline);
    return body(*control);
  });
}

std::vector<Ended> run_file_job(const SharedPlace& place, std::int32_t processes, Duration deadline,
                                const JobBody& body) {
  std::vector<std::unique_ptr<Child>> children;
  children.reserve(static_cast<std::size_t>(processes));
  for (std::int32_t process = 0; process < processes; ++process) {
    children.push_back(start_process(place, process, processes, deadline, body));
  }
  std::vector<Ended> ended;
  ended.reserve(children.size());
  for (const auto& child : children) ended.push_back(child->wait());
  return ended;
}

}  // namespace strata::testing
