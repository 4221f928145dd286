// SPDX-License-Identifier: Apache-2.0
// Text that came from a file or a command line, as it may go to a terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace strata {

enum class LineEnds : std::uint8_t { kept, escaped };

/// UTF-8 is kept; what a terminal would obey or show in another order is escaped: control characters
/// ("\x1b", "\n", "\u0085"), the controls of writing direction ("\u202e"), and bytes that are no UTF-8
/// ("\xff").
std::string visible_text(std::string_view text, LineEnds line_ends = LineEnds::escaped);

/// The same of at most the first `most_bytes` bytes, cut between characters; "..." where more follows.
std::string visible_excerpt(std::string_view text, std::size_t most_bytes);

/// One character at the start of `text`, which must not be empty. `bytes` is 1 where there is no UTF-8.
struct Utf8Character {
  std::uint32_t code = 0;
  std::size_t bytes = 1;
  bool valid = false;
  /// Whether it must not be shown as it is: a control character, or one that turns the writing around.
  bool is_control() const;
};
Utf8Character utf8_character(std::string_view text);

}  // namespace strata
