// SPDX-License-Identifier: Apache-2.0
// Lines of text files that people and other programs wrote, and the strict parsing of the numbers in them.
// Shared by the readers of this folder; everything wrong becomes an InputError that names file and line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <istream>
#include <optional>
#include <string>
#include <string_view>

namespace strata {

/// Opens a regular file for binary reading; InputError when it is missing, a folder or unreadable.
std::ifstream open_input(const std::filesystem::path& path);

/// Bytes from the current position to the end; the position is kept. InputError when `in` cannot seek.
std::int64_t remaining_bytes(std::istream& in, std::string_view name);

/// `text` in double quotes for an error message: unprintable bytes escaped, at most 40 characters kept.
std::string quoted_excerpt(std::string_view text);

/// The most tokens that one document may have. Later integer arithmetic on lengths relies on this limit.
inline constexpr std::int64_t kLongestDocument = 2147483647;

/// A decimal integer from `least` to kLongestDocument: digits only, no sign, no blanks. InputError at `where`
/// naming `what` otherwise.
std::int64_t parse_tokens(std::string_view text, std::int64_t least, std::string_view what,
                          const std::string& where);

/// `text` without blanks and tabs at both ends.
std::string_view trimmed(std::string_view text);

/// Lines without their ends ("\n" or "\r\n"); memory is bounded by the longest line allowed.
class LineReader {
 public:
  /// `longest`: bytes of one line; more is an InputError.
  LineReader(std::istream& in, std::string name, std::size_t longest);

  /// The next line, valid until the next call; empty optional at the end of the file. InputError for a line
  /// that is too long or holds a zero byte.
  std::optional<std::string_view> next();
  /// Number of the line that next() returned last, from 1.
  std::int64_t line() const { return line_; }
  /// "name:line".
  std::string where() const;

 private:
  bool refill();

  std::istream& in_;
  std::string name_;
  std::size_t longest_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::int64_t line_ = 0;
  bool ended_ = false;
};

}  // namespace strata
