// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/check.hpp"
#include "core/base/closest_name.hpp"
#include "core/base/counts.hpp"
#include "traces/lengths/batch_keys.hpp"
#include "traces/lengths/length_formats.hpp"
#include "traces/lengths/length_rows.hpp"
#include "traces/lengths/line_reader.hpp"

namespace strata {

namespace {

constexpr std::size_t kLongestLine = std::size_t{1} << 20;

bool is_integer(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// Whether a line is a word, as a header of one column is.
bool is_name(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ' ';
  });
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

bool is_ignored(std::string_view name, const std::vector<std::string>& ignored) {
  return std::find(ignored.begin(), ignored.end(), name) != ignored.end();
}

std::optional<std::size_t> position_of(std::string_view name, const std::vector<std::string_view>& header,
                                       const std::string& where, const std::vector<std::string>& ignored) {
  std::optional<std::size_t> position;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const BatchKey* key = find_batch_key(header[i]);
    if (key == nullptr || key->name != name || is_ignored(header[i], ignored)) continue;
    if (position)
      throw InputError(where, fmt::format("the column {} twice", quoted_excerpt(name)), "it once");
    position = i;
  }
  return position;
}

std::optional<ChosenColumn> choose_column(const std::vector<std::string_view>& header,
                                          const std::string& where, const std::vector<std::string>& ignored) {
  for (const LengthColumn& column : kLengthColumns) {
    const auto first = position_of(column.name, header, where, ignored);
    if (!first) continue;
    if (column.second.empty()) return ChosenColumn{column, *first, std::nullopt};
    if (const auto second = position_of(column.second, header, where, ignored))
      return ChosenColumn{column, *first, second};
  }
  return std::nullopt;
}

[[noreturn]] void fail_on_header(const std::vector<std::string_view>& header, const std::string& where) {
  throw InputError(where, "the columns " + shown_names(header),
                   "a header with " + known_columns() + meant_column(header));
}

char separator_of(std::string_view header) {
  for (const char separator : {',', '\t', ';'}) {
    if (header.find(separator) != std::string_view::npos) return separator;
  }
  return ',';
}

/// What the columns beside the length say. Cells hold one value: a list in one is refused, because a list may
/// carry what the table says of its key.
struct OtherColumns {
  std::optional<std::size_t> copies, step, data_rank, measured;
  std::vector<ChosenColumn> stated;  ///< further numbers of tokens, which must be the length
  std::vector<std::size_t> longest;  ///< at least the length
  std::vector<std::size_t> unread;   ///< of one value, which says nothing of the documents
  std::vector<std::string> unused;
  std::set<std::string> ignored;
};

/// What column `i` says of the length once more: by itself, or as the first half of a pair.
std::optional<ChosenColumn> stated_column(const std::vector<std::string_view>& header, std::size_t i) {
  const BatchKey* key = find_batch_key(header[i]);
  if (key == nullptr) return std::nullopt;
  if (key->meaning != KeyMeaning::pair) return ChosenColumn{{key->name, ""}, i, std::nullopt};
  for (const LengthColumn& column : kLengthColumns) {
    if (column.name != key->name || column.second.empty()) continue;
    for (std::size_t second = 0; second < header.size(); ++second) {
      const BatchKey* half = find_batch_key(header[second]);
      if (half != nullptr && half->name == column.second) return ChosenColumn{column, i, second};
    }
  }
  return std::nullopt;
}

/// Columns that say the length again. Those that are ignored, and pairs with such a half, are left out.
std::vector<ChosenColumn> stated_columns(const std::vector<std::string_view>& header,
                                         const ChosenColumn& chosen,
                                         const std::vector<std::string>& ignored) {
  constexpr std::array kMeanings = {KeyMeaning::length, KeyMeaning::free_documents, KeyMeaning::pair,
                                    KeyMeaning::total};
  std::vector<ChosenColumn> columns;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const BatchKey* key = find_batch_key(header[i]);
    if (key == nullptr || i == chosen.first || is_ignored(header[i], ignored)) continue;
    if (std::find(kMeanings.begin(), kMeanings.end(), key->meaning) == kMeanings.end()) continue;
    const auto column = stated_column(header, i);
    if (column && !(column->second && is_ignored(header[*column->second], ignored)))
      columns.push_back(*column);
  }
  return columns;
}

bool is_in(std::size_t i, const std::vector<ChosenColumn>& columns) {
  return std::any_of(columns.begin(), columns.end(),
                     [&](const ChosenColumn& column) { return column.first == i || column.second == i; });
}

/// Whether a column of the key may have one value a row that tells nothing of borders. A document's name or
/// number does so, numbers of its tokens do not.
bool is_of_one_value(const BatchKey& key) {
  const bool numbers = key.meaning == KeyMeaning::numbers || key.meaning == KeyMeaning::labels;
  return key.meaning == KeyMeaning::harmless || key.meaning == KeyMeaning::pair ||
         key.meaning == KeyMeaning::parts || (numbers && key.name.ends_with("_id"));
}

OtherColumns read_other_columns(const std::vector<std::string_view>& header, const ChosenColumn& chosen,
                                const std::string& where, const std::vector<std::string>& ignored) {
  OtherColumns other;
  other.stated = stated_columns(header, chosen, ignored);
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (i == chosen.first || i == chosen.second || is_in(i, other.stated)) continue;
    const std::string name(header[i]);
    const BatchKey* key = find_batch_key(name);
    const KeyMeaning meaning = key != nullptr ? key->meaning : KeyMeaning::harmless;
    std::optional<std::size_t>* role = meaning == KeyMeaning::copies      ? &other.copies
                                       : meaning == KeyMeaning::step      ? &other.step
                                       : meaning == KeyMeaning::data_rank ? &other.data_rank
                                       : meaning == KeyMeaning::measured  ? &other.measured
                                                                          : nullptr;
    const bool known = key != nullptr ? is_of_one_value(*key) : !looks_meaningful(name, false);
    if (is_ignored(name, ignored)) {
      other.ignored.insert(name);
      other.unused.push_back(name);
    } else if (meaning == KeyMeaning::longest) {
      other.longest.push_back(i);
    } else if (role == nullptr && known) {
      other.unread.push_back(i);
      other.unused.push_back(name);
    } else if (role == nullptr) {
      refuse_key(where, name);
    } else if (role->has_value()) {
      throw InputError(where,
                       fmt::format("{} beside {}", quoted_excerpt(name), quoted_excerpt(header[**role])),
                       "one of them, or --ignore-keys with the name of the other");
    } else {
      *role = i;
    }
  }
  return other;
}

std::int64_t parse_number(std::string_view text, std::int64_t least, std::int64_t most, std::string_view what,
                          const std::string& where) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    throw InputError(where, quoted_excerpt(text),
                     fmt::format("{}, an integer from {} to {}", what, least, most));
  }
  return value;
}

double parse_milliseconds(std::string_view text, const std::string& where) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 0)) {
    throw InputError(where, quoted_excerpt(text), "measured_ms, a number from 0");
  }
  return value;
}

/// Reads the records of a CSV once its header is known.
class CsvReader {
 public:
  CsvReader(LineReader& lines, std::string_view header, const std::string& name, const LengthOptions& options)
      : lines_(lines),
        name_(name),
        header_text_(header),
        separator_(separator_of(header_text_)),
        collector_(name) {
    split_fields(header_text_, separator_, lines.where(), header_);
    const auto chosen = choose_column(header_, lines.where(), options.ignored_keys);
    if (!chosen) fail_on_header(header_, lines.where());
    chosen_ = *chosen;
    other_ = read_other_columns(header_, chosen_, lines.where(), options.ignored_keys);
  }

  LengthSource read(const LengthOptions& options) && {
    while (const auto line = lines_.next()) {
      if (lines_.line() < options.line || trimmed(*line).empty()) continue;
      split_fields(*line, separator_, lines_.where(), fields_);
      if (fields_.size() != header_.size()) {
        throw InputError(lines_.where(), plain_count(fields_.size(), "column"),
                         fmt::format("{}, as in the header", header_.size()));
      }
      collector_.add(row(), lines_.where());
    }
    check_line(name_, options.line, lines_.line());
    const auto rows = static_cast<std::size_t>(collector_.rows());
    LengthSource source = std::move(collector_).finish();
    source.description =
        fmt::format("CSV with a header, {}, {}", column_text(chosen_.column), plain_count(rows, "row"));
    source.used_keys.emplace_back(chosen_.column.name);
    if (chosen_.second) source.used_keys.emplace_back(chosen_.column.second);
    for (const ChosenColumn& column : other_.stated) {
      source.used_keys.emplace_back(header_[column.first]);
      if (column.second) source.used_keys.emplace_back(header_[*column.second]);
    }
    for (const std::size_t column : other_.longest) source.used_keys.emplace_back(header_[column]);
    source.ignored_keys = other_.ignored;
    for (const auto& column : {other_.copies, other_.step}) {
      if (column) source.used_keys.emplace_back(header_[*column]);
    }
    source.unused_keys = other_.unused;
    for (const auto& column : {other_.data_rank, other_.measured}) {
      if (column) source.unused_keys.emplace_back(header_[*column]);
    }
    return source;
  }

 private:
  LengthRow row() const {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    const std::string where = lines_.where();
    LengthRow row;
    row.packs = {{tokens(where)}};
    for (const ChosenColumn& column : other_.stated) check_stated(column, row.packs[0][0], where);
    check_others(row.packs[0][0], where);
    if (other_.copies)
      row.copies = parse_number(fields_[*other_.copies], 0, kMost, header_[*other_.copies], where);
    if (other_.step) row.step = parse_number(fields_[*other_.step], 0, kMost, header_[*other_.step], where);
    if (other_.data_rank)
      row.data_rank = parse_tokens(fields_[*other_.data_rank], 0, header_[*other_.data_rank], where);
    if (other_.measured && !fields_[*other_.measured].empty()) {
      row.measured_ms = parse_milliseconds(fields_[*other_.measured], where);
    }
    return row;
  }

  std::int64_t tokens(const std::string& where) const {
    const LengthColumn& column = chosen_.column;
    if (!chosen_.second) return parse_tokens(fields_[chosen_.first], 1, column.name, where);
    // One half of a pair may be empty (no answer was generated), the sum may not.
    const std::int64_t sum = parse_tokens(fields_[chosen_.first], 0, column.name, where) +
                             parse_tokens(fields_[*chosen_.second], 0, column.second, where);
    if (sum < 1 || sum > kLongestDocument) {
      throw InputError(where, fmt::format("{} = {}", column_text(column), sum),
                       fmt::format("a sum from 1 to {}", kLongestDocument));
    }
    return sum;
  }

  /// A column that says the length again says the same, or nothing.
  void check_stated(const ChosenColumn& column, std::int64_t length, const std::string& where) const {
    constexpr std::int64_t kMost = 2 * kLongestDocument;
    std::int64_t sum = 0;
    bool any = false;
    for (const auto& part : {std::optional(column.first), column.second}) {
      if (!part || fields_[*part].empty()) continue;
      sum += parse_number(fields_[*part], 0, kMost, header_[*part], where);
      any = true;
    }
    if (!any || sum == length) return;
    throw InputError(where, fmt::format("{} = {}", column_text(column.column), sum),
                     fmt::format("{}, as {} says", length, column_text(chosen_.column)));
  }

  void check_others(std::int64_t length, const std::string& where) const {
    for (const std::size_t i : other_.longest) {
      if (fields_[i].empty()) continue;
      const std::int64_t most = parse_number(fields_[i], 0, kMostOffset, header_[i], where);
      if (most >= length) continue;
      throw InputError(where, fmt::format("{} = {}", header_[i], most),
                       fmt::format("at least the length, {}", length));
    }
    for (const std::size_t i : other_.unread) {
      if (!is_list_text(fields_[i])) continue;
      const BatchKey* key = find_batch_key(header_[i]);
      const auto numbers = numbers_in_text(fields_[i]);
      const auto spelled = numbers ? documents_spelled(*numbers, length) : std::nullopt;
      const bool other = key == nullptr && spelled && spelled->size() > 1;
      if (other ||
          (key != nullptr ? key->treatment() == KeyTreatment::used : looks_meaningful(header_[i], true)))
        refuse_key(where, header_[i]);
    }
  }

  LineReader& lines_;
  std::string name_;
  std::string header_text_;
  char separator_;
  std::vector<std::string_view> header_, fields_;
  ChosenColumn chosen_;
  OtherColumns other_;
  RowCollector collector_;
};

}  // namespace

std::string column_text(const LengthColumn& column) {
  return column.second.empty() ? std::string(column.name)
                               : fmt::format("{} + {}", column.name, column.second);
}

std::string known_columns() {
  std::string text = "one of ";
  for (std::size_t i = 0; i < kNamedColumns; ++i)
    text += (i == 0 ? "" : ", ") + column_text(kLengthColumns[i]);
  return text;
}

std::string shown_names(const std::vector<std::string_view>& names) {
  constexpr std::size_t kShown = 6;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i)
    text += (i == 0 ? "" : ", ") + quoted_excerpt(names[i]);
  return names.size() > kShown ? text + fmt::format(" and {} more", names.size() - kShown) : text;
}

std::string meant_column(const std::vector<std::string_view>& names) {
  std::vector<std::string_view> columns;
  columns.reserve(kLengthColumns.size());
  for (const LengthColumn& column : kLengthColumns) columns.push_back(column.name);
  for (const std::string_view name : names) {
    std::string meant = find_batch_key(name) != nullptr ? "" : did_you_mean(name, columns);
    if (!meant.empty()) return meant;
  }
  return "";
}

LengthSource read_text_lengths(std::istream& in, const std::string& name, const LengthOptions& options) {
  const bool lengths =
      options.reading == LengthReading::automatic || options.reading == LengthReading::lengths;
  LineReader lines(in, name, kLongestLine);
  std::vector<std::int64_t> values;
  bool first = true;
  while (const auto line = lines.next()) {
    const std::string_view text = without_comment(*line);
    if (text.empty()) continue;
    const bool number = is_integer(text) || (!lengths && text.front() == '-');
    if (first && !number) {
      const bool several = text.find_first_of(",\t;") != std::string_view::npos;
      if (several || choose_column({text}, lines.where(), {})) {
        if (options.reading != LengthReading::automatic) refuse_needless_reading(name);
        return CsvReader(lines, text, name, options).read(options);
      }
      if (is_name(text)) {
        throw InputError(lines.where(), quoted_excerpt(text),
                         "an integer, or a header with " + known_columns() + meant_column({text}));
      }
    }
    first = false;
    if (lines.line() < options.line) continue;
    // A list that begins with 0 is doubtful rather than wrong, so that its first number is judged later.
    if (lengths) {
      const bool first_zero = values.empty() && text == "0";
      values.push_back(first_zero ? 0 : parse_tokens(text, 1, "a length", lines.where()));
    } else {
      values.push_back(parse_number(text, -kMostOffset, kMostOffset, "a number", lines.where()));
    }
  }
  check_line(name, options.line, lines.line());
  const std::size_t count = values.size();
  LengthSource source = plain_list_source(std::move(values), options.reading, "text", "number", name);
  if (lengths) {
    source.description =
        fmt::format("text without a header, one length a line, {}", plain_count(count, "line"));
  }
  return source;
}

}  // namespace strata
