// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.hpp"
#include "core/counts.hpp"
#include "traces/length_formats.hpp"
#include "traces/line_reader.hpp"

namespace strata {

namespace {

constexpr std::size_t kLongestLine = std::size_t{1} << 20;

bool is_integer(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::string_view without_comment(std::string_view line) { return trimmed(line.substr(0, line.find('#'))); }

/// Splits one line of CSV. Quotes around a field are dropped; a field that goes on over a line end is
/// refused.
void split_fields(std::string_view line, char separator, const std::string& where,
                  std::vector<std::string_view>& fields) {
  fields.clear();
  while (true) {
    std::size_t end = 0;
    if (!line.empty() && line.front() == '"') {
      std::size_t close = line.find('"', 1);
      while (close != std::string_view::npos && close + 1 < line.size() && line[close + 1] == '"') {
        close = line.find('"', close + 2);
      }
      if (close == std::string_view::npos)
        throw InputError(where, "a quoted field left open", "a closing quote");
      end = close + 1;
      if (end < line.size() && line[end] != separator) {
        throw InputError(where, fmt::format("{} after a quoted field", quoted_excerpt(line.substr(end))),
                         fmt::format("'{}'", separator));
      }
      fields.push_back(line.substr(1, close - 1));
    } else {
      end = std::min(line.find(separator), line.size());
      fields.push_back(trimmed(line.substr(0, end)));
    }
    if (end == line.size()) return;
    line.remove_prefix(end + 1);
  }
}

/// Where the known column, or pair, stands among the fields of the header.
struct ChosenColumn {
  LengthColumn column;
  std::size_t first = 0;
  std::optional<std::size_t> second;
};

std::optional<std::size_t> position_of(std::string_view name, const std::vector<std::string_view>& header,
                                       const std::string& where) {
  std::optional<std::size_t> position;
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (header[i] != name) continue;
    if (position)
      throw InputError(where, fmt::format("the column {} twice", quoted_excerpt(name)), "it once");
    position = i;
  }
  return position;
}

std::optional<ChosenColumn> choose_column(const std::vector<std::string_view>& header,
                                          const std::string& where) {
  for (const LengthColumn& column : kLengthColumns) {
    const auto first = position_of(column.name, header, where);
    if (!first) continue;
    if (column.second.empty()) return ChosenColumn{column, *first, std::nullopt};
    if (const auto second = position_of(column.second, header, where))
      return ChosenColumn{column, *first, second};
  }
  return std::nullopt;
}

[[noreturn]] void fail_on_header(const std::vector<std::string_view>& header, const std::string& where) {
  constexpr std::size_t kShown = 6;
  std::string found = "the columns ";
  for (std::size_t i = 0; i < std::min(header.size(), kShown); ++i) {
    found += (i == 0 ? "" : ", ") + quoted_excerpt(header[i]);
  }
  if (header.size() > kShown) found += fmt::format(" and {} more", header.size() - kShown);
  throw InputError(where, found, "a header with " + known_columns());
}

char separator_of(std::string_view header) {
  for (const char separator : {',', '\t', ';'}) {
    if (header.find(separator) != std::string_view::npos) return separator;
  }
  return ',';
}

LengthSource read_csv_rows(LineReader& lines, std::string_view header_line) {
  const char separator = separator_of(header_line);
  const std::string header_text(header_line);
  std::vector<std::string_view> fields;
  split_fields(header_text, separator, lines.where(), fields);
  const auto chosen = choose_column(fields, lines.where());
  if (!chosen) fail_on_header(fields, lines.where());
  const std::size_t columns = fields.size();

  LengthSource source;
  while (const auto line = lines.next()) {
    if (trimmed(*line).empty()) continue;
    split_fields(*line, separator, lines.where(), fields);
    if (fields.size() != columns) {
      throw InputError(lines.where(), plain_count(fields.size(), "column"),
                       fmt::format("{}, as in the header", columns));
    }
    if (!chosen->second) {
      source.lengths.push_back(parse_tokens(fields[chosen->first], 1, chosen->column.name, lines.where()));
      continue;
    }
    // One half of a pair may be empty (no answer was generated), the sum may not.
    const std::int64_t sum = parse_tokens(fields[chosen->first], 0, chosen->column.name, lines.where()) +
                             parse_tokens(fields[*chosen->second], 0, chosen->column.second, lines.where());
    if (sum < 1 || sum > kLongestDocument) {
      throw InputError(lines.where(), fmt::format("{} = {}", column_text(chosen->column), sum),
                       fmt::format("a sum from 1 to {}", kLongestDocument));
    }
    source.lengths.push_back(sum);
  }
  source.description = fmt::format("CSV with a header, {}, {}", column_text(chosen->column),
                                   plain_count(source.lengths.size(), "row"));
  return source;
}

}  // namespace

std::string column_text(const LengthColumn& column) {
  return column.second.empty() ? std::string(column.name)
                               : fmt::format("{} + {}", column.name, column.second);
}

std::string known_columns() {
  std::string text = "one of ";
  for (const LengthColumn& column : kLengthColumns) {
    text += (&column == kLengthColumns.data() ? "" : ", ") + column_text(column);
  }
  return text;
}

LengthSource read_text_lengths(std::istream& in, const std::string& name) {
  LineReader lines(in, name, kLongestLine);
  LengthSource source;
  while (const auto line = lines.next()) {
    const std::string_view text = without_comment(*line);
    if (text.empty()) continue;
    if (source.lengths.empty() && !is_integer(text)) {
      const bool several = text.find_first_of(",\t;") != std::string_view::npos;
      if (several || choose_column({text}, lines.where())) return read_csv_rows(lines, text);
    }
    source.lengths.push_back(parse_tokens(text, 1, "a length", lines.where()));
  }
  source.description =
      fmt::format("text without a header, one length a line, {}", plain_count(source.lengths.size(), "line"));
  return source;
}

}  // namespace strata
