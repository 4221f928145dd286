// SPDX-License-Identifier: Apache-2.0
// The readers behind length_source.hpp, one for each family of formats, and the names that columns and keys
// have.
#pragma once

#include <array>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include "traces/lengths/length_source.hpp"

namespace strata {

/// A column, or a pair of columns whose sum is the length of one document.
struct LengthColumn {
  std::string_view name;
  std::string_view second;  ///< empty: `name` alone
};

/// The columns that are known, in order of preference where a file has several.
inline constexpr std::array<LengthColumn, 20> kLengthColumns = {{{"length", ""},
                                                                 {"seq_len", ""},
                                                                 {"seqlen", ""},
                                                                 {"num_tokens", ""},
                                                                 {"n_tokens", ""},
                                                                 {"token_count", ""},
                                                                 {"total_lengths", ""},
                                                                 {"seq_lengths", ""},
                                                                 {"input_length", "output_length"},
                                                                 {"ContextTokens", "GeneratedTokens"},
                                                                 {"num_prefill_tokens", "num_decode_tokens"},
                                                                 {"seq_length", ""},
                                                                 {"sequence_length", ""},
                                                                 {"lengths", ""},
                                                                 {"seq_lens", ""},
                                                                 {"seqlens", ""},
                                                                 {"sequence_lengths", ""},
                                                                 {"doc_lens", ""},
                                                                 {"doc_lengths", ""},
                                                                 {"document_lengths", ""}}};
/// So many of the columns stand in messages; the others are spellings of the first.
inline constexpr std::size_t kNamedColumns = 11;

/// "length", "input_length + output_length".
std::string column_text(const LengthColumn& column);
/// The first kNamedColumns columns, for messages.
std::string known_columns();
/// "\"id\", \"size\" and 3 more", for messages.
std::string shown_names(const std::vector<std::string_view>& names);
/// "; did you mean 'length'?" where a name that is not known is near a column's, or nothing.
std::string meant_column(const std::vector<std::string_view>& names);

/// Text or CSV, told apart by the first line that is neither blank nor a comment.
LengthSource read_text_lengths(std::istream& in, const std::string& name, const LengthOptions& options);
/// One JSON document.
LengthSource read_json_lengths(std::istream& in, const std::string& name, const LengthOptions& options);
/// One JSON object a line, or one object over several lines.
LengthSource read_json_lines_lengths(std::istream& in, const std::string& name, const LengthOptions& options);

/// An offset may count the tokens of a whole data set.
inline constexpr std::int64_t kMostOffset = std::int64_t{1} << 53;

/// A list whose format has no names, read as `reading` says: free lengths, or the documents of one fixed
/// pack. `format` and `item` are how it is described: "JSON list" of "number"s. InputError for a length of 0.
LengthSource plain_list_source(std::vector<std::int64_t> values, LengthReading reading,
                               std::string_view format, std::string_view item, const std::string& name);
/// InputError for a line number where a format has no lines; `why` is a sentence about it.
[[noreturn]] void refuse_line(const std::string& name, std::int64_t line, std::string_view why);
/// InputError unless a file of `lines` lines has the line that was asked for (0: none was).
void check_line(const std::string& name, std::int64_t line, std::int64_t lines);
/// InputError for --lengths-are where the file itself says what its numbers are.
[[noreturn]] void refuse_needless_reading(const std::string& name);

}  // namespace strata
