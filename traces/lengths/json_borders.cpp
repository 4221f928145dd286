// SPDX-License-Identifier: Apache-2.0
// Where the documents of a JSON object are: lists of lengths, offsets, starts, positions, document numbers
// and masks, each checked against the others.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "traces/lengths/json_row.hpp"
#include "traces/lengths/length_formats.hpp"
#include "traces/lengths/line_reader.hpp"

namespace strata {

namespace {

using Lengths = std::vector<std::int64_t>;

constexpr std::string_view kAttentionMask = "attention_mask";

std::int64_t sum(const Lengths& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

Lengths integers(const JsonValue& value) {
  const JsonValue list = list_of(value);
  Lengths numbers;
  numbers.reserve(list.size());
  for (const JsonValue item : list.items()) numbers.push_back(item.integer(-kMostOffset, kMostOffset));
  return numbers;
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

}  // namespace

/// A list, or the only list of a list: batches of size one keep their dimension.
JsonValue list_of(const JsonValue& value) {
  if (value.kind() != JsonKind::array) value.fail("a list");
  const JsonValue first = value.size() > 0 ? *value.items().begin() : value;
  if (value.size() == 0 || first.kind() != JsonKind::array) return value;
  if (value.size() > 1) value.fail(plain_count(value.size(), "list"), "one list of numbers: a row a pack");
  return first;
}

/// A number, or the only number of a list.
JsonValue number_of(const JsonValue& value) {
  if (value.kind() != JsonKind::array || value.size() != 1) return value;
  return *value.items().begin();
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
    const std::int64_t begin = number_of(other.value).integer(0, kMostOffset);
    use(other.value);
    // The least of offsets without fill is the first.
    if (begin > 0 && begin < std::ssize(offsets)) offsets.resize(static_cast<std::size_t>(begin));
  }
  return offsets;
}

/// A single number beside borders is the size of the row.
void JsonRow::read_total() {
  for (const Member& member : members_) {
    const bool total = member.key->meaning == KeyMeaning::length && member.value.kind() != JsonKind::array;
    if (!total || tokens_) continue;
    const std::int64_t tokens = member.value.integer(1, kLongestDocument);
    if (listed_ && tokens != *listed_) continue;
    tokens_ = tokens;
    tokens_from_ = member.value;
  }
}

/// A mask of 0 and 1 says what is padding; one that counts further numbers documents. That of attention comes
/// first, because 0 is always padding there.
void JsonRow::read_masks() {
  for (const bool attention : {true, false}) {
    for (Member& member : members_) {
      if (member.key->meaning != KeyMeaning::masked_numbers) continue;
      if ((member.key->name == kAttentionMask) == attention) read_mask(member);
    }
  }
}

void JsonRow::read_mask(Member& member) {
  const Lengths numbers = integers(member.value);
  use(member.value);
  member.from_zero = member.key->name != kAttentionMask && counts_from_zero(member.value, numbers);
  std::vector<bool> padding(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) padding[i] = numbers[i] < (member.from_zero ? 0 : 1);
  if (is_padding_from_.empty()) {
    is_padding_ = std::move(padding);
    is_padding_from_ = member.value.key();
  } else if (!member.from_zero && padding != is_padding_) {
    const auto count = [](const std::vector<bool>& mask) {
      return std::count(mask.begin(), mask.end(), true);
    };
    member.value.fail(
        fmt::format("padding in {} of {} tokens", count(padding), padding.size()),
        fmt::format("the {} of {} that {} marks", masked(), is_padding_.size(), is_padding_from_));
  }
}

/// Whether 0 is a document rather than padding. A mask, borders or positions before any masking tell; without
/// them InputError, because either reading may lose or make up a document.
bool JsonRow::counts_from_zero(const JsonValue& value, const Lengths& numbers) const {
  const std::optional<ZeroReadings> readings = zero_readings(numbers);
  if (!readings) return false;
  const auto zeros = static_cast<std::int64_t>(readings->end - readings->begin);
  if (is_padding_.size() == numbers.size()) {
    const auto begin = is_padding_.begin();
    const auto padding = std::count(begin + static_cast<std::ptrdiff_t>(readings->begin),
                                    begin + static_cast<std::ptrdiff_t>(readings->end), true);
    if (padding == 0 || padding == zeros) return padding == 0;
  } else if (borders_) {
    return readings->zero_pads != without_zeros(borders_->documents);
  } else if (const Member* member = find({KeyMeaning::positions})) {
    const Lengths positions = integers(member->value);
    // Positions of padding are all the same and those of a document rise; one token shows neither.
    const bool tells = zeros > 1 && positions.size() == numbers.size();
    if (tells && positions_follow_numbers(positions, numbers, 0)) return true;
    const auto is_first = [&](std::int64_t position) { return position == positions[readings->begin]; };
    const auto zeros_begin = positions.begin() + static_cast<std::ptrdiff_t>(readings->begin);
    if (tells && std::all_of(zeros_begin, zeros_begin + zeros, is_first) &&
        positions_follow_numbers(positions, numbers, 1)) {
      return false;
    }
  }
  const auto reading = [](const Lengths& documents) {
    return fmt::format("{} of {}", plain_count(documents.size(), "document"),
                       plain_count(static_cast<std::size_t>(sum(documents)), "token"));
  };
  value.fail(fmt::format("numbers that begin with 0, which may be a document ({}) or padding ({})",
                         reading(readings->counted_from_zero), reading(readings->zero_pads)),
             "numbers from 1, or a key beside them that tells: attention_mask, position_ids or seqlens");
}

Lengths JsonRow::unmasked(const Lengths& numbers) const {
  if (is_padding_.size() != numbers.size()) return numbers;
  Lengths kept;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (!is_padding_[i]) kept.push_back(numbers[i]);
  }
  return kept;
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

/// A list shorter than the row numbers something else than its tokens: documents, most likely.
void JsonRow::check_size(const JsonValue& list, std::int64_t numbers) const {
  const std::vector<Stated> numbers_of_tokens = stated();
  if (!tokens_ && numbers_of_tokens.empty()) return;
  const std::int64_t tokens = tokens_ ? *tokens_ : numbers_of_tokens.front().tokens;
  if (numbers >= tokens) return;
  list.fail(plain_count(static_cast<std::size_t>(numbers), "number"),
            fmt::format("{}, one for every token, or lengths beside a number for every document", tokens));
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
    if (meaning == KeyMeaning::numbers) check_size(value, std::ssize(numbers));
    const std::int64_t all = tokens_ ? *tokens_ : listed_.value_or(std::ssize(numbers));
    if (std::ssize(numbers) != all) {
      value.fail(plain_count(numbers.size(), "number"), fmt::format("{}, one for every token", all));
    }
    listed_ = all;
    if (mask && !member.from_zero &&
        std::all_of(numbers.begin(), numbers.end(), [](std::int64_t n) { return n <= 1; })) {
      documents_of_numbers(numbers, true, value.path());  // padding inside the row is refused
      continue;
    }
    if (meaning == KeyMeaning::positions || member.from_zero) {
      const bool masked = is_padding_.size() == numbers.size();
      const Lengths kept = unmasked(numbers);
      DocumentList list = meaning == KeyMeaning::positions
                              ? documents_of_positions(kept, masked, value.path())
                              : documents_of_numbers(kept, false, value.path());
      list.padding += std::ssize(numbers) - std::ssize(kept);
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
  const auto numbers = static_cast<std::int64_t>(list_of(labels->value).size());
  check_size(labels->value, numbers);
  if (!listed_) listed_ = numbers;
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
    row_.idle_at_cp2.clear();
    for (std::size_t i = 0; i < padded.documents.size(); ++i) {
      const std::int64_t tokens = i < real.size() ? real[i] : 0;
      if (padded.documents[i] < tokens) {
        value.fail(fmt::format("{} tokens with the padding of document {}", padded.documents[i], i),
                   fmt::format("at least its {}", tokens));
      }
      padding += padded.documents[i] - tokens;
      if (padded.documents[i] == tokens) continue;
      row_.padded.push_back(static_cast<std::int64_t>(i));
      const std::int64_t piece = padded.documents[i] / 4;
      const bool splits = padded.documents[i] % 4 == 0;
      if (splits && padded.documents[i] - tokens >= piece) row_.idle_at_cp2.push_back(row_.padded.back());
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

}  // namespace strata
