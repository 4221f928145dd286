// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/json/json_document.hpp"
#include "traces/lengths/length_formats.hpp"
#include "traces/lengths/length_rows.hpp"
#include "traces/lengths/line_reader.hpp"

namespace strata {

namespace {

/// A line may hold the tokens themselves (`input_ids`): eight million of them fit.
constexpr std::size_t kLongestLine = std::size_t{1} << 26;

JsonLimits line_limits() {
  JsonLimits limits;
  limits.max_bytes = std::int64_t{kLongestLine};
  limits.max_depth = 16;
  return limits;
}

bool is_zero(const JsonValue& item) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  return item.kind() == JsonKind::integer && item.integer(-kMost - 1, kMost) == 0;
}

/// Rows of one file, from the first to the LengthSource.
class JsonRows {
 public:
  JsonRows(const std::string& name, const LengthOptions& options)
      : reader_(options.reading, options.ignored_keys), collector_(name), options_(options) {}

  void add(const JsonValue& row) { collector_.add(reader_.read(row), row.path()); }

  LengthSource finish(std::string_view format, const std::string& name) && {
    if (options_.reading != LengthReading::automatic && !reader_.used_reading())
      refuse_needless_reading(name);
    const std::int64_t rows = collector_.rows();
    LengthSource source = std::move(collector_).finish();
    const std::string what = reader_.described();
    source.description =
        what == "steps"
            ? fmt::format("{}, {}", format, plain_count(static_cast<std::size_t>(rows), "step"))
            : fmt::format("{}, {}, {}", format, what, plain_count(static_cast<std::size_t>(rows), "row"));
    source.used_keys = reader_.ledger().used();
    source.unused_keys = reader_.ledger().unused();
    source.ignored_keys = reader_.ignored_met();
    return source;
  }

 private:
  JsonRowReader reader_;
  RowCollector collector_;
  LengthOptions options_;
};

/// The rest of the stream is one JSON document: a list of numbers, an object, or a list of objects.
LengthSource read_document(std::istream& in, const std::string& name, const LengthOptions& options) {
  if (options.line > 0) refuse_line(name, options.line, "one JSON document has no lines that count");
  const JsonDocument document = JsonDocument::parse(in, name);
  const JsonValue root = document.root();
  if (root.kind() == JsonKind::object) {
    JsonRows rows(name, options);
    rows.add(root);
    return std::move(rows).finish("JSON object", name);
  }
  if (root.size() > 0 && (*root.items().begin()).kind() == JsonKind::object) {
    JsonRows rows(name, options);
    for (const JsonValue row : root.items()) rows.add(row);
    return std::move(rows).finish("JSON list of objects", name);
  }
  const bool lengths =
      options.reading == LengthReading::automatic || options.reading == LengthReading::lengths;
  const std::int64_t most = lengths ? kLongestDocument : kMostOffset;
  std::vector<std::int64_t> values;
  values.reserve(root.size());
  // A list that begins with 0 is doubtful rather than wrong, so that its first number is judged later.
  for (const JsonValue item : root.items()) {
    const bool first_zero = values.empty() && is_zero(item);
    values.push_back(item.integer(!lengths ? -kMostOffset : first_zero ? 0 : 1, most));
  }
  return plain_list_source(values, options.reading, "JSON list", lengths ? "length" : "number", name);
}

/// Whether the first line that is not blank holds a whole object, as every line of JSON lines does.
bool is_json_lines(std::istream& in, const std::string& name) {
  const std::streampos begin = in.tellg();
  LineReader lines(in, name, kLongestLine);
  bool whole = false;
  while (const auto line = lines.next()) {
    const std::string_view text = trimmed(*line);
    if (text.empty()) continue;
    whole = text.back() == '}';
    break;
  }
  in.clear();
  in.seekg(begin);
  return whole;
}

}  // namespace

LengthSource read_json_lengths(std::istream& in, const std::string& name, const LengthOptions& options) {
  return read_document(in, name, options);
}

LengthSource read_json_lines_lengths(std::istream& in, const std::string& name,
                                     const LengthOptions& options) {
  if (!is_json_lines(in, name)) return read_document(in, name, options);
  LineReader lines(in, name, kLongestLine);
  JsonRows rows(name, options);
  while (const auto line = lines.next()) {
    if (lines.line() < options.line || trimmed(*line).empty()) continue;
    rows.add(JsonDocument::parse_text(*line, name, line_limits(), lines.line()).root());
  }
  check_line(name, options.line, lines.line());
  return std::move(rows).finish("JSON lines", name);
}

}  // namespace strata
