// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <sstream>

#include "core/base/check.hpp"
#include "core/base/visible_text.hpp"
#include "core/json/json_data.hpp"
#include "core/json/json_document.hpp"
#include "core/json/json_writer.hpp"

namespace strata {

namespace {

const JsonNode& node_at(const JsonData& data, std::uint32_t index) { return data.nodes[index]; }

std::string_view string_of(const JsonData& data, const JsonNode& node) {
  return std::string_view(data.text).substr(static_cast<std::size_t>(node.value), node.extent);
}

double real_of(const JsonNode& node) {
  switch (node.json_kind()) {
    case JsonKind::integer:
      return static_cast<double>(node.value);
    case JsonKind::big_integer:
      return static_cast<double>(static_cast<std::uint64_t>(node.value));
    default:
      return std::bit_cast<double>(node.value);
  }
}

std::string range_text(std::int64_t min, std::int64_t max) {
  if (min == std::numeric_limits<std::int64_t>::min() && max == std::numeric_limits<std::int64_t>::max()) {
    return "an integer";
  }
  if (max == std::numeric_limits<std::int64_t>::max()) return fmt::format("an integer of at least {}", min);
  return fmt::format("an integer from {} to {}", min, max);
}

std::string range_text(double min, double max) {
  const bool below = min > std::numeric_limits<double>::lowest();
  const bool above = max < std::numeric_limits<double>::max();
  if (below && above) return fmt::format("a number from {} to {}", number_text(min), number_text(max));
  if (below) return fmt::format("a number of at least {}", number_text(min));
  if (above) return fmt::format("a number of at most {}", number_text(max));
  return "a number";
}

void append_canonical(JsonWriter& out, const JsonValue& value) {
  switch (value.kind()) {
    case JsonKind::null:
      return out.null();
    case JsonKind::boolean:
      return out.value(value.boolean());
    case JsonKind::integer:
      return out.value(
          value.integer(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()));
    case JsonKind::big_integer:
      return out.value(value.unsigned_integer());
    case JsonKind::real:
      return out.value(value.number());
    case JsonKind::string:
      return out.value(value.string());
    case JsonKind::array:
      out.open_array(JsonLayout::compact);
      for (const JsonValue item : value.items()) append_canonical(out, item);
      return out.close();
    case JsonKind::object:
      break;
  }
  std::vector<JsonValue> members;
  for (const JsonValue member : value.members()) members.push_back(member);
  std::sort(members.begin(), members.end(),
            [](const JsonValue& a, const JsonValue& b) { return a.key() < b.key(); });
  out.open_object(JsonLayout::compact);
  for (const JsonValue& member : members) {
    out.key(member.key());
    append_canonical(out, member);
  }
  out.close();
}

}  // namespace

JsonKind JsonValue::kind() const { return node_at(*data_, node_).json_kind(); }

std::int64_t JsonValue::integer(std::int64_t min, std::int64_t max) const {
  const JsonNode& node = node_at(*data_, node_);
  if (node.json_kind() != JsonKind::integer || node.value < min || node.value > max)
    fail(range_text(min, max));
  return node.value;
}

std::uint64_t JsonValue::unsigned_integer() const {
  const JsonNode& node = node_at(*data_, node_);
  if (node.json_kind() != JsonKind::big_integer &&
      (node.json_kind() != JsonKind::integer || node.value < 0)) {
    fail("an integer from 0 to 2^64 - 1");
  }
  return static_cast<std::uint64_t>(node.value);
}

double JsonValue::number(double min, double max) const {
  const JsonNode& node = node_at(*data_, node_);
  const JsonKind kind = node.json_kind();
  if (kind != JsonKind::integer && kind != JsonKind::big_integer && kind != JsonKind::real) {
    fail(range_text(min, max));
  }
  const double value = real_of(node);
  if (!(value >= min && value <= max)) fail(range_text(min, max));
  return value;
}

bool JsonValue::boolean() const {
  const JsonNode& node = node_at(*data_, node_);
  if (node.json_kind() != JsonKind::boolean) fail("true or false");
  return node.value != 0;
}

std::string_view JsonValue::string() const {
  const JsonNode& node = node_at(*data_, node_);
  if (node.json_kind() != JsonKind::string) fail("a string");
  return string_of(*data_, node);
}

std::string_view JsonValue::line() const {
  const std::string_view text = string();
  if (text.find('\n') != std::string_view::npos) fail("a text of several lines", "one line");
  return text;
}

std::size_t JsonValue::size() const {
  const JsonNode& node = node_at(*data_, node_);
  STRATA_CHECK(node.json_kind() == JsonKind::array || node.json_kind() == JsonKind::object,
               "only lists and objects have a size, {} has none", path());
  return static_cast<std::size_t>(node.value);
}

JsonValue::Iterator& JsonValue::Iterator::operator++() {
  node_ += node_at(*data_, node_).step();
  return *this;
}

JsonValue::Children JsonValue::items() const {
  const JsonNode& node = node_at(*data_, node_);
  if (node.json_kind() != JsonKind::array) fail("a list");
  return {{*data_, node_ + 1}, {*data_, node_ + node.extent}};
}

JsonValue::Children JsonValue::members() const {
  const JsonNode& node = node_at(*data_, node_);
  if (node.json_kind() != JsonKind::object) fail("an object");
  return {{*data_, node_ + 1}, {*data_, node_ + node.extent}};
}

std::string_view JsonValue::key() const { return data_->keys[node_at(*data_, node_).key]; }

std::string JsonValue::path() const {
  // Nodes do not know their parents: walk down from the root into the container that spans this node.
  std::string path;
  std::uint32_t at = 0;
  while (at != node_) {
    const bool array = node_at(*data_, at).json_kind() == JsonKind::array;
    std::size_t index = 0;
    std::uint32_t child = at + 1;
    for (; child + node_at(*data_, child).step() <= node_; ++index) child += node_at(*data_, child).step();
    if (array) {
      path += fmt::format("[{}]", index);
    } else {
      // A message is one line that a terminal may show, whatever a file has for a key.
      path += (path.empty() ? "" : ".") + visible_text(data_->keys[node_at(*data_, child).key]);
    }
    at = child;
  }
  return json_place(*data_, path);
}

std::string JsonValue::description() const {
  constexpr std::size_t kMaxShown = 60;
  const JsonNode& node = node_at(*data_, node_);
  switch (node.json_kind()) {
    case JsonKind::null:
      return "null";
    case JsonKind::boolean:
      return node.value != 0 ? "true" : "false";
    case JsonKind::integer:
      return fmt::format("{}", node.value);
    case JsonKind::big_integer:
      return fmt::format("{}", static_cast<std::uint64_t>(node.value));
    case JsonKind::real: {
      const std::string text = number_text(real_of(node));
      return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
    }
    case JsonKind::array:
      return "a list";
    case JsonKind::object:
      return "an object";
    case JsonKind::string:
      break;
  }
  std::string shown;
  for (const char c : string_of(*data_, node).substr(0, kMaxShown)) {
    shown += static_cast<unsigned char>(c) >= ' ' && c != 127 ? c : '?';
  }
  return fmt::format("\"{}{}\"", shown, node.extent > kMaxShown ? "..." : "");
}

void JsonValue::fail(const std::string& expected) const { throw InputError(path(), description(), expected); }

void JsonValue::fail(const std::string& found, const std::string& expected) const {
  throw InputError(path(), found, expected);
}

std::string JsonValue::canonical_text() const {
  std::ostringstream text;
  JsonWriter out(text);
  append_canonical(out, *this);
  out.finish(false);
  return text.str();
}

}  // namespace strata
