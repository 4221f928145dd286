// SPDX-License-Identifier: Apache-2.0
#include "tools/output.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iostream>

#include "core/json_writer.hpp"

namespace strata::tools {

void Output::line(std::string_view text) const {
  if (quiet) return;
  (json ? std::cerr : std::cout) << text << '\n';
}

void Output::result(std::string_view text) const { (json ? std::cerr : std::cout) << text << '\n'; }

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

Progress::~Progress() {
  if (visible_ && drawn_percent_ >= 0) std::cerr << "\r\033[K" << std::flush;
}

void Progress::advance(std::int64_t units) {
  done_ += units;
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

std::string human_count(std::int64_t count) {
  const std::string digits = fmt::format("{}", count);
  std::string grouped;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const std::size_t left = digits.size() - i;
    if (i > 0 && left % 3 == 0 && digits[i - 1] != '-') grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

std::string percent(double fraction) { return fmt::format("{:.1f} %", fraction * 100); }

}  // namespace strata::tools
