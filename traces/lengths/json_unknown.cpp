// SPDX-License-Identifier: Apache-2.0
// Keys of a JSON object that the table does not list, and what objects and lists inside a row hold. They are
// not read, so that none of them may carry borders, padding or ranks: by its name, or by its numbers, which
// make several documents of the row's tokens.
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <string_view>

#include "traces/lengths/json_row.hpp"

namespace strata {

namespace {

using Lengths = std::vector<std::int64_t>;

bool is_list(const JsonValue& value) {
  return value.kind() == JsonKind::array ||
         (value.kind() == JsonKind::string && is_list_text(value.string()));
}

void add_number(const JsonValue& value, Lengths& numbers) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  numbers.push_back(value.integer(-kMost - 1, kMost));
}

/// Adds the integers of a list, or of lists in it; false when it holds anything else.
bool add_numbers(const JsonValue& list, Lengths& numbers) {
  for (const JsonValue item : list.items()) {
    if (item.kind() == JsonKind::array) {
      if (!add_numbers(item, numbers)) return false;
    } else if (item.kind() == JsonKind::integer) {
      add_number(item, numbers);
    } else {
      return false;
    }
  }
  return true;
}

std::optional<Lengths> numbers_of(const JsonValue& value) {
  if (value.kind() == JsonKind::string) return numbers_in_text(value.string());
  Lengths numbers;
  if (!add_numbers(value, numbers)) return std::nullopt;
  return numbers;
}

/// Whether numbers make other documents of the row than it has.
bool are_borders(const Lengths& numbers, const Lengths& documents, std::int64_t padding) {
  const std::int64_t tokens = std::accumulate(documents.begin(), documents.end(), std::int64_t{0});
  for (const std::int64_t all : {tokens, tokens + padding}) {
    const std::optional<Lengths> spelled = documents_spelled(numbers, all);
    if (spelled && *spelled != documents) return true;
  }
  return false;
}

}  // namespace

void refuse_inside(const JsonValue& value, std::string_view outer, bool one_of_several) {
  if (value.kind() == JsonKind::array) {
    for (const JsonValue item : value.items()) refuse_inside(item, outer, value.size() > 1);
  }
  if (value.kind() != JsonKind::object) return;
  for (const JsonValue member : value.members()) {
    const bool list = is_list(member);
    refuse_inside(member, outer, one_of_several);
    const bool text = member.kind() == JsonKind::string && !list;
    if (member.is_null() || text || member.kind() == JsonKind::boolean) continue;
    const BatchKey* key = find_batch_key(member.key());
    // A number of one object is of the row; those of several objects are of its parts.
    const bool known =
        key != nullptr && (key->treatment() == KeyTreatment::refused ||
                           ((list || one_of_several) && key->treatment() == KeyTreatment::used));
    if (known || looks_meaningful(member.key(), list)) refuse_key(member.path(), member.key(), outer);
  }
}

void JsonRow::check_unknown() const {
  Lengths documents = row_.packs[0];
  std::erase(documents, 0);
  for (const JsonValue& value : unknown_) check_unknown(value, {}, documents);
}

void JsonRow::check_unknown(const JsonValue& value, std::string_view outer, const Lengths& documents) const {
  const std::string_view around = outer.empty() ? value.key() : outer;
  if (is_list(value)) {
    const std::optional<Lengths> numbers = numbers_of(value);
    if (numbers && are_borders(*numbers, documents, row_.padding))
      refuse_key(value.path(), value.key(), outer);
  }
  if (value.kind() == JsonKind::array) check_objects(value, around, documents);
  if (value.kind() == JsonKind::object) {
    for (const JsonValue member : value.members()) {
      if (find_batch_key(member.key()) == nullptr) check_unknown(member, around, documents);
    }
  }
}

/// Objects in a list, where a key has a number in each of them.
void JsonRow::check_objects(const JsonValue& list, std::string_view outer, const Lengths& documents) const {
  std::map<std::string_view, Lengths> columns;
  for (const JsonValue item : list.items()) {
    if (item.kind() != JsonKind::object) continue;
    for (const JsonValue member : item.members()) {
      if (find_batch_key(member.key()) != nullptr) continue;
      check_unknown(member, outer, documents);
      if (member.kind() != JsonKind::integer) continue;
      Lengths& column = columns[member.key()];
      add_number(member, column);
      if (column.size() == list.size() && are_borders(column, documents, row_.padding))
        refuse_key(member.path(), member.key(), outer);
    }
  }
}

}  // namespace strata
