// SPDX-License-Identifier: Apache-2.0
#include "executor/job/file_control.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <random>
#include <sstream>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include "core/base/digest.hpp"
#include "executor/job/shared_folder.hpp"

namespace strata {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLeaving = "leaving the job";
/// Of a process that fails while it joins.
constexpr int kFailed = 4;
/// Files of the job's folder.
constexpr const char* kWelcome = "welcome";
constexpr std::string_view kHello = "hello.", kSession = "session-";
/// Files of the session's folder.
constexpr const char* kComplete = "complete";
constexpr const char* kEnded = "ended";

constexpr std::chrono::milliseconds kJoinNap(5);
/// Between two looks for the end of the job.
constexpr std::int64_t kLookNs = 20'000'000;

/// When a wait stirs the folder it looks into, less and less often.
class Stirring {
 public:
  void begin(std::int64_t now_ns) {
    gap_ns_ = kFirstGapNs;
    next_ns_ = now_ns + gap_ns_;
  }
  bool is_due(std::int64_t now_ns) {
    if (now_ns < next_ns_) return false;
    gap_ns_ = std::min(2 * gap_ns_, kLongestGapNs);
    next_ns_ = now_ns + gap_ns_;
    return true;
  }

 private:
  static constexpr std::int64_t kFirstGapNs = 10'000'000, kLongestGapNs = 1'000'000'000;
  std::int64_t gap_ns_ = kFirstGapNs, next_ns_ = 0;
};

/// A wait yields for a millisecond and then naps, the longer the longer it has lasted.
void pause_in_wait(std::int64_t waited_ns) {
  constexpr std::int64_t kYieldNs = 1'000'000, kShortestNs = 100'000, kLongestNs = 2'000'000;
  if (waited_ns < kYieldNs) return std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::nanoseconds(std::clamp(waited_ns / 32, kShortestNs, kLongestNs)));
}

std::string random_number() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

/// A job's id may hold anything; names of folders may not.
std::string folder_name(const std::string& job) {
  constexpr std::size_t kLongest = 80;
  std::string safe = job.substr(0, kLongest);
  for (char& c : safe) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '-') c = '_';
  }
  return "strata-" + safe + (safe == job ? "" : "-" + digest_of(job));
}

std::string hello_file(std::int32_t process) { return fmt::format("{}{}", kHello, process); }
std::string message_file(std::int32_t from, std::int32_t to, std::uint64_t number) {
  return fmt::format("{}-{}.{}", from, to, number);
}
std::string acknowledgement_file(std::int32_t process) { return fmt::format("joined.{}", process); }

class FileJob final : public Control {
 public:
  FileJob(const fs::path& directory, std::string job, std::int32_t process, std::int32_t processes,
          Duration deadline)
      : Control(process, processes, deadline),
        job_id_(std::move(job)),
        job_(directory / folder_name(job_id_)),
        what_(fmt::format("joining job {} in {}", job_id_, directory.string())),
        sent_(static_cast<std::size_t>(processes)),
        received_(sent_.size()) {}

  /// Leaves its hello behind neither when it succeeds nor when it fails.
  void join();

  void send(std::int32_t to, std::span<const std::byte> message, std::string_view what) override {
    guarded(what, [&] {
      std::uint64_t& number = sent_[static_cast<std::size_t>(to)];
      session_.publish(message_file(process(), to, number), message);
      ++number;
    });
  }

  std::vector<std::byte> receive(std::int32_t from, std::string_view what) override {
    return guarded(what, [&] { return wait_for(from, what); });
  }

  void check_alive() override {
    guarded("", [&] { look(""); });
  }

  void finish() override {
    barrier(kLeaving);
    if (process() > 0) return send(0, {}, kLeaving);
    // Then nobody looks into the session's folder any more.
    for (std::int32_t other = 1; other < processes(); ++other) receive(other, kLeaving);
    std::error_code ignored;
    fs::remove_all(session_.path(), ignored);
    fs::remove(job_.path(), ignored);
  }

 protected:
  void announce_end(int code) override {
    try {
      const std::string said_by = std::to_string(process());
      if (!session_.read(kEnded)) session_.publish(kEnded, fmt::format("{} {}", process(), code), said_by);
    } catch (const std::exception&) {
      return;  // the others wait until their deadline
    }
  }
  void end_job(int) override {}

 private:
  std::string hello() const { return fmt::format("{} of {}", number_, processes()); }
  void say_hello() const;
  void stand_by_hello() const;
  void remove_own_notes() const;
  void gather();
  std::vector<std::string> heard() const;
  std::vector<std::int32_t> missing(const std::vector<std::string>& numbers) const;
  void clear_leftovers(const std::vector<std::string>& names) const;
  void attend();
  void follow_welcome();

  /// How a line of this process about what it is doing begins.
  std::string said(std::string_view what) const {
    return what.empty() ? name(process()) : fmt::format("{}: {}", name(process()), what);
  }
  template <typename Action>
  std::invoke_result_t<Action> guarded(std::string_view what, const Action& action) const {
    try {
      return action();
    } catch (const std::system_error& error) {
      throw TransportError(-1, fmt::format("{}: {}", said(what), error.what()));
    }
  }
  void stir_while_joining();
  std::vector<std::byte> wait_for(std::int32_t from, std::string_view what);
  void look(std::string_view what);
  void look_for_mark(std::string_view what) const;

  std::string job_id_;
  SharedFolder job_, session_;
  std::string what_;
  std::string number_ = random_number();        ///< tells this process from all that ever had its place
  std::vector<std::uint64_t> sent_, received_;  ///< messages, per process
  std::int64_t looked_ns_ = 0;
  Stirring stirring_;
};

void FileJob::join() {
  try {
    say_hello();
    if (process() == 0) {
      gather();
    } else {
      attend();
    }
    remove_own_notes();
  } catch (const std::exception& error) {
    // The others need not wait for this one any more.
    if (!session_.path().empty() && dynamic_cast<const JobEnded*>(&error) == nullptr) announce_end(kFailed);
    remove_own_notes();
    throw;
  }
}

void FileJob::say_hello() const {
  // A job of the same id that is just leaving may remove the folder before there is something in it.
  constexpr int kAttempts = 100;
  for (int attempt = 1;; ++attempt) {
    job_.make();
    try {
      return job_.publish(hello_file(process()), hello(), number_);
    } catch (const std::system_error& error) {
      if (error.code() != std::errc::no_such_file_or_directory || attempt == kAttempts) throw;
    }
  }
}

void FileJob::stand_by_hello() const {
  const auto found = job_.read_text(hello_file(process()));
  if (!found) return say_hello();
  if (*found == hello()) return;
  throw TransportError(-1, fmt::format("{}: another process {} has come; two jobs at a time need two ids",
                                       said(what_), process()));
}

void FileJob::remove_own_notes() const {
  try {
    if (job_.read_text(hello_file(process())) == hello()) job_.remove(hello_file(process()));
    if (process() == 0 && job_.read_text(kWelcome).value_or("").starts_with(number_)) job_.remove(kWelcome);
  } catch (const std::system_error&) {
    return;  // leftovers; the next job of this id replaces them
  }
}

/// Both folders: the hellos and the welcome are in one, what follows them in the other.
void FileJob::stir_while_joining() {
  if (!stirring_.is_due(monotonic_ns())) return;
  job_.stir(number_);
  if (!session_.path().empty()) session_.stir(number_);
}

/// Process 0's side: holds the door open until everybody is in.
void FileJob::gather() {
  const std::vector<std::string> leftovers = job_.names();
  session_ = SharedFolder(job_.path() / (std::string(kSession) + number_));
  session_.make();
  std::vector<std::string> numbers;
  stirring_.begin(monotonic_ns());
  for (Patience left(patience());; std::this_thread::sleep_for(kJoinNap)) {
    stir_while_joining();
    job_.refresh();
    stand_by_hello();
    numbers = heard();
    const std::string welcome = fmt::format("{}\n{}\n", number_, fmt::join(numbers, "\n"));
    if (job_.read_text(kWelcome) != welcome) job_.publish(kWelcome, welcome, number_);
    look(what_);
    const std::vector<std::int32_t> absent = missing(numbers);
    if (absent.empty()) break;
    if (left.exhausted(monotonic_ns())) give_up(names(absent), what_);
  }
  session_.publish(kComplete, "");
  clear_leftovers(leftovers);
}

/// [process] the number of the process that says hello, whether it lives or not; "-" where none does.
std::vector<std::string> FileJob::heard() const {
  std::vector<std::string> numbers;
  const std::string end = fmt::format(" of {}", processes());
  for (std::int32_t each = 0; each < processes(); ++each) {
    const std::string text = job_.read_text(hello_file(each)).value_or("");
    const bool fits = text.size() == number_.size() + end.size() && text.ends_with(end);
    numbers.push_back(fits ? text.substr(0, number_.size()) : "-");
  }
  return numbers;
}

/// Those that have not acknowledged the session under the number they now bear.
std::vector<std::int32_t> FileJob::missing(const std::vector<std::string>& numbers) const {
  std::vector<std::int32_t> absent;
  for (std::int32_t other = 1; other < processes(); ++other) {
    const auto acknowledged = session_.read_text(acknowledgement_file(other));
    if (acknowledged != numbers[static_cast<std::size_t>(other)]) absent.push_back(other);
  }
  return absent;
}

/// `names`: what lay in the job's folder before this session.
void FileJob::clear_leftovers(const std::vector<std::string>& names) const {
  const auto is_ours = [&](const std::string& name) {
    if (name == kWelcome) return true;
    for (std::int32_t each = 0; each < processes(); ++each) {
      if (name == hello_file(each)) return true;
    }
    return false;
  };
  for (const std::string& name : names) {
    std::error_code ignored;
    if (!is_ours(name)) fs::remove_all(job_.path() / name, ignored);
  }
}

/// The side of the others.
void FileJob::attend() {
  stirring_.begin(monotonic_ns());
  for (Patience left(patience());; std::this_thread::sleep_for(kJoinNap)) {
    stir_while_joining();
    job_.refresh();
    follow_welcome();
    if (!session_.path().empty() && session_.refresh()) {
      if (session_.read(kComplete)) return;
      look_for_mark(what_);
    }
    stand_by_hello();
    if (left.exhausted(monotonic_ns())) give_up(0, what_);
  }
}

/// Acknowledges the session that process 0 welcomes this one to. It may be one of a process 0 of an earlier
/// job that is about to end; then the welcome changes.
void FileJob::follow_welcome() {
  std::istringstream lines(job_.read_text(kWelcome).value_or(""));
  std::vector<std::string> words;
  for (std::string line; std::getline(lines, line);) words.push_back(line);
  if (std::ssize(words) != processes() + 1 || words[static_cast<std::size_t>(process()) + 1] != number_) {
    return;
  }
  SharedFolder session(job_.path() / (std::string(kSession) + words[0]));
  if (session.path() == session_.path() || !session.refresh()) return;
  session_ = std::move(session);
  session_.publish(acknowledgement_file(process()), number_, number_);
}

std::vector<std::byte> FileJob::wait_for(std::int32_t from, std::string_view what) {
  std::uint64_t& number = received_[static_cast<std::size_t>(from)];
  const std::string file = message_file(from, process(), number);
  Patience left(patience());
  stirring_.begin(monotonic_ns());
  for (const std::int64_t begin = monotonic_ns();;) {
    if (auto message = session_.read(file)) {
      session_.remove(file);
      ++number;
      return std::move(*message);
    }
    const std::int64_t now = monotonic_ns();
    if (stirring_.is_due(now)) session_.stir(number_);
    session_.refresh();
    look(what);
    if (left.exhausted(now)) give_up(from, what);
    pause_in_wait(now - begin);
  }
}

void FileJob::look(std::string_view what) {
  const std::int64_t now = monotonic_ns();
  if (now - looked_ns_ < kLookNs) return;
  looked_ns_ = now;
  if (stirring_.is_due(now)) session_.stir(number_);
  const bool is_there = session_.refresh();
  look_for_mark(what);
  if (!is_there) {
    throw TransportError(-1, fmt::format("{}: {} has been removed", said(what), session_.path().string()));
  }
}

void FileJob::look_for_mark(std::string_view what) const {
  const auto mark = session_.read_text(kEnded);
  if (!mark) return;
  std::istringstream words(*mark);
  std::int32_t who = 0;
  int code = kFailed;
  words >> who >> code;
  throw JobEnded(fmt::format("{}: {} has ended the job with code {}", said(what), name(who), code), code);
}

}  // namespace

std::unique_ptr<Control> join_by_files(const std::filesystem::path& directory, const std::string& job,
                                       std::int32_t process, std::int32_t processes, Duration deadline) {
  auto control = std::make_unique<FileJob>(directory, job, process, processes, deadline);
  try {
    control->join();
  } catch (const std::system_error& error) {
    throw InputError(directory.string(), error.code().message(),
                     "a folder that all processes of the job can write to");
  }
  return control;
}

}  // namespace strata
