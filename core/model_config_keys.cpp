// SPDX-License-Identifier: Apache-2.0
#include "core/model_config_keys.hpp"

#include <fmt/format.h>

namespace strata::detail {

namespace {

/// A key of a foreign file as it may be printed: a terminal obeys control characters.
std::string printable_key(std::string_view key) {
  constexpr std::size_t kMax = 80;
  std::string clean;
  for (const char c : key.substr(0, kMax)) clean += c >= ' ' && c <= '~' ? c : '?';
  if (key.size() > kMax) clean += "...";
  return clean;
}

}  // namespace

ConfigKeys::ConfigKeys(JsonValue object) : object_(object) {
  for (const JsonValue member : object.members()) {
    if (!member.is_null()) entries_.push_back(Entry{member, false});
  }
}

std::optional<JsonValue> ConfigKeys::find(std::string_view name) {
  for (Entry& entry : entries_) {
    if (entry.value.key() != name) continue;
    entry.used = true;
    return entry.value;
  }
  return std::nullopt;
}

std::optional<JsonValue> ConfigKeys::find(KeyNames names) {
  std::optional<JsonValue> first;
  for (const std::string_view name : names) {
    const auto value = find(name);
    if (!value) continue;
    if (first && first->canonical_text() != value->canonical_text()) {
      value->fail(fmt::format("{} where {} says {}", value->description(), printable_key(first->key()),
                              first->description()),
                  "two names of one thing to agree");
    }
    if (!first) first = value;
  }
  return first;
}

JsonValue ConfigKeys::required(std::string_view name, std::string_view expected) {
  return required(KeyNames(&name, 1), expected);
}

JsonValue ConfigKeys::required(KeyNames names, std::string_view expected) {
  const auto value = find(names);
  if (!value) object_.fail(fmt::format("no field '{}'", names.front()), std::string(expected));
  return *value;
}

std::int64_t ConfigKeys::size_of(const JsonValue& value, std::int64_t max) {
  if (value.kind() != JsonKind::array) return value.integer(1, max);
  if (value.size() == 0) value.fail("an integer");
  const std::int64_t first = (*value.items().begin()).integer(1, max);
  for (const JsonValue item : value.items()) {
    if (item.integer(1, max) != first) {
      item.fail(fmt::format("{} after {}", item.integer(1, max), first), "one value for all layers");
    }
  }
  return first;
}

bool ConfigKeys::flag(std::string_view name, bool fallback) {
  const auto value = find(name);
  return value ? value->boolean() : fallback;
}

bool ConfigKeys::is_null(std::string_view name) const {
  for (const JsonValue member : object_.members()) {
    if (member.key() == name) return member.is_null();
  }
  return false;
}

std::optional<JsonValue> ConfigKeys::unused(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (!entry.used && entry.value.key() == name) return entry.value;
  }
  return std::nullopt;
}

std::vector<std::string> ConfigKeys::unused_keys() const {
  std::vector<std::string> keys;
  for (const Entry& entry : entries_) {
    if (!entry.used) keys.push_back(printable_key(entry.value.key()));
  }
  return keys;
}

}  // namespace strata::detail
