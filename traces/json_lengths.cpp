// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/batch_json.hpp"
#include "core/check.hpp"
#include "core/counts.hpp"
#include "core/json_document.hpp"
#include "traces/length_formats.hpp"
#include "traces/line_reader.hpp"

namespace strata {

namespace {

/// A line may hold the tokens themselves (`input_ids`): eight million of them fit.
constexpr std::size_t kLongestLine = std::size_t{1} << 26;
/// What makes a row a batch that core reads.
constexpr std::array<std::string_view, 3> kBatchKeys = {"packs", "documents", "seqlens"};

std::optional<JsonValue> find(const JsonValue& object, std::string_view key) {
  for (const JsonValue member : object.members()) {
    if (member.key() == key) return member;
  }
  return std::nullopt;
}

/// Reads objects that all have what the first one has.
class RowReader {
 public:
  void add(const JsonValue& row) {
    if (!chosen_) choose(row);
    if (ids_) {
      const JsonValue ids = required(row, "input_ids");
      if (ids.kind() != JsonKind::array) ids.fail("a list of tokens");
      if (ids.size() == 0) ids.fail("an empty list", "a list of at least one token");
      push(ids, static_cast<std::int64_t>(ids.size()));
    } else if (list_) {
      add_list(required(row, chosen_->name));
    } else if (chosen_->second.empty()) {
      const JsonValue value = required(row, chosen_->name);
      push(value, value.integer(1, kLongestDocument));
    } else {
      const JsonValue first = required(row, chosen_->name), second = required(row, chosen_->second);
      push(row, first.integer(0, kLongestDocument) + second.integer(0, kLongestDocument));
    }
    ++rows_;
  }

  LengthSource finish(std::string_view format) && {
    if (chosen_) {
      source_.description = fmt::format("{}, {}{}, {}", format, column_text(*chosen_),
                                        ids_    ? " (their number)"
                                        : list_ ? (packs_ ? " (fixed packs)" : " (free documents)")
                                                : "",
                                        plain_count(rows_, "row"));
    }
    return std::move(source_);
  }

 private:
  void choose(const JsonValue& row) {
    for (const LengthColumn& column : kLengthColumns) {
      const auto first = find(row, column.name);
      if (!first || (!column.second.empty() && !find(row, column.second))) continue;
      chosen_ = column;
      list_ = first->kind() == JsonKind::array;
      packs_ = column.name == "seq_lengths";
      if (list_ && !packs_ && column.name != "total_lengths") first->fail("an integer");
      return;
    }
    if (!find(row, "input_ids"))
      row.fail("an object without a known key", known_columns() + ", or input_ids");
    chosen_ = LengthColumn{"input_ids", ""};
    ids_ = true;
  }

  static JsonValue required(const JsonValue& row, std::string_view key) {
    const auto value = find(row, key);
    if (!value) row.fail(fmt::format("no {}", quoted_excerpt(key)), "it in every row, as in the first");
    return *value;
  }

  void push(const JsonValue& value, std::int64_t tokens) {
    if (tokens < 1 || tokens > kLongestDocument) {
      value.fail(fmt::format("{} tokens", tokens), fmt::format("1 to {}", kLongestDocument));
    }
    source_.lengths.push_back(tokens);
  }

  void add_list(const JsonValue& list) {
    Batch batch;
    batch.step = rows_;
    batch.fixed_packs = packs_;
    batch.packs.emplace_back();
    for (const JsonValue item : list.items()) batch.packs.back().push_back(item.integer(1, kLongestDocument));
    if (batch.packs.back().empty()) list.fail("an empty list", "at least one length");
    source_.batches.push_back(std::move(batch));
  }

  LengthSource source_;
  std::optional<LengthColumn> chosen_;
  bool ids_ = false, list_ = false, packs_ = false;
  std::int64_t rows_ = 0;
};

JsonLimits line_limits() {
  JsonLimits limits;
  limits.max_bytes = std::int64_t{kLongestLine};
  limits.max_depth = 16;
  return limits;
}

LengthSource read_batch_lines(std::istream& in, const std::string& name) {
  LengthSource source;
  source.batches = read_batches(in, name, -1);
  const bool fixed = !source.batches.empty() && source.batches.front().fixed_packs;
  source.description = fmt::format("JSON lines, {} of {}", plain_count(source.batches.size(), "step"),
                                   fixed ? "fixed packs" : "free documents");
  return source;
}

bool holds_batch(const JsonValue& row) {
  for (const std::string_view key : kBatchKeys) {
    if (find(row, key)) return true;
  }
  return false;
}

}  // namespace

LengthSource read_json_lengths(std::istream& in, const std::string& name) {
  const JsonDocument document = JsonDocument::parse(in, name);
  const JsonValue root = document.root();
  const bool rows =
      root.kind() == JsonKind::array && root.size() > 0 && (*root.items().begin()).kind() == JsonKind::object;
  if (rows) {
    RowReader reader;
    for (const JsonValue row : root.items()) reader.add(row);
    return std::move(reader).finish("JSON list of objects");
  }
  LengthSource source;
  source.lengths.reserve(root.size());
  for (const JsonValue item : root.items()) source.lengths.push_back(item.integer(1, kLongestDocument));
  source.description = fmt::format("JSON list of {}", plain_count(source.lengths.size(), "length"));
  return source;
}

LengthSource read_json_lines_lengths(std::istream& in, const std::string& name) {
  const std::streampos begin = in.tellg();
  LineReader lines(in, name, kLongestLine);
  RowReader reader;
  bool first = true;
  while (const auto line = lines.next()) {
    if (trimmed(*line).empty()) continue;
    const JsonDocument document = JsonDocument::parse_text(*line, name, line_limits(), lines.line());
    if (first && holds_batch(document.root())) {
      in.clear();
      in.seekg(begin);
      return read_batch_lines(in, name);
    }
    first = false;
    reader.add(document.root());
  }
  return std::move(reader).finish("JSON lines");
}

}  // namespace strata
