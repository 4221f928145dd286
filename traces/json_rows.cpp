// SPDX-License-Identifier: Apache-2.0
// One JSON object of a recorded batch: all keys that say something of its documents must say the same.
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <numeric>

#include "core/check.hpp"
#include "core/counts.hpp"
#include "traces/batch_keys.hpp"
#include "traces/length_formats.hpp"
#include "traces/length_rows.hpp"
#include "traces/line_reader.hpp"

namespace strata {

namespace {

using Lengths = std::vector<std::int64_t>;

constexpr std::int64_t kMostStep = std::numeric_limits<std::int64_t>::max();

std::int64_t sum(const Lengths& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

/// A list, or the only list of a list: batches of size one keep their dimension.
JsonValue list_of(const JsonValue& value) {
  const JsonValue first = value.size() > 0 ? *value.items().begin() : value;
  if (value.size() == 0 || first.kind() != JsonKind::array) return value;
  if (value.size() > 1) value.fail(plain_count(value.size(), "list"), "one list of numbers: a row a pack");
  return first;
}

Lengths integers(const JsonValue& value) {
  const JsonValue list = list_of(value);
  Lengths numbers;
  numbers.reserve(list.size());
  for (const JsonValue item : list.items()) numbers.push_back(item.integer(-kMostOffset, kMostOffset));
  return numbers;
}

/// A number, or the only number of a list.
JsonValue list_of_one(const JsonValue& value) {
  if (value.kind() != JsonKind::array || value.size() != 1) return value;
  return *value.items().begin();
}

Lengths without_zeros(Lengths lengths) {
  std::erase(lengths, 0);
  return lengths;
}

std::string shown(const Lengths& lengths) {
  constexpr std::size_t kShown = 6;
  std::string text = "documents of ";
  for (std::size_t i = 0; i < std::min(lengths.size(), kShown); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ", ", lengths[i]);
  return text + (lengths.size() > kShown ? ", ... tokens" : " tokens");
}

struct Member {
  JsonValue value;
  const BatchKey* key;
};

}  // namespace

/// The keys of one row while they are put together.
class JsonRow {
 public:
  JsonRow(JsonRowReader& reader, const JsonValue& object) : reader_(reader), object_(object) {}
  LengthRow read();

 private:
  using Meanings = std::initializer_list<KeyMeaning>;

  void collect();
  const Member* find(Meanings meanings) const;
  Lengths lengths_with_zeros(const JsonValue& list) const;
  void read_own_form();
  void read_tokens();
  void read_total();
  void read_masks();
  void read_lists();
  void read_per_token();
  Lengths offsets_of(const Member& member);
  void agree(DocumentList list, const JsonValue& from, bool is_pack);
  void read_twins();
  void read_labels();
  void read_one_document();
  void count_padding();
  void check_longest_and_flags();
  void read_row_numbers();
  void leave_the_rest();
  void set_main(const std::string& key, const std::string& described);
  void use(const JsonValue& value) { reader_.ledger_.use(value.key()); }
  std::int64_t masked() const { return std::count(is_padding_.begin(), is_padding_.end(), true); }

  JsonRowReader& reader_;
  const JsonValue& object_;
  std::vector<Member> members_;
  LengthRow row_;
  std::optional<DocumentList> borders_;  // of a pack; documents of 0 tokens kept
  std::string borders_from_;
  std::vector<bool> is_padding_;        // by token, where a mask says so
  std::optional<std::int64_t> tokens_;  // that the row holds, padding included
  std::optional<JsonValue> tokens_from_;
};

void JsonRow::collect() {
  for (const JsonValue member : object_.members()) {
    if (member.is_null()) continue;  // null means absent
    const std::string_view name = member.key();
    const auto& ignored = reader_.ignored_;
    const BatchKey* key = find_batch_key(name);
    const bool text = member.kind() == JsonKind::string || member.kind() == JsonKind::boolean;
    const bool list = member.kind() == JsonKind::array;
    const bool ignore = std::find(ignored.begin(), ignored.end(), name) != ignored.end();
    const bool refused = key != nullptr ? key->meaning == KeyMeaning::refused : looks_meaningful(name, list);
    if (!ignore && refused && !text) refuse_key(member.path(), name);
    // A name or number of the row's only document is a label; only a list numbers tokens.
    const bool label = key != nullptr && key->meaning == KeyMeaning::numbers && !list;
    if (ignore || key == nullptr || label || key->treatment() != KeyTreatment::used) {
      reader_.ledger_.leave(name);
    } else {
      members_.push_back({member, key});
    }
  }
}

const Member* JsonRow::find(Meanings meanings) const {
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
  for (const JsonValue item : list.items()) lengths.push_back(item.integer(0, kLongestDocument));
  refuse_doubtful_lengths(lengths, true, list.path());
  return lengths;
}

/// {"step", "packs"} or {"step", "documents"}: strict but for empty packs and documents, which trainers log.
void JsonRow::read_own_form() {
  const Member *packs = find({KeyMeaning::packs}), *documents = find({KeyMeaning::documents});
  if (packs != nullptr && documents != nullptr) object_.fail("both 'packs' and 'documents'", "one of them");
  for (const JsonValue member : object_.members()) {
    const std::string_view name = member.key();
    const auto& ignored = reader_.ignored_;
    const bool known = name == "packs" || name == "documents" || name == "step" || member.is_null();
    if (known || std::find(ignored.begin(), ignored.end(), name) != ignored.end()) continue;
    member.fail("an unknown field", "only 'step' beside 'packs' or 'documents'");
  }
  row_.kind = packs != nullptr ? RowKind::step : RowKind::free_documents;
  use(packs != nullptr ? packs->value : documents->value);
  if (documents != nullptr) row_.packs.push_back(lengths_with_zeros(documents->value));
  if (packs == nullptr) return;
  for (const JsonValue pack : packs->value.items()) row_.packs.push_back(lengths_with_zeros(pack));
}

void JsonRow::read_tokens() {
  if (const Member* ids = find({KeyMeaning::tokens})) {
    if (ids->value.kind() != JsonKind::array) ids->value.fail("a list of tokens");
    tokens_ = static_cast<std::int64_t>(list_of(ids->value).size());
    if (*tokens_ == 0) ids->value.fail("an empty list", "a list of at least one token");
    tokens_from_ = ids->value;
  }
}

/// A single number beside borders is the size of the row.
void JsonRow::read_total() {
  for (const Member& member : members_) {
    const bool total = member.key->meaning == KeyMeaning::length && member.value.kind() != JsonKind::array;
    if (!total || tokens_) continue;
    tokens_ = member.value.integer(1, kLongestDocument);
    tokens_from_ = member.value;
  }
}

/// A mask of 0 and 1 says what is padding; one that counts further numbers documents.
void JsonRow::read_masks() {
  for (const Member& member : members_) {
    if (member.key->meaning != KeyMeaning::masked_numbers) continue;
    const Lengths numbers = integers(member.value);
    is_padding_.assign(numbers.size(), false);
    for (std::size_t i = 0; i < numbers.size(); ++i) is_padding_[i] = numbers[i] <= 0;
    use(member.value);
  }
}

/// What two keys say of the same documents must be the same.
void JsonRow::agree(DocumentList list, const JsonValue& from, bool is_pack) {
  use(from);
  if (is_pack) row_.kind = RowKind::pack;
  if (!borders_) {
    borders_ = std::move(list);
    borders_from_ = from.key();
    return;
  }
  const Lengths before = without_zeros(borders_->documents), now = without_zeros(std::move(list.documents));
  if (before != now) from.fail(shown(now), fmt::format("{}, as {} says", shown(before), borders_from_));
}

Lengths JsonRow::offsets_of(const Member& member) {
  Lengths offsets = integers(member.value);
  for (const Member& other : members_) {
    if (other.key->meaning != KeyMeaning::fill_begin) continue;
    if (other.value.key() != std::string(member.value.key()) + "_argmin") continue;
    const std::int64_t begin = list_of_one(other.value).integer(0, kMostOffset);
    use(other.value);
    // The least of offsets without fill is the first.
    if (begin > 0 && begin < std::ssize(offsets)) offsets.resize(static_cast<std::size_t>(begin));
  }
  return offsets;
}

void JsonRow::read_lists() {
  const bool has_real = find({KeyMeaning::real_offsets}) != nullptr;
  for (const Member& member : members_) {
    const JsonValue& value = member.value;
    const bool list = value.kind() == JsonKind::array;
    switch (member.key->meaning) {
      case KeyMeaning::length:
      case KeyMeaning::free_documents:
        if (!list) break;
        if (!member.key->name.ends_with('s')) value.fail("an integer");
        reader_.used_reading_ = true;
        agree(read_documents(integers(value), reader_.reading_, true, value.path()), value,
              member.key->meaning == KeyMeaning::length);
        break;
      case KeyMeaning::offsets:
        if (has_real) break;
        [[fallthrough]];
      case KeyMeaning::real_offsets:
        agree(documents_of_offsets(offsets_of(member), true, value.path()), value, true);
        break;
      default:
        break;
    }
  }
  if (borders_ && row_.kind != RowKind::pack) row_.kind = RowKind::free_documents;
  if (const Member* starts = find({KeyMeaning::starts})) {
    read_total();
    const std::int64_t end = tokens_ ? *tokens_ : borders_ ? sum(borders_->documents) : -1;
    if (end < 0) starts->value.fail("starts without the end of the row", "input_ids or length beside them");
    agree(documents_of_starts(integers(starts->value), end, starts->value.path()), starts->value, true);
  }
}

/// Positions and document numbers, a number for every token.
void JsonRow::read_per_token() {
  const bool before = borders_.has_value();
  for (const Member& member : members_) {
    const JsonValue& value = member.value;
    const KeyMeaning meaning = member.key->meaning;
    const bool mask = meaning == KeyMeaning::masked_numbers;
    if (meaning != KeyMeaning::positions && meaning != KeyMeaning::numbers && !mask) continue;
    Lengths numbers = integers(value);
    if (tokens_ && std::ssize(numbers) != *tokens_) {
      value.fail(plain_count(numbers.size(), "number"), fmt::format("{}, one for every token", *tokens_));
    }
    if (mask && std::all_of(numbers.begin(), numbers.end(), [](std::int64_t n) { return n <= 1; })) {
      documents_of_numbers(numbers, true, value.path());  // padding inside the row is refused
      continue;
    }
    const bool masked = is_padding_.size() == numbers.size();
    if (meaning == KeyMeaning::positions) {
      Lengths kept;
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (!masked || !is_padding_[i]) kept.push_back(numbers[i]);
      }
      DocumentList list = documents_of_positions(kept, masked, value.path());
      list.padding = std::ssize(numbers) - std::ssize(kept);
      agree(std::move(list), value, false);
    } else {
      agree(documents_of_numbers(numbers, mask, value.path()), value, false);
    }
  }
  if (!before && borders_) row_.kind = RowKind::maybe_pack;
}

/// A name for every document, or the number of every token's document.
void JsonRow::read_labels() {
  const Member* labels = find({KeyMeaning::labels});
  if (labels == nullptr) return;
  const bool list = labels->value.kind() == JsonKind::array;
  const bool names = !list || (borders_ && labels->value.size() == borders_->documents.size());
  if (names) return reader_.ledger_.leave(labels->value.key());
  const bool before = borders_.has_value();
  agree(documents_of_numbers(integers(labels->value), false, labels->value.path()), labels->value, false);
  if (!before) row_.kind = RowKind::maybe_pack;
}

/// Padded offsets and lengths beside the real ones: what is between is padding.
void JsonRow::read_twins() {
  const bool has_real = find({KeyMeaning::real_offsets}) != nullptr;
  for (const Member& member : members_) {
    const KeyMeaning meaning = member.key->meaning;
    const bool offsets =
        meaning == KeyMeaning::padded_offsets || (has_real && meaning == KeyMeaning::offsets);
    if (!offsets && meaning != KeyMeaning::padded_lengths) continue;
    const JsonValue& value = member.value;
    if (!borders_)
      value.fail("the borders of padded documents alone", "the real ones beside them, or seqlens");
    const DocumentList padded = offsets ? documents_of_offsets(offsets_of(member), true, value.path())
                                        : documents_of_lengths(integers(value), value.path());
    const Lengths& real = borders_->documents;
    if (padded.documents.size() < real.size()) {
      value.fail(shown(padded.documents), fmt::format("as many documents as in {}", borders_from_));
    }
    std::int64_t padding = 0;
    row_.padded.clear();
    for (std::size_t i = 0; i < padded.documents.size(); ++i) {
      const std::int64_t tokens = i < real.size() ? real[i] : 0;
      if (padded.documents[i] < tokens) {
        value.fail(fmt::format("{} tokens with the padding of document {}", padded.documents[i], i),
                   fmt::format("at least its {}", tokens));
      }
      padding += padded.documents[i] - tokens;
      if (padded.documents[i] > tokens) row_.padded.push_back(static_cast<std::int64_t>(i));
    }
    borders_->padding = std::max(borders_->padding, padding);
    use(value);
  }
}

/// Tokens of the row that no document has are padding; a mask, a token list and borders must agree on them.
void JsonRow::count_padding() {
  const std::int64_t documents = sum(borders_->documents);
  const std::int64_t all = tokens_ ? *tokens_ : is_padding_.empty() ? documents : std::ssize(is_padding_);
  const JsonValue from = tokens_from_.value_or(object_);
  if (documents > all) {
    from.fail(plain_count(static_cast<std::size_t>(all), "token"),
              fmt::format("the {} that {} says", documents, borders_from_));
  }
  if (!is_padding_.empty() && std::ssize(is_padding_) == all && masked() != all - documents) {
    object_.fail(
        fmt::format("a mask with {} of padding", plain_count(static_cast<std::size_t>(masked()), "token")),
        fmt::format("{}, which {} leaves", all - documents, borders_from_));
  }
  row_.padding = std::max(borders_->padding, all - documents);
}

void JsonRow::read_one_document() {
  const auto named = [&](std::string_view name) -> const Member* {
    for (const Member& member : members_) {
      if (member.value.key() == name) return &member;
    }
    return nullptr;
  };
  std::optional<std::int64_t> length;
  for (const LengthColumn& column : kLengthColumns) {
    const Member* first = named(column.name);
    const Member* second = column.second.empty() ? first : named(column.second);
    if (first == nullptr || second == nullptr) continue;
    for (const Member* part : {first, second})
      length ? reader_.ledger_.leave(part->value.key()) : use(part->value);
    if (length) continue;
    const JsonValue& value = first->value;
    length = column.second.empty()
                 ? value.integer(1, kLongestDocument)
                 : value.integer(0, kLongestDocument) + second->value.integer(0, kLongestDocument);
    const JsonValue& shown_at = column.second.empty() ? value : object_;
    if (*length < 1 || *length > kLongestDocument) {
      shown_at.fail(fmt::format("{} tokens", *length), fmt::format("1 to {}", kLongestDocument));
    }
    set_main(std::string(column.name), column_text(column));
  }
  if (!length && !tokens_ && is_padding_.empty()) {
    object_.fail("an object without a known key",
                 known_columns() + ", input_ids, or borders such as cu_seqlens");
  }
  const std::int64_t all = tokens_                         ? *tokens_
                           : length && is_padding_.empty() ? *length
                                                           : std::ssize(is_padding_);
  if (!length)
    set_main(tokens_ ? "input_ids" : "attention_mask", tokens_ ? "input_ids (their number)" : "a mask");
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
      const std::int64_t most = list_of_one(value).integer(0, kMostOffset);
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
      case KeyMeaning::copies: {
        const std::int64_t copies = value.integer(0, kMostStep);
        const std::int64_t documents = std::ssize(row_.packs[0]);
        if (row_.kind == RowKind::document) row_.copies = copies;
        if (row_.kind != RowKind::document && copies != documents) {
          value.fail(fmt::to_string(copies), fmt::format("{}, the documents of the row", documents));
        }
        use(value);
        break;
      }
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
  if (find({KeyMeaning::packs, KeyMeaning::documents}) != nullptr) {
    read_own_form();
    if (const Member* step = find({KeyMeaning::step})) {
      row_.step = step->value.integer(0, kMostStep);
      use(step->value);
    }
    return std::move(row_);
  }
  read_tokens();
  read_masks();
  read_lists();
  read_per_token();
  read_labels();
  read_twins();
  if (borders_) {
    read_total();
    if (tokens_) use(*tokens_from_);
    const char* kind = row_.kind == RowKind::pack             ? " (fixed packs)"
                       : row_.kind == RowKind::free_documents ? " (free documents)"
                                                              : " (borders of documents)";
    set_main(borders_from_, borders_from_ + kind);
    count_padding();
  } else {
    read_one_document();
  }
  check_longest_and_flags();
  row_.packs.push_back(borders_->documents);
  read_row_numbers();
  leave_the_rest();
  return std::move(row_);
}

LengthRow JsonRowReader::read(const JsonValue& row) { return JsonRow(*this, row).read(); }

std::string JsonRowReader::described() const { return source_.empty() ? "steps" : source_; }

}  // namespace strata
