// SPDX-License-Identifier: Apache-2.0
// What a command prints. With --json exactly one document goes to stdout, and all else goes to stderr.
// --quiet drops what is only for people. Names that come from files or the command line may have control
// characters; these are shown as escapes. Progress bars appear on stderr when it is a terminal.
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

  /// Prints a line (or lines) for people. It goes to stdout, or to stderr under --json. Nothing is printed
  /// under --quiet.
  void line(std::string_view text) const;
  /// Prints a line that is the result itself, such as a violation. It is printed under --quiet too.
  void result(std::string_view text) const;
  /// Writes the one JSON document to stdout when --json was given.
  void document(const std::function<void(JsonWriter&)>& write) const;
};

/// A table whose columns are aligned by content: text to the left, numbers to the right. Every row has as
/// many cells as the header.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

/// A bar on stderr while `total` units of work are done. It is not shown when stderr is no terminal, nor
/// under --quiet. Several threads may use one bar. It never goes back.
class Progress {
 public:
  Progress(const Output& output, std::string what, std::int64_t total);
  /// Clears the bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance(std::int64_t units = 1);
  /// Says that `units` are done in all. `what`, unless it is empty, is what is being done from here on.
  void reach(std::int64_t units, const std::string& what = "");
  /// Takes the bar away for good. What is printed afterwards stands alone.
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

/// Throws InputError when writing `outputs` would end in one, before the work is done whose results go there.
/// An empty path stands for no output. "-" is refused, because the report or the JSON document goes to
/// standard output. Two outputs in one file are refused, and so is an output that is one of `inputs`.
/// `inputs` may also have names of something else than files.
void expect_writable(const std::vector<std::string>& outputs, const std::vector<std::string>& inputs);

/// `text`, broken at spaces into lines of at most 110 columns. All lines but the first are indented.
std::string wrapped(std::string_view text, std::size_t indent);
/// "12.3 %".
std::string percent(double fraction);

}  // namespace strata::tools
