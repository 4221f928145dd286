// SPDX-License-Identifier: Apache-2.0
#include "core/base/visible_text.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace strata {

namespace {

bool is_plain(char c) { return c >= ' ' && c <= '~'; }

}  // namespace

bool Utf8Character::is_control() const {
  const bool turns = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ||
                     code == 0x200e || code == 0x200f || code == 0x061c;
  const bool breaks_line = code == 0x2028 || code == 0x2029;
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || turns || breaks_line;
}

/// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
Utf8Character utf8_character(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x80) return {first, 1, true};
  const std::size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < bytes) return {first, 1, false};
  std::uint32_t code = first & (0xffU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0U) != 0x80) return {first, 1, false};
    code = (code << 6U) | (next & 0x3fU);
  }
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kLeast[bytes] || code > 0x10ffff || surrogate) return {first, 1, false};
  return {code, bytes, true};
}

std::string visible_text(std::string_view text, LineEnds line_ends) {
  std::string shown;
  while (!text.empty()) {
    const auto plain =
        static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_plain) - text.begin());
    shown += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const Utf8Character next = utf8_character(text);
    if (next.valid && (!next.is_control() || (next.code == '\n' && line_ends == LineEnds::kept))) {
      shown += text.substr(0, next.bytes);
    } else if (next.code == '\n' || next.code == '\t') {
      shown += next.code == '\n' ? "\\n" : "\\t";
    } else if (!next.valid || next.code < 0x80) {
      shown += fmt::format("\\x{:02x}", next.code);
    } else {
      shown += fmt::format("\\u{:04x}", next.code);
    }
    text.remove_prefix(next.bytes);
  }
  return shown;
}

std::string visible_excerpt(std::string_view text, std::size_t most_bytes) {
  if (text.size() <= most_bytes) return visible_text(text);
  std::size_t kept = 0;
  while (true) {
    const std::size_t next = kept + utf8_character(text.substr(kept)).bytes;
    if (next > most_bytes) return visible_text(text.substr(0, kept)) + "...";
    kept = next;
  }
}

}  // namespace strata
