// SPDX-License-Identifier: Apache-2.0
// What a command prints. With --json exactly one document goes to stdout and all else to stderr; --quiet
// drops what is only for people. Control characters in names that files or the command line gave are shown as
// escapes. Progress bars appear on stderr when it is a terminal.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace strata {
class JsonWriter;
}

namespace strata::tools {

class Output {
 public:
  bool json = false;
  bool quiet = false;
  std::uint64_t seed = 0;

  /// A line (or lines) for people: stdout, or stderr under --json; nothing under --quiet.
  void line(std::string_view text) const;
  /// A line that is the result itself (a violation, say): printed under --quiet too.
  void result(std::string_view text) const;
  /// Writes the one JSON document to stdout when --json was given.
  void document(const std::function<void(JsonWriter&)>& write) const;
};

/// Columns aligned by content: text left, numbers right. Rows are as wide as the header.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

/// A bar on stderr while `total` units of work are done; silent when stderr is no terminal or --quiet.
/// Several threads may use one. It never goes back.
class Progress {
 public:
  Progress(const Output& output, std::string what, std::int64_t total);
  /// As clear().
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance(std::int64_t units = 1);
  /// That `units` are done, and from here on, unless empty, what is being done.
  void reach(std::int64_t units, const std::string& what = "");
  /// Takes the bar away for good: what is printed from here on stands alone.
  void clear();

 private:
  void show(std::int64_t units);
  void draw() const;
  std::mutex mutex_;  ///< of everything below
  std::string what_;
  std::int64_t total_ = 0, done_ = 0;
  int drawn_percent_ = -1;
  bool visible_ = false;
};

/// Throws the InputError that writing `outputs` would end in, before the work is done whose results go there.
/// An empty path is none. "-" is refused: standard output is where the report or the JSON document goes. So
/// are two outputs in one file, and a file that is among `inputs`, which may also be names of something else.
void expect_writable(const std::vector<std::string>& outputs, const std::vector<std::string>& inputs);

/// Broken at spaces into lines of at most 110 columns, all but the first indented.
std::string wrapped(std::string_view text, std::size_t indent);
/// "12.3 %".
std::string percent(double fraction);

}  // namespace strata::tools
