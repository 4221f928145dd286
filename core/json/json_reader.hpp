// SPDX-License-Identifier: Apache-2.0
// Reading an object field by field: ask for every field the format knows, then `finish`, which rejects the
// rest and names the nearest valid field.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/json/json_document.hpp"

namespace strata {

/// Throws InputError naming the path for every missing, mistyped, out-of-range or unknown field. Names must
/// be string literals; asking in the order of the file is fastest, any order works.
class ObjectReader {
 public:
  explicit ObjectReader(JsonValue object);

  /// The field, or nothing.
  std::optional<JsonValue> find(std::string_view name);
  /// `expected` describes the field where it is missing: "a list of documents".
  JsonValue required(std::string_view name, std::string_view expected);

  template <typename Integer = std::int64_t>
  Integer required_int(std::string_view name, std::int64_t min, std::int64_t max) {
    return static_cast<Integer>(required_integer(name, min, max));
  }
  template <typename Integer = std::int64_t>
  Integer optional_int(std::string_view name, std::int64_t min, std::int64_t max, Integer fallback) {
    const auto value = find(name);
    return value ? static_cast<Integer>(value->integer(min, max)) : fallback;
  }
  double required_number(std::string_view name, double min = std::numeric_limits<double>::lowest(),
                         double max = std::numeric_limits<double>::max());
  /// One line of text.
  std::string required_string(std::string_view name);
  bool required_bool(std::string_view name);

  /// One of a few words.
  template <typename Enum>
  Enum required_choice(std::string_view name,
                       std::initializer_list<std::pair<std::string_view, Enum>> choices) {
    return choice(required(name, "a string"), choices);
  }
  template <typename Enum>
  Enum optional_choice(std::string_view name,
                       std::initializer_list<std::pair<std::string_view, Enum>> choices,
                       std::type_identity_t<Enum> fallback) {
    const auto value = find(name);
    return value ? choice(*value, choices) : fallback;
  }

  /// Every member must have been asked for.
  void finish() const;
  const JsonValue& value() const { return object_; }

 private:
  std::int64_t required_integer(std::string_view name, std::int64_t min, std::int64_t max);
  template <typename Enum>
  static Enum choice(const JsonValue& value,
                     std::initializer_list<std::pair<std::string_view, Enum>> choices) {
    const std::string_view text = value.string();
    for (const auto& [word, meaning] : choices) {
      if (text == word) return meaning;
    }
    std::string expected;
    for (const auto& [word, meaning] : choices) {
      expected.append(expected.empty() ? "\"" : " or \"").append(word).append("\"");
    }
    value.fail(expected);
  }

  JsonValue object_;
  JsonValue::Children members_;
  JsonValue::Iterator next_;  // the member after the one found last
  std::array<std::string_view, 48> asked_;
  std::size_t asked_count_ = 0;
  std::size_t found_count_ = 0;
};

}  // namespace strata
