// SPDX-License-Identifier: Apache-2.0
#include "core/json/json_writer.hpp"

#include <cmath>
#include <ostream>

#include "core/base/check.hpp"
#include "core/base/visible_text.hpp"

namespace strata {

namespace {

constexpr std::size_t kFlushBytes = 1 << 16;

bool is_plain(char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; }

}  // namespace

std::string number_text(double number) {
  STRATA_CHECK(std::isfinite(number), "JSON has no text for {}", number);
  // The sign of a zero would be lost in "-0", which reads back as an integer.
  if (number == 0) return std::signbit(number) ? "-0.0" : "0";
  return fmt::format("{}", number);
}

JsonWriter::JsonWriter(std::ostream& out) : out_(out) {}

void JsonWriter::append(std::string_view text) { buffer_.append(text.data(), text.data() + text.size()); }

void JsonWriter::flush() {
  out_.write(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
  buffer_.clear();
}

void JsonWriter::new_line() {
  buffer_.push_back('\n');
  for (std::size_t level = 0; level < levels_.size(); ++level) append("  ");
  if (buffer_.size() >= kFlushBytes) flush();
}

void JsonWriter::before_value() {
  if (after_key_ || levels_.empty()) {
    after_key_ = false;
    return;
  }
  Level& level = levels_.back();
  STRATA_CHECK(level.closing == ']', "a value in an object must follow its key");
  if (!level.empty) buffer_.push_back(',');
  level.empty = false;
  if (level.lines) new_line();
}

void JsonWriter::key(std::string_view name) {
  STRATA_CHECK(!levels_.empty() && levels_.back().closing == '}' && !after_key_,
               "key '{}' must stand in an object, after a value", name);
  Level& level = levels_.back();
  if (!level.empty) buffer_.push_back(',');
  level.empty = false;
  if (level.lines) new_line();
  after_key_ = true;
  value(name);
  append(level.lines ? ": " : ":");
  after_key_ = true;
}

void JsonWriter::open(char bracket, JsonLayout layout) {
  before_value();
  const bool lines = layout == JsonLayout::lines && (levels_.empty() || levels_.back().lines);
  buffer_.push_back(bracket);
  levels_.push_back({bracket == '{' ? '}' : ']', lines, true});
}

void JsonWriter::close() {
  STRATA_CHECK(!levels_.empty() && !after_key_, "only what was opened can be closed");
  const Level level = levels_.back();
  levels_.pop_back();
  if (level.lines && !level.empty) new_line();
  buffer_.push_back(level.closing);
}

void JsonWriter::value(double number) {
  before_value();
  append(number_text(number));
}

void JsonWriter::value(std::string_view text) {
  before_value();
  buffer_.push_back('"');
  while (!text.empty()) {
    if (is_plain(text.front())) {
      buffer_.push_back(text.front());
      text.remove_prefix(1);
      continue;
    }
    const Utf8Character next = utf8_character(text);
    if (!next.valid) {
      // A name of a file can be any bytes, JSON cannot.
      append(fmt::format("\\\\x{:02x}", next.code));
    } else if (next.is_control()) {
      append(fmt::format("\\u{:04x}", next.code));
    } else {
      if (next.bytes == 1) buffer_.push_back('\\');
      append(text.substr(0, next.bytes));
    }
    text.remove_prefix(next.bytes);
  }
  buffer_.push_back('"');
}

void JsonWriter::null() {
  before_value();
  append("null");
}

void JsonWriter::raw(std::string_view text) {
  before_value();
  append(text);
}

void JsonWriter::finish(bool line_end) {
  STRATA_CHECK(levels_.empty(), "{} objects or lists are still open", levels_.size());
  if (line_end) buffer_.push_back('\n');
  flush();
}

}  // namespace strata
