// SPDX-License-Identifier: Apache-2.0
#include "core/batch_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

#include "core/check.hpp"
#include "core/counts.hpp"
#include "core/json_reader.hpp"
#include "core/json_writer.hpp"

namespace strata {

namespace {

constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxStep = std::numeric_limits<std::int64_t>::max();

/// One line of the file: a whole step, or a row of one.
struct Row {
  Batch batch;
  bool recorded = false;
};

std::vector<std::int64_t> read_lengths(const JsonValue& list) {
  std::vector<std::int64_t> lengths;
  for (const JsonValue item : list.items()) lengths.push_back(item.integer(1, kMaxTokens));
  if (lengths.empty()) list.fail("an empty list", "at least one document");
  return lengths;
}

Row read_step(ObjectReader& reader) {
  Row row;
  row.batch.step = reader.optional_int<std::int64_t>("step", 0, kMaxStep, 0);
  const auto packs = reader.find("packs");
  const auto documents = reader.find("documents");
  if (packs && documents) reader.value().fail("both 'packs' and 'documents'", "one of them");
  if (!packs && !documents) {
    reader.finish();
    reader.value().fail("no documents", "a field 'packs', 'documents' or 'seqlens'");
  }
  row.batch.fixed_packs = packs.has_value();
  if (documents) {
    row.batch.packs.push_back(read_lengths(*documents));
  } else {
    for (const JsonValue pack : packs->items()) row.batch.packs.push_back(read_lengths(pack));
    if (row.batch.packs.empty()) packs->fail("an empty list", "at least one pack");
  }
  return row;
}

/// What trainers record beside the lengths is checked to be what it says and then left alone.
void skip_recorded_extras(ObjectReader& reader) {
  constexpr std::int64_t kLow = std::numeric_limits<std::int64_t>::min();
  if (const auto sample = reader.find("sample")) sample->integer(kLow, kMaxStep);
  for (const std::string_view name : {"doc_ids", "padded_seqlens"}) {
    if (const auto list = reader.find(name)) {
      for (const JsonValue item : list->items()) item.integer(kLow, kMaxStep);
    }
  }
  for (const std::string_view name : {"first_doc_is_partial", "last_doc_is_partial"}) {
    if (const auto flag = reader.find(name)) flag->boolean();
  }
  if (const auto rank = reader.find("dp_rank")) rank->integer(0, kMaxTokens);
  if (const auto time = reader.find("measured_ms"); time && !time->is_null()) time->number(0);
}

Row read_recorded(ObjectReader& reader) {
  Row row;
  row.recorded = true;
  row.batch.fixed_packs = true;
  row.batch.step = reader.optional_int<std::int64_t>("batch", 0, kMaxStep, 0);
  row.batch.packs.push_back(read_lengths(reader.required("seqlens", "a list of document lengths")));
  skip_recorded_extras(reader);
  return row;
}

Row read_row(const JsonValue& value) {
  ObjectReader reader(value);
  bool recorded = false;
  for (const JsonValue member : value.members()) recorded |= member.key() == "seqlens";
  Row row = recorded ? read_recorded(reader) : read_step(reader);
  reader.finish();
  validate(row.batch, value.path());
  return row;
}

bool is_blank(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
}

/// Reads steps line by line.
class BatchReader {
 public:
  BatchReader(std::istream& in, std::string name, std::int64_t packs_per_step)
      : in_(in), name_(std::move(name)), packs_per_step_(packs_per_step) {
    if (packs_per_step < 1) {
      throw InputError("packs per step", fmt::format("{}", packs_per_step), "at least 1");
    }
  }

  /// Goes on to just before `line`.
  void skip_to(std::int64_t line) {
    std::string text;
    while (line_ + 1 < line && std::getline(in_, text)) ++line_;
    if (line_ + 1 < line || in_.peek() == std::istream::traits_type::eof()) {
      throw InputError(name_, plain_count(line_, "line"), fmt::format("a line {}", line));
    }
  }

  std::optional<Batch> next() {
    auto row = next_row();
    if (!row) return std::nullopt;
    if (!row->recorded && packs_per_step_ > 1) {
      throw InputError(fmt::format("{}: line {}", name_, line_), "a whole step",
                       fmt::format("recorded rows with 'seqlens', {} of which form a step", packs_per_step_));
    }
    Batch batch = std::move(row->batch);
    for (std::int64_t pack = 1; pack < packs_per_step_; ++pack) {
      row = next_row();
      if (!row) break;  // the last step may have fewer packs
      if (!row->recorded) {
        throw InputError(fmt::format("{}: line {}", name_, line_), "a whole step",
                         "a recorded row with 'seqlens'");
      }
      batch.packs.push_back(std::move(row->batch.packs[0]));
    }
    validate(batch, fmt::format("{}: line {}", name_, line_));
    return batch;
  }

 private:
  std::optional<Row> next_row() {
    std::string text;
    while (std::getline(in_, text)) {
      ++line_;
      if (!is_blank(text)) return read_row(JsonDocument::parse_text(text, name_, {}, line_).root());
    }
    return std::nullopt;
  }

  std::istream& in_;
  std::string name_;
  std::int64_t packs_per_step_;
  std::int64_t line_ = 0;
};

std::ifstream open_lines(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw InputError(path, "a directory", "a JSON lines file");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw InputError(path, std::strerror(errno), "a readable JSON lines file");
  return in;
}

}  // namespace

BatchReference parse_batch_reference(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return {std::string(text), 0};
  const std::string_view digits = text.substr(colon + 1);
  std::int64_t line = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), line);
  if (digits.empty() || end != digits.data() + digits.size()) return {std::string(text), 0};
  if (error != std::errc() || line < 1) {
    throw InputError(std::string(text), fmt::format("line {}", digits), "a line number of at least 1");
  }
  return {std::string(text.substr(0, colon)), line};
}

Batch read_batch(const std::string& path, std::int64_t line, std::int64_t packs_per_step) {
  if (line < 1) throw InputError(path, fmt::format("line {}", line), "a line number of at least 1");
  std::ifstream in = open_lines(path);
  BatchReader reader(in, path, packs_per_step);
  reader.skip_to(line);
  if (auto batch = reader.next()) return *batch;
  throw InputError(path, fmt::format("nothing at line {}", line), "a batch");
}

std::vector<Batch> read_batches(const std::string& path, std::int64_t max_batches,
                                std::int64_t packs_per_step) {
  std::ifstream in = open_lines(path);
  return read_batches(in, path, max_batches, packs_per_step);
}

std::vector<Batch> read_batches(std::istream& in, const std::string& name, std::int64_t max_batches,
                                std::int64_t packs_per_step) {
  BatchReader reader(in, name, packs_per_step);
  std::vector<Batch> batches;
  while (max_batches < 0 || static_cast<std::int64_t>(batches.size()) < max_batches) {
    auto batch = reader.next();
    if (!batch) break;
    batches.push_back(std::move(*batch));
  }
  if (batches.empty() && max_batches != 0) throw InputError(name, "no batches", "at least one line");
  return batches;
}

Batch read_batch(const JsonValue& value) {
  ObjectReader reader(value);
  Batch batch = read_step(reader).batch;
  reader.finish();
  validate(batch, value.path());
  return batch;
}

std::string to_json(const Batch& batch) {
  std::ostringstream text;
  JsonWriter out(text);
  out.open_object(JsonLayout::compact);
  out.member("step", batch.step);
  out.key(batch.fixed_packs ? "packs" : "documents");
  if (batch.fixed_packs) out.open_array(JsonLayout::compact);
  for (const auto& pack : batch.packs) {
    out.open_array(JsonLayout::compact);
    for (const std::int64_t length : pack) out.value(length);
    out.close();
  }
  if (batch.fixed_packs) out.close();
  out.close();
  out.finish(false);
  return text.str();
}

}  // namespace strata
