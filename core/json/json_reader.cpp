// SPDX-License-Identifier: Apache-2.0
#include "core/json/json_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/base/check.hpp"
#include "core/base/closest_name.hpp"

namespace strata {

namespace {

std::string nearest_names(std::string_view name, const std::vector<std::string_view>& known) {
  const std::string_view best = closest_name(name, known);
  if (!best.empty()) return fmt::format("'{}'", best);
  return known.empty() ? "no fields" : fmt::format("one of {}", fmt::join(known, ", "));
}

}  // namespace

ObjectReader::ObjectReader(JsonValue object)
    : object_(object), members_(object.members()), next_(members_.first) {}

std::optional<JsonValue> ObjectReader::find(std::string_view name) {
  STRATA_CHECK(asked_count_ < asked_.size(), "an object has at most {} fields", asked_.size());
  asked_[asked_count_++] = name;
  JsonValue::Iterator at = next_;
  for (std::size_t tried = 0; tried < object_.size(); ++tried) {
    if (at == members_.last) at = members_.first;
    const JsonValue member = *at;
    ++at;
    if (member.key() != name) continue;
    next_ = at;
    ++found_count_;
    return member;
  }
  return std::nullopt;
}

JsonValue ObjectReader::required(std::string_view name, std::string_view expected) {
  const auto value = find(name);
  if (!value) object_.fail(fmt::format("no field '{}'", name), std::string(expected));
  return *value;
}

std::int64_t ObjectReader::required_integer(std::string_view name, std::int64_t min, std::int64_t max) {
  return required(name, "an integer").integer(min, max);
}

double ObjectReader::required_number(std::string_view name, double min, double max) {
  return required(name, "a number").number(min, max);
}

std::string ObjectReader::required_string(std::string_view name) {
  return std::string(required(name, "a string").line());
}

bool ObjectReader::required_bool(std::string_view name) { return required(name, "true or false").boolean(); }

void ObjectReader::finish() const {
  if (found_count_ == object_.size()) return;
  const std::vector<std::string_view> known(asked_.begin(),
                                            asked_.begin() + static_cast<std::ptrdiff_t>(asked_count_));
  for (const JsonValue member : object_.members()) {
    if (std::find(known.begin(), known.end(), member.key()) != known.end()) continue;
    member.fail("an unknown field", nearest_names(member.key(), known));
  }
  STRATA_CHECK(false, "every field of {} must be asked for once", object_.path());
}

}  // namespace strata
