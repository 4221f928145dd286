// SPDX-License-Identifier: Apache-2.0
// The keys of a configuration that somebody else defines: null means absent, one thing may have several
// names, and what nobody asked for can be listed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json/json_document.hpp"

namespace strata::detail {

/// The names of one thing, in order of preference. Where several are stated they must agree.
using KeyNames = std::span<const std::string_view>;

class ConfigKeys {
 public:
  /// InputError unless it is an object.
  explicit ConfigKeys(JsonValue object);

  /// The value, or nothing where the key is absent or null. Marks the key as used.
  std::optional<JsonValue> find(std::string_view name);
  /// The first stated name's value. InputError where two names state different values. Marks them all.
  std::optional<JsonValue> find(KeyNames names);
  /// As `find`; InputError naming the first name where none is stated.
  JsonValue required(std::string_view name, std::string_view expected);
  JsonValue required(KeyNames names, std::string_view expected);

  std::int64_t integer(KeyNames names, std::int64_t max) {
    return size_of(required(names, "an integer"), max);
  }
  /// An integer from 1 to `max`, or a list that repeats one such integer.
  static std::int64_t size_of(const JsonValue& value, std::int64_t max);
  /// Whether the key is stated and true.
  bool flag(std::string_view name, bool fallback = false);

  /// Marks as used what `other` states with the same value: a wrapper may repeat its text model's keys.
  void mark_repeats_of(const ConfigKeys& other);
  /// Whether the key is there and null.
  bool is_null(std::string_view name) const;
  /// The value of a key that was stated (not null) and that nobody asked for; nothing otherwise. Marks
  /// nothing.
  std::optional<JsonValue> unused(std::string_view name) const;
  /// Every stated key that nobody asked for, in file order, as it may stand in a message.
  std::vector<std::string> unused_keys() const;
  const JsonValue& value() const { return object_; }

 private:
  struct Entry {
    JsonValue value;
    bool used = false;
  };
  JsonValue object_;
  std::vector<Entry> entries_;  // without nulls
};

}  // namespace strata::detail
