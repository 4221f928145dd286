// SPDX-License-Identifier: Apache-2.0
#include "tools/output.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "core/base/check.hpp"
#include "core/base/visible_text.hpp"
#include "core/json/json_writer.hpp"

namespace strata::tools {

void Output::line(std::string_view text) const {
  if (quiet) return;
  result(text);
}

void Output::result(std::string_view text) const {
  if (text.ends_with('\n')) text.remove_suffix(1);
  (json ? std::cerr : std::cout) << visible_text(text, LineEnds::kept) << '\n';
}

void Output::document(const std::function<void(JsonWriter&)>& write) const {
  if (!json) return;
  JsonWriter writer(std::cout);
  write(writer);
  writer.finish();
  std::cout.flush();
}

namespace {

bool looks_numeric(const std::string& cell) {
  return !cell.empty() && (std::isdigit(static_cast<unsigned char>(cell.front())) != 0 ||
                           ((cell.front() == '-' || cell.front() == '+') && cell.size() > 1));
}

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> width(header_.size());
  std::vector<bool> right(header_.size(), !rows_.empty());
  for (std::size_t c = 0; c < header_.size(); ++c) width[c] = header_[c].size();
  for (const auto& row : rows_) {
    for (std::size_t c = 0; c < header_.size() && c < row.size(); ++c) {
      width[c] = std::max(width[c], row[c].size());
      if (!looks_numeric(row[c]) && row[c] != "-" && !row[c].empty()) right[c] = false;
    }
  }
  std::string text;
  const auto add_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t c = 0; c < header_.size(); ++c) {
      const std::string cell = c < row.size() ? row[c] : "";
      line += right[c] ? fmt::format("{:>{}}", cell, width[c]) : fmt::format("{:<{}}", cell, width[c]);
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  };
  add_row(header_);
  for (const auto& row : rows_) add_row(row);
  if (!text.empty()) text.pop_back();
  return text;
}

Progress::Progress(const Output& output, std::string what, std::int64_t total)
    : what_(std::move(what)),
      total_(total),
      visible_(!output.quiet && total > 1 && isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  const std::lock_guard lock(mutex_);
  if (visible_ && drawn_percent_ >= 0) std::cerr << "\r\033[K" << std::flush;
  visible_ = false;
}

void Progress::advance(std::int64_t units) {
  const std::lock_guard lock(mutex_);
  show(done_ + units);
}

void Progress::reach(std::int64_t units, const std::string& what) {
  const std::lock_guard lock(mutex_);
  if (!what.empty() && what != what_) {
    if (visible_ && drawn_percent_ >= 0) std::cerr << "\r\033[K";  // the next text may be shorter
    what_ = what;
    drawn_percent_ = -1;
  }
  show(units);
}

void Progress::show(std::int64_t units) {
  done_ = std::max(done_, units);
  const int now = static_cast<int>(total_ > 0 ? done_ * 100 / total_ : 100);
  if (!visible_ || now == drawn_percent_) return;
  drawn_percent_ = now;
  draw();
}

void Progress::draw() const {
  constexpr int kCells = 30;
  const int filled = std::clamp(drawn_percent_ * kCells / 100, 0, kCells);
  std::cerr << fmt::format("\r{} [{}{}] {}%", what_, std::string(static_cast<std::size_t>(filled), '#'),
                           std::string(static_cast<std::size_t>(kCells - filled), '.'), drawn_percent_)
            << std::flush;
}

namespace {

void expect_writable(const std::string& path) {
  if (path == "-") throw InputError(path, "standard output", "a file name, such as ./- or /dev/stdout");
  const auto fail = [&](int error) {
    throw InputError(path, std::strerror(error), "a file that can be written");
  };
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (error == std::errc::filename_too_long) fail(ENAMETOOLONG);
  if (std::filesystem::is_directory(status)) fail(EISDIR);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) return;  // a pipe
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (access(folder.empty() ? "." : folder.c_str(), W_OK) != 0) fail(errno);
}

/// Whether writing one would replace the other. Pipes and devices take everything one after another.
bool same_file(const std::string& one, const std::string& other) {
  std::error_code error;
  if (std::filesystem::exists(one, error) && std::filesystem::exists(other, error)) {
    return std::filesystem::is_regular_file(one, error) && std::filesystem::equivalent(one, other, error);
  }
  const std::filesystem::path whole = std::filesystem::weakly_canonical(one, error);
  return !error && whole == std::filesystem::weakly_canonical(other, error);
}

}  // namespace

void expect_writable(const std::vector<std::string>& outputs, const std::vector<std::string>& inputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string& path = outputs[i];
    if (path.empty()) continue;
    expect_writable(path);
    for (std::size_t j = 0; j < i; ++j) {
      if (!outputs[j].empty() && same_file(outputs[j], path)) {
        throw InputError(path, "two results in one file", "a file for each");
      }
    }
    for (const std::string& input : inputs) {
      if (!input.empty() && same_file(input, path)) {
        throw InputError(path, "a file that this command reads", "another file to write");
      }
    }
  }
}

std::string wrapped(std::string_view text, std::size_t indent) {
  constexpr std::size_t kColumns = 110;
  std::string result;
  std::size_t room = kColumns;
  while (text.size() > room) {
    std::size_t end = text.rfind(' ', room);
    if (end == std::string_view::npos || end == 0) end = std::min(text.find(' '), text.size());
    result += std::string(text.substr(0, end)) + "\n" + std::string(indent, ' ');
    text.remove_prefix(std::min(end + 1, text.size()));
    room = kColumns - indent;
  }
  return result + std::string(text);
}

std::string percent(double fraction) { return fmt::format("{:.1f} %", fraction * 100); }

}  // namespace strata::tools
