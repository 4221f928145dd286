// SPDX-License-Identifier: Apache-2.0
// Errors that every part may throw, and how each leaves the program: bad input (exit 2), a bug (exit 70).
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

/// What the user gave leads to a size that 64 bits do not count. A caller that tries several ways takes it as
/// a reason against one of them.
class UncountableError : public InputError {
 public:
  using InputError::InputError;
};

/// A condition that only a bug in Strata can break; the command line asks the user to report it.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
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
