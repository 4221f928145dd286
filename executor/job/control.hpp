// SPDX-License-Identifier: Apache-2.0
// The control path of a job of several processes: small messages between them, what is built on those
// (all-gather, barrier), and the end of the whole job. Payload goes another way (transport.hpp). Every wait
// has a deadline: a process that is gone or stopped becomes an error that names it, never a hang.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/check.hpp"
#include "core/base/units.hpp"
#include "executor/device_error.hpp"
#include "executor/run.hpp"

namespace strata {

/// The monotonic clock that all times of a run are read from.
inline std::int64_t monotonic_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Another process, or the way to it, failed.
class TransportError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

/// Another process ended the job with abort(), after it printed why: there is nothing to add.
class JobEnded : public TransportError {
 public:
  JobEnded(const std::string& text, int code) : TransportError(-1, text), code_(code) {}
  int code() const { return code_; }  ///< the one it ended with

 private:
  int code_;
};

/// How long nothing has happened, against a deadline. A gap between two looks at the clock counts one second
/// at most. In a longer one the job itself was stopped or its machine slept, and its peers are owed their
/// time.
class Patience {
 public:
  explicit Patience(Duration deadline) : deadline_(deadline) {}
  void reset() { waited_ns_ = 0; }
  bool exhausted(std::int64_t now_ns);

 private:
  Duration deadline_;
  std::int64_t waited_ns_ = 0, last_ns_ = 0;
};

class Control {
 public:
  /// `deadline` is that of every wait. The larger a process's number, the later it gives up (by up to four
  /// seconds), so that normally one process reports what all of them notice.
  Control(std::int32_t process, std::int32_t processes, Duration deadline);
  virtual ~Control() = default;
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  std::int32_t process() const { return process_; }
  std::int32_t processes() const { return processes_; }
  Duration deadline() const { return deadline_; }
  /// The time this process waits before it reports.
  Duration patience() const;
  /// The ranks, of `ranks`, that `process` runs: rank r is run by process r * processes / ranks.
  RankBlock block(std::int32_t process, std::int32_t ranks) const;
  /// To be called once the number is known, so that errors name ranks.
  void set_rank_count(std::int32_t ranks) { ranks_ = ranks; }
  /// "rank 3", "ranks 4-7", or "process 1" while the number of ranks is not known or when it has none.
  std::string name(std::int32_t process) const;
  /// The names of several processes: the first few, "all ranks" when it is everybody.
  std::string names(const std::vector<std::int32_t>& processes) const;

  /// Messages between two processes arrive in order. `what` says what is being done, for the error:
  /// TransportError when the other process does not take part within the deadline.
  virtual void send(std::int32_t to, std::span<const std::byte> message, std::string_view what) = 0;
  virtual std::vector<std::byte> receive(std::int32_t from, std::string_view what) = 0;
  /// Ends every process of the job and does not return. This process ends at once with the exit code. The
  /// others end as well, or get JobEnded out of their next wait. This is for errors that the others do not
  /// know of; print the reason first. `clean_up` runs after the others were told, where that is possible, so
  /// that what it does to them is no news.
  [[noreturn]] void abort(int code, const std::function<void()>& clean_up = nullptr);
  /// Throws JobEnded when another process has ended the job (TransportError when there is no way to tell any
  /// more). It never waits, so long waits for something else can call it at every look. It does nothing where
  /// the end of a job ends all of its processes anyway.
  virtual void check_alive() {}
  /// Collective: leaves the job. Nothing but process() may be called afterwards.
  virtual void finish() = 0;

  /// Collective. Every process's text, by process; all processes get the same.
  std::vector<std::string> all_gather(std::string_view text, std::string_view what);
  void barrier(std::string_view what) { all_gather("", what); }

 protected:
  /// Tells the others, without ending this process. Does nothing where the two cannot be told apart.
  virtual void announce_end(int) {}
  /// Does the rest of what abort() promises as far as it can.
  virtual void end_job(int code) = 0;
  /// The error of waiting too long for `peer`, or for several, as text.
  [[noreturn]] void give_up(std::int32_t peer, std::string_view what) const { give_up(name(peer), what); }
  [[noreturn]] void give_up(const std::string& peers, std::string_view what) const;

 private:
  std::int32_t process_, processes_, ranks_ = 0;
  Duration deadline_;
};

}  // namespace strata
