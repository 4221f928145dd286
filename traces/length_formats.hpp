// SPDX-License-Identifier: Apache-2.0
// The readers behind length_source.hpp, one for each family of formats, and the names that columns and keys
// have.
#pragma once

#include <array>
#include <istream>
#include <string>
#include <string_view>

#include "traces/length_source.hpp"

namespace strata {

/// A column, or a pair of columns whose sum is the length of one document.
struct LengthColumn {
  std::string_view name;
  std::string_view second;  ///< empty: `name` alone
};

/// In order of preference where a file has several.
inline constexpr std::array<LengthColumn, 11> kLengthColumns = {
    {{"length", ""},
     {"seq_len", ""},
     {"seqlen", ""},
     {"num_tokens", ""},
     {"n_tokens", ""},
     {"token_count", ""},
     {"total_lengths", ""},
     {"seq_lengths", ""},
     {"input_length", "output_length"},
     {"ContextTokens", "GeneratedTokens"},
     {"num_prefill_tokens", "num_decode_tokens"}}};

/// "length", "input_length + output_length".
std::string column_text(const LengthColumn& column);
/// All of them, for messages.
std::string known_columns();

/// Text or CSV, told apart by the first line that is neither blank nor a comment.
LengthSource read_text_lengths(std::istream& in, const std::string& name);
/// One JSON list.
LengthSource read_json_lengths(std::istream& in, const std::string& name);
/// One JSON object a line.
LengthSource read_json_lines_lengths(std::istream& in, const std::string& name);

}  // namespace strata
