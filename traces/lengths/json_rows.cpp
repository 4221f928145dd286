// SPDX-License-Identifier: Apache-2.0
// One JSON object of a recorded batch: all keys that say something of its documents must say the same.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/json/json_reader.hpp"
#include "traces/lengths/json_row.hpp"
#include "traces/lengths/length_formats.hpp"
#include "traces/lengths/line_reader.hpp"

namespace strata {

namespace {

using Lengths = std::vector<std::int64_t>;

constexpr std::int64_t kMostStep = std::numeric_limits<std::int64_t>::max();

}  // namespace

void JsonRow::collect() {
  for (const JsonValue member : object_.members()) {
    const std::string_view name = member.key();
    if (reader_.ignores(name)) {
      reader_.ledger_.leave(name);
      continue;
    }
    if (member.is_null()) continue;  // null means absent
    const BatchKey* key = find_batch_key(name);
    const bool list_text = member.kind() == JsonKind::string && is_list_text(member.string());
    const bool text = (member.kind() == JsonKind::string && !list_text) || member.kind() == JsonKind::boolean;
    const bool list = member.kind() == JsonKind::array || list_text;
    const bool used = key != nullptr && key->treatment() == KeyTreatment::used;
    const bool listed_harmless = key != nullptr && key->meaning == KeyMeaning::harmless;
    const bool refused = key == nullptr || (listed_harmless && list) ? looks_meaningful(name, list)
                                                                     : key->meaning == KeyMeaning::refused;
    if (refused && !text) refuse_key(member.path(), name);
    if (used && list_text) member.fail("a number or a list, without quotes around it");
    if (member.kind() == JsonKind::object || (!used && !list_text)) refuse_inside(member, name);
    // A name or number of the row's only document is a label; only a list numbers tokens.
    const bool label = used && key->meaning == KeyMeaning::numbers && !list;
    if (key == nullptr && !text) unknown_.push_back(member);
    if (label || !used) {
      reader_.ledger_.leave(name);
    } else {
      members_.push_back({member, key});
    }
  }
}

const JsonRow::Member* JsonRow::find(Meanings meanings) const {
  for (const Member& member : members_) {
    if (std::find(meanings.begin(), meanings.end(), member.key->meaning) != meanings.end()) return &member;
  }
  return nullptr;
}

void JsonRow::set_main(const std::string& key, const std::string& described) {
  if (reader_.main_.empty()) {
    reader_.main_ = key;
    reader_.source_ = described;
  }
  if (reader_.main_ == key) return;
  object_.fail(fmt::format("no {}", quoted_excerpt(reader_.main_)), "it in every row, as in the first");
}

Lengths JsonRow::lengths_with_zeros(const JsonValue& list) const {
  Lengths lengths;
  for (const JsonValue item : list.items()) {
    const bool zero = item.kind() == JsonKind::integer && item.integer(-kMostStep - 1, kMostStep) == 0;
    // A list that begins with 0 and rises holds offsets, not an empty document.
    const bool first = lengths.empty() && list.size() > 1;
    lengths.push_back(item.integer(zero && !first ? 0 : 1, kLongestDocument));
  }
  return lengths;
}

/// {"step", "packs"} or {"step", "documents"}: strict but for empty packs and documents, which trainers log.
void JsonRow::read_own_form(const Member& list) {
  const bool packs = list.key->meaning == KeyMeaning::packs;
  if (find({KeyMeaning::packs}) != nullptr && find({KeyMeaning::documents}) != nullptr)
    object_.fail("both 'packs' and 'documents'", "one of them");
  ObjectReader strict(object_);
  for (const std::string_view name : {"step", "packs", "documents"}) strict.find(name);
  for (const JsonValue member : object_.members()) {
    const std::string_view name = member.key();
    const bool known = name == "packs" || name == "documents" || name == "step" || member.is_null();
    if (!known && !reader_.ignores(name)) strict.finish();
  }
  row_.kind = packs ? RowKind::step : RowKind::free_documents;
  use(list.value);
  if (!packs) {
    row_.packs.push_back(lengths_with_zeros(list.value));
    return;
  }
  for (const JsonValue pack : list.value.items()) row_.packs.push_back(lengths_with_zeros(pack));
}

const JsonRow::Member* JsonRow::named(std::string_view name) const {
  for (const Member& member : members_) {
    if (member.key->name == name) return &member;
  }
  return nullptr;
}

std::vector<JsonRow::Stated> JsonRow::stated() const {
  std::vector<Stated> all;
  for (const Member& member : members_) {
    const JsonValue& value = member.value;
    const KeyMeaning meaning = member.key->meaning;
    const bool is_length = meaning == KeyMeaning::length || meaning == KeyMeaning::free_documents;
    const bool list = value.kind() == JsonKind::array;
    if ((is_length && !list) || meaning == KeyMeaning::total)
      all.push_back({value, std::string(value.key()), value.integer(0, kMostOffset), nullptr});
    if (meaning != KeyMeaning::pair) continue;
    for (const LengthColumn& pair : kLengthColumns) {
      const Member* second = pair.name == member.key->name ? named(pair.second) : nullptr;
      if (second == nullptr) continue;
      const std::int64_t tokens =
          value.integer(0, kLongestDocument) + second->value.integer(0, kLongestDocument);
      all.push_back({value, column_text(pair), tokens, second});
    }
  }
  return all;
}

/// All numbers of tokens that the row gives are one number: the tokens of its documents, or those of the row.
void JsonRow::check_stated() {
  const std::vector<Stated> all = stated();
  const std::int64_t documents =
      std::accumulate(borders_->documents.begin(), borders_->documents.end(), std::int64_t{0});
  const std::int64_t row = documents + row_.padding;
  for (const Stated& number : all) {
    const bool pair = number.second != nullptr;
    const std::string tokens = fmt::to_string(number.tokens);
    const std::string found = pair ? number.name + " = " + tokens : tokens;
    const JsonValue& at = pair ? object_ : number.at;
    const Stated& first = all.front();
    use(number.at);
    if (pair) use(number.second->value);
    if (number.tokens != first.tokens)
      at.fail(found, fmt::format("{}, as {} says", first.tokens, first.name));
    if (number.tokens != documents && number.tokens != row) {
      const std::string with = row == documents ? "" : fmt::format(", or {} with padding", row);
      const std::string from = tokens_from_ ? std::string(tokens_from_->key()) : borders_from_;
      at.fail(found, fmt::format("{}{}, as {} says", documents, with, from));
    }
  }
}

void JsonRow::read_tokens() {
  if (const Member* ids = find({KeyMeaning::tokens})) {
    if (ids->value.kind() != JsonKind::array) ids->value.fail("a list of tokens");
    tokens_ = static_cast<std::int64_t>(list_of(ids->value).size());
    if (*tokens_ == 0) ids->value.fail("an empty list", "a list of at least one token");
    tokens_from_ = ids->value;
  }
}

void JsonRow::read_one_document() {
  std::optional<std::int64_t> length;
  for (const LengthColumn& column : kLengthColumns) {
    const Member* first = named(column.name);
    const Member* second = column.second.empty() ? first : named(column.second);
    if (first == nullptr || second == nullptr) continue;
    use(first->value);
    use(second->value);
    const JsonValue& value = first->value;
    length = column.second.empty()
                 ? value.integer(1, kLongestDocument)
                 : value.integer(0, kLongestDocument) + second->value.integer(0, kLongestDocument);
    const JsonValue& shown_at = column.second.empty() ? value : object_;
    if (*length < 1 || *length > kLongestDocument) {
      shown_at.fail(fmt::format("{} tokens", *length), fmt::format("1 to {}", kLongestDocument));
    }
    set_main(std::string(column.name), column_text(column));
    break;
  }
  if (!length && !tokens_ && is_padding_.empty()) {
    if (!reader_.main_.empty()) set_main("", "");
    std::vector<std::string_view> keys;
    for (const JsonValue member : object_.members()) keys.push_back(member.key());
    const std::string found = keys.empty() ? "an object without keys" : "the keys " + shown_names(keys);
    object_.fail(found, known_columns() + ", input_ids, or borders such as cu_seqlens" + meant_column(keys));
  }
  const std::int64_t all = tokens_                         ? *tokens_
                           : length && is_padding_.empty() ? *length
                                                           : std::ssize(is_padding_);
  if (!length) {
    const std::string key(tokens_ ? tokens_from_->key() : find({KeyMeaning::masked_numbers})->value.key());
    set_main(key, key + (tokens_ ? " (their number)" : " (a mask)"));
  }
  if (tokens_) use(*tokens_from_);
  row_.kind = is_padding_.empty() ? RowKind::document : RowKind::maybe_pack;
  borders_ = DocumentList{{length.value_or(all - masked())}, 0};
  borders_from_ = reader_.main_;
  count_padding();
  if (borders_->documents[0] < 1) object_.fail("only padding", "at least one token");
}

void JsonRow::check_longest_and_flags() {
  std::int64_t longest = 0, all = row_.padding;
  for (const std::int64_t document : borders_->documents) {
    longest = std::max(longest, document);
    all += document;
  }
  for (const Member& member : members_) {
    const JsonValue& value = member.value;
    if (member.key->meaning == KeyMeaning::longest) {
      const std::int64_t most = number_of(value).integer(0, kMostOffset);
      if (most < longest)
        value.fail(fmt::to_string(most), fmt::format("at least the longest document, {}", longest));
      use(value);
    }
    if (member.key->meaning == KeyMeaning::token_flags) {
      if (value.kind() != JsonKind::array) value.fail("a list, an entry for every token");
      const auto flags = static_cast<std::int64_t>(list_of(value).size());
      // Sets that are stored for training have a label more, or less, than tokens.
      if (flags < all - 1 || flags > all + 1) {
        value.fail(fmt::format("a list of {}", flags), fmt::format("{}, one for every token", all));
      }
      use(value);
    }
  }
}

/// A count beside the length of one document makes a histogram; otherwise it is that of the row's documents.
void JsonRow::read_count(const Member& member) {
  const JsonValue& value = member.value;
  const std::int64_t count = value.integer(0, kMostStep);
  const std::int64_t documents = std::ssize(row_.packs[0]);
  const bool histogram = member.key->meaning == KeyMeaning::copies && row_.kind == RowKind::document &&
                         find({KeyMeaning::tokens}) == nullptr;
  if (histogram) row_.copies = count;
  if (!histogram && count != documents) {
    value.fail(fmt::to_string(count),
               fmt::format("{}, the documents of the row ({} beside a length for copies)", documents,
                           quoted_excerpt("count")));
  }
  use(value);
}

void JsonRow::read_row_numbers() {
  const Member* step = nullptr;
  for (const std::string_view name : {"step", "global_step", "train_step", "iteration", "batch"}) {
    for (const Member& member : members_) {
      if (member.key->name != name) continue;
      step == nullptr ? use(member.value) : reader_.ledger_.leave(member.value.key());
      if (step == nullptr) step = &member;
    }
  }
  if (step != nullptr) row_.step = step->value.integer(0, kMostStep);
  for (const Member& member : members_) {
    const JsonValue& value = member.value;
    switch (member.key->meaning) {
      case KeyMeaning::row:
        if (row_.kind == RowKind::document) refuse_key(value.path(), value.key());
        row_.row_key = member.key->name;
        break;
      case KeyMeaning::data_rank:
        row_.data_rank = value.integer(0, kLongestDocument);
        break;
      case KeyMeaning::measured:
        row_.measured_ms = value.number(0);
        break;
      case KeyMeaning::copies:
      case KeyMeaning::document_count:
        read_count(member);
        break;
      case KeyMeaning::parts:
        // Without whole lengths a list of parts tells of several documents.
        if (value.kind() == JsonKind::array && row_.kind == RowKind::document)
          refuse_key(value.path(), value.key());
        break;
      default:
        break;
    }
  }
}

void JsonRow::leave_the_rest() {
  const std::vector<std::string>& used = reader_.ledger_.used();
  for (const Member& member : members_) {
    const JsonValue& value = member.value;
    if (std::find(used.begin(), used.end(), value.key()) != used.end()) continue;
    if (member.key->meaning == KeyMeaning::fill_begin)
      value.fail("where fill begins", "the offsets that it is about");
    reader_.ledger_.leave(value.key());
  }
}

LengthRow JsonRow::read() {
  collect();
  if (const Member* own = find({KeyMeaning::packs, KeyMeaning::documents})) {
    read_own_form(*own);
    if (const Member* step = find({KeyMeaning::step})) {
      row_.step = step->value.integer(0, kMostStep);
      use(step->value);
    }
    return std::move(row_);
  }
  read_tokens();
  read_lists();
  read_masks();
  read_per_token();
  read_labels();
  read_twins();
  if (borders_) {
    read_total();
    if (tokens_) use(*tokens_from_);
    const char* kind = row_.kind == RowKind::pack             ? " (fixed packs)"
                       : row_.kind == RowKind::free_documents ? " (free documents)"
                                                              : " (borders of documents)";
    // Rows with and without borders of their own go together where the tokens are the same key.
    if (row_.kind == RowKind::maybe_pack && tokens_) {
      set_main(std::string(tokens_from_->key()),
               fmt::format("{}, borders from {}", tokens_from_->key(), borders_from_));
    } else {
      set_main(borders_from_, borders_from_ + kind);
    }
    count_padding();
  } else {
    read_one_document();
  }
  check_stated();
  check_longest_and_flags();
  row_.packs.push_back(borders_->documents);
  check_unknown();
  read_row_numbers();
  leave_the_rest();
  return std::move(row_);
}

bool JsonRowReader::ignores(std::string_view name) {
  if (std::find(ignored_.begin(), ignored_.end(), name) == ignored_.end()) return false;
  ignored_met_.emplace(name);
  return true;
}

LengthRow JsonRowReader::read(const JsonValue& row) { return JsonRow(*this, row).read(); }

std::string JsonRowReader::described() const { return source_.empty() ? "steps" : source_; }

}  // namespace strata
