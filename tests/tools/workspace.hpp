// SPDX-License-Identifier: Apache-2.0
// An empty folder per test in which the built `strata` is run as a user would: arguments in, exit code,
// standard output and standard error out.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/json/json_document.hpp"

namespace strata::test {

/// How a run of the program ended. `code` is 128 + signal when a signal ended it.
struct Finished {
  int code = -1;
  std::string out, err;
};

class Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Runs `strata` with these arguments in this folder (or the folder `inside` of it).
  Finished strata(const std::vector<std::string>& arguments, const std::string& inside = ".") const;
  /// The same for a command line that is split at spaces.
  Finished strata(const std::string& arguments) const;
  /// As above; fails the test unless the exit code is `code`.
  Finished expect(int code, const std::string& arguments) const;
  /// Lines of a shell, in this folder.
  Finished script(const std::string& text) const;

  void write(const std::string& name, const std::string& text) const;
  std::string read(const std::string& name) const;
  /// Replaces the first `from` of a file, which must occur.
  void edit(const std::string& name, const std::string& from, const std::string& to) const;
  bool has(const std::string& name) const;
  /// Names of everything in the folder, sorted.
  std::vector<std::string> files() const;
  std::filesystem::path path(const std::string& name) const { return folder_ / name; }

 private:
  Finished run(const char* program, const std::vector<std::string>& arguments,
               const std::string& inside) const;
  std::filesystem::path folder_;
};

/// Starts `program` in `folder` with these words as argv (argv[0] included), nothing to read, and its streams
/// written to `out` and `err`.
pid_t start_program(const std::string& program, std::vector<std::string> words,
                    const std::filesystem::path& folder, const std::filesystem::path& out,
                    const std::filesystem::path& err);
/// The bytes of a file; none when it cannot be read.
std::string file_text(const std::filesystem::path& path);
/// The strategies of the program under test, in the order of its tables.
const std::vector<std::string>& strategy_names();
/// A file of traces/samples, whole path.
std::string sample(const std::string& name);
/// How many of `normal` cases to run: a few when STRATA_TEST_SCALE is small.
int scaled(int normal, int small);
/// `text` as one JSON document; the test fails with the reader's message when it is none.
JsonDocument parsed(const std::string& text);
/// The member at a way such as "check.passed"; the test fails when it is missing.
JsonValue member(const JsonDocument& document, const std::string& way);
JsonValue member(JsonValue value, const std::string& way);
/// Keys of an object in file order.
std::vector<std::string> keys(JsonValue object);

}  // namespace strata::test
