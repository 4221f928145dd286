// SPDX-License-Identifier: Apache-2.0
#include "core/problem/batch_json.hpp"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <sstream>

#include "core/base/check.hpp"
#include "core/json/json_reader.hpp"
#include "core/json/json_writer.hpp"

namespace strata {

namespace {

constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxStep = std::numeric_limits<std::int64_t>::max();

std::vector<std::int64_t> read_lengths(const JsonValue& list) {
  std::vector<std::int64_t> lengths;
  for (const JsonValue item : list.items()) lengths.push_back(item.integer(1, kMaxTokens));
  if (lengths.empty()) list.fail("an empty list", "at least one document");
  return lengths;
}

Batch read_step(ObjectReader& reader) {
  Batch batch;
  batch.step = reader.optional_int<std::int64_t>("step", 0, kMaxStep, 0);
  const auto packs = reader.find("packs");
  const auto documents = reader.find("documents");
  if (packs && documents) reader.value().fail("both 'packs' and 'documents'", "one of them");
  if (!packs && !documents) {
    reader.finish();
    reader.value().fail("no documents", "a field 'packs' or 'documents'");
  }
  batch.fixed_packs = packs.has_value();
  if (documents) {
    batch.packs.push_back(read_lengths(*documents));
  } else {
    for (const JsonValue pack : packs->items()) batch.packs.push_back(read_lengths(pack));
    if (batch.packs.empty()) packs->fail("an empty list", "at least one pack");
  }
  return batch;
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

Batch read_batch(const JsonValue& value) {
  ObjectReader reader(value);
  Batch batch = read_step(reader);
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
