// SPDX-License-Identifier: Apache-2.0
// Canonical JSON text: fixed layout, shortest numbers that read back equal, straight into a stream.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <iosfwd>
#include <string_view>
#include <type_traits>
#include <vector>

namespace strata {

/// lines: one value per line, indented. compact: on one line, without spaces, and so is everything inside.
enum class JsonLayout : std::uint8_t { lines, compact };

/// Writes what it is told, in order; the caller balances open and close (STRATA_CHECK) and calls `finish`.
class JsonWriter {
 public:
  explicit JsonWriter(std::ostream& out);

  void open_object(JsonLayout layout) { open('{', layout); }
  void open_array(JsonLayout layout) { open('[', layout); }
  void close();
  void key(std::string_view name);

  template <typename Integer>
  requires std::is_integral_v<Integer>
  void value(Integer number) {
    before_value();
    if constexpr (std::is_same_v<Integer, bool>) {
      append(number ? "true" : "false");
    } else {
      const fmt::format_int text(number);
      append({text.data(), text.size()});
    }
  }
  void value(double number);
  /// Control characters are escaped, and bytes that are no UTF-8 stand as the text "\xNN".
  void value(std::string_view text);
  void value(const char* text) { value(std::string_view(text)); }
  void null();
  /// `text` is JSON already.
  void raw(std::string_view text);

  template <typename Value>
  void member(std::string_view name, const Value& item) {
    key(name);
    value(item);
  }

  /// Ends the text with a line end (unless `line_end` is false) and hands everything to the stream.
  void finish(bool line_end = true);

 private:
  void open(char bracket, JsonLayout layout);
  void before_value();
  void new_line();
  void append(std::string_view text);
  void flush();

  struct Level {
    char closing;
    bool lines;
    bool empty;
  };
  std::ostream& out_;
  fmt::memory_buffer buffer_;
  std::vector<Level> levels_;
  bool after_key_ = false;
};

/// The shortest text that reads back as `number`, which must be finite (STRATA_CHECK).
std::string number_text(double number);

}  // namespace strata
