// SPDX-License-Identifier: Apache-2.0
// The error kinds of Strata and how each leaves the program: bad input (exit 2), a device or transport
// that failed (exit 4), a bug in Strata (exit 70). "No plan" is a value (Rejection), not an exception.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace strata {

/// Something the user gave is wrong. `what()` is one line: where, what was found, what was expected.
class InputError : public std::runtime_error {
 public:
  /// `where`: file, optionally with a JSON path or line ("plan.json: waves[0].groups"); may be empty.
  InputError(std::string where, std::string found, std::string expected);
  const std::string& where() const { return where_; }
  const std::string& found() const { return found_; }
  const std::string& expected() const { return expected_; }

 private:
  std::string where_, found_, expected_;
};

/// A size that 64 bits do not count follows from what the user gave. A planner makes it the Rejection of one
/// strategy.
class UncountableError : public InputError {
 public:
  using InputError::InputError;
};

/// A condition that only a bug in Strata can break; the command line asks the user to report it.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// A device or a transport failed on `rank` (-1: not tied to one rank).
class DeviceError : public std::runtime_error {
 public:
  DeviceError(int rank, const std::string& message);
  int rank() const { return rank_; }

 private:
  int rank_;
};

/// Why a strategy, or every strategy, cannot serve a request. A value: the planner collects them.
struct Rejection {
  std::string strategy;
  std::string reason;
  bool operator==(const Rejection&) const = default;
};

[[noreturn]] void throw_internal_error(const char* condition, const char* file, int line,
                                       const std::string& sentence);

}  // namespace strata

/// Always on, in release too. The sentence says what must hold and prints the values (fmt syntax).
#define STRATA_CHECK(condition, ...)                                                              \
  do {                                                                                            \
    if (!(condition)) [[unlikely]]                                                                \
      ::strata::throw_internal_error(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
  } while (false)
