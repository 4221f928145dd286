// SPDX-License-Identifier: Apache-2.0
#include "core/problem/model_config_keys.hpp"

#include <fmt/format.h>

#include <map>

#include "core/base/visible_text.hpp"

namespace strata::detail {

namespace {

constexpr std::size_t kLongestKey = 80;

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
      value->fail(fmt::format("{} where {} says {}", value->description(),
                              visible_excerpt(first->key(), kLongestKey), first->description()),
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

void ConfigKeys::mark_repeats_of(const ConfigKeys& other) {
  std::map<std::string_view, JsonValue> theirs;
  for (const Entry& entry : other.entries_) theirs.emplace(entry.value.key(), entry.value);
  for (Entry& entry : entries_) {
    const auto same = theirs.find(entry.value.key());
    if (same == theirs.end()) continue;
    entry.used |= entry.value.canonical_text() == same->second.canonical_text();
  }
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
    if (!entry.used) keys.push_back(visible_excerpt(entry.value.key(), kLongestKey));
  }
  return keys;
}

}  // namespace strata::detail
