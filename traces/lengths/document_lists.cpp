// SPDX-License-Identifier: Apache-2.0
#include "traces/lengths/document_lists.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "traces/lengths/line_reader.hpp"

namespace strata {

namespace {

using Numbers = std::span<const std::int64_t>;

constexpr std::size_t kFewestRising = 4;
constexpr const char* kOption = "--lengths-are lengths, offsets or positions, which says how to read them";

std::string at(const std::string& where, std::size_t item) { return fmt::format("{}[{}]", where, item); }

void check_document(std::int64_t tokens, const std::string& where, std::size_t item) {
  if (tokens <= kLongestDocument) return;
  throw InputError(at(where, item), fmt::format("a document of {} tokens", tokens),
                   fmt::format("1 to {} tokens", kLongestDocument));
}

bool rises(Numbers values, std::int64_t least) {
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (values[i] < values[i - 1] + least) return false;
  }
  return true;
}

bool are_positions(Numbers values) {
  if (values.size() < kFewestRising || values[0] < 0 || values[0] > 1) return false;
  bool rose = false;
  for (std::size_t i = 1; i < values.size(); ++i) {
    const bool next = values[i] == values[i - 1] + 1;
    if (!next && values[i] != values[0]) return false;
    rose |= next;
  }
  return rose;
}

/// Zero-length documents at the end come from a repeated last offset, which is fill.
void drop_empty_tail(std::vector<std::int64_t>& documents) {
  while (!documents.empty() && documents.back() == 0) documents.pop_back();
}

}  // namespace

LengthReading parse_length_reading(const std::string& text) {
  if (text.empty()) return LengthReading::automatic;
  if (text == "lengths") return LengthReading::lengths;
  if (text == "offsets") return LengthReading::offsets;
  if (text == "positions") return LengthReading::positions;
  throw InputError("--lengths-are", quoted_excerpt(text), "lengths, offsets or positions");
}

Numbers without_fill(Numbers values) {
  if (values.empty()) return values;
  const std::int64_t last = values.back();
  if (last > 0) return values;
  std::size_t end = values.size();
  while (end > 0 && values[end - 1] == last) --end;
  return end == 0 ? values : values.first(end);
}

DocumentList documents_of_lengths(Numbers lengths, const std::string& where) {
  DocumentList list;
  const Numbers kept = !lengths.empty() && lengths.back() < 0 ? without_fill(lengths) : lengths;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] < 0) {
      throw InputError(at(where, i), fmt::to_string(kept[i]),
                       fmt::format("a length, an integer from 0 to {}", kLongestDocument));
    }
    check_document(kept[i], where, i);
    list.documents.push_back(kept[i]);
  }
  return list;
}

DocumentList documents_of_offsets(Numbers offsets, bool from_zero, const std::string& where) {
  const Numbers kept = without_fill(offsets);
  if (from_zero && (kept.empty() || kept[0] != 0)) {
    throw InputError(where, kept.empty() ? "no offsets" : fmt::format("offsets from {}", kept[0]),
                     "offsets that begin with 0 and end with the tokens of the pack");
  }
  DocumentList list;
  std::int64_t before = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] < before) {
      throw InputError(at(where, i), fmt::format("offset {} after {}", kept[i], before),
                       "offsets from 0 that do not fall");
    }
    const bool first_zero = i == 0 && kept[0] == 0;
    if (!first_zero) list.documents.push_back(kept[i] - before);
    check_document(kept[i] - before, where, i);
    before = kept[i];
  }
  drop_empty_tail(list.documents);
  return list;
}

DocumentList documents_of_starts(Numbers starts, std::int64_t row_tokens, const std::string& where) {
  const Numbers kept = starts.size() > 1 ? without_fill(starts) : starts;
  if (kept.empty() || kept[0] != 0) {
    throw InputError(where, kept.empty() ? "no starts" : fmt::format("starts from {}", kept[0]),
                     "starts of documents, the first at 0");
  }
  DocumentList list;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const std::int64_t end = i + 1 < kept.size() ? kept[i + 1] : row_tokens;
    if (end < kept[i]) {
      throw InputError(
          at(where, i), fmt::format("a document from {} to {}", kept[i], end),
          fmt::format("starts that do not fall, within the {} of the row", counted(row_tokens, "token")));
    }
    check_document(end - kept[i], where, i);
    list.documents.push_back(end - kept[i]);
  }
  drop_empty_tail(list.documents);
  return list;
}

DocumentList documents_of_positions(Numbers positions, bool padding_known, const std::string& where) {
  DocumentList list;
  if (positions.empty()) return list;
  const std::int64_t least = *std::min_element(positions.begin(), positions.end());
  if (least < 0 || least > 1) {
    // A pack may begin inside a document, but then it has no restart that would show where positions begin.
    if (least < 0 || !rises(positions, 1)) {
      throw InputError(where, fmt::format("positions from {}", least), "positions that restart at 0 or 1");
    }
  }
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const bool follows = i > 0 && positions[i] == positions[i - 1] + 1;
    if (i == 0 || positions[i] == least) {
      list.documents.push_back(1);
    } else if (follows) {
      ++list.documents.back();
    } else {
      throw InputError(at(where, i), fmt::format("position {} after {}", positions[i], positions[i - 1]),
                       fmt::format("{}, or a restart at {}", positions[i - 1] + 1, least));
    }
  }
  const auto trailing = static_cast<std::int64_t>(
      std::find_if(positions.rbegin(), positions.rend(), [&](std::int64_t p) { return p != least; }) -
      positions.rbegin());
  if (!padding_known && trailing > 1 && trailing < std::ssize(positions)) {
    throw InputError(
        where, fmt::format("{} positions of {} at the end", trailing, least),
        "no padding, or a key that tells it from documents of one token: attention_mask or lengths");
  }
  return list;
}

DocumentList documents_of_numbers(Numbers numbers, bool zero_pads, const std::string& where) {
  DocumentList list;
  std::set<std::int64_t> seen;
  bool any = false, padded_inside = false;
  std::int64_t current = 0;
  const bool zero_is_first = !numbers.empty() && numbers[0] == 0 && !zero_pads;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t number = numbers[i];
    if (number < 0 || (number == 0 && !zero_is_first)) {
      padded_inside |= any;
      ++list.padding;
      continue;
    }
    if (any && padded_inside) {
      throw InputError(at(where, i), fmt::format("document {} behind padding", number),
                       "padding at the begin or the end of the row");
    }
    if (any && number == current) {
      ++list.documents.back();
      continue;
    }
    if (!seen.insert(number).second) {
      throw InputError(at(where, i), fmt::format("document {} again, after document {}", number, current),
                       "the tokens of a document side by side");
    }
    list.documents.push_back(1);
    current = number;
    any = true;
  }
  return list;
}

std::optional<ZeroReadings> zero_readings(Numbers numbers) {
  const auto negative = [](std::int64_t number) { return number < 0; };
  const auto first = std::find_if_not(numbers.begin(), numbers.end(), negative);
  if (first == numbers.end() || *first != 0) return std::nullopt;
  const auto after = std::find_if(first, numbers.end(), [](std::int64_t number) { return number != 0; });
  ZeroReadings readings;
  readings.begin = static_cast<std::size_t>(first - numbers.begin());
  readings.end = static_cast<std::size_t>(after - numbers.begin());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const bool begins = i == 0 || numbers[i] != numbers[i - 1];
    for (auto* documents : {&readings.counted_from_zero, &readings.zero_pads}) {
      if (numbers[i] < (documents == &readings.zero_pads ? 1 : 0)) continue;
      if (begins) documents->push_back(0);
      ++documents->back();
    }
  }
  return readings;
}

bool positions_follow_numbers(Numbers positions, Numbers numbers, std::int64_t least) {
  for (std::size_t i = 1; i < numbers.size(); ++i) {
    if (numbers[i] < least || numbers[i - 1] < least) continue;
    const bool follows = positions[i] == positions[i - 1] + 1;
    if (follows != (numbers[i] == numbers[i - 1])) return false;
  }
  return true;
}

void refuse_doubtful_lengths(Numbers values, bool named, const std::string& where) {
  const std::string count = plain_count(values.size(), "number");
  if (values.size() >= 2 && values[0] == 0 && rises(values, 0) && values.back() > 0) {
    throw InputError(
        where, fmt::format("{} that begin with 0 and do not fall, which may be lengths or offsets", count),
        kOption);
  }
  const auto too_long = [](std::int64_t value) { return value > kLongestDocument; };
  if (named || std::any_of(values.begin(), values.end(), too_long)) return;
  if (are_positions(values)) {
    throw InputError(
        where,
        fmt::format("{} that rise by 1 and restart, which may be lengths of {} or positions of {}", count,
                    plain_count(values.size(), "document"), plain_count(values.size(), "token")),
        kOption);
  }
  if (values.size() >= kFewestRising && rises(values, 1)) {
    throw InputError(
        where,
        fmt::format("{} that rise strictly, which may be lengths ({} tokens) or offsets ({} tokens)", count,
                    std::accumulate(values.begin(), values.end(), std::int64_t{0}), values.back()),
        kOption);
  }
}

DocumentList read_documents(Numbers values, LengthReading reading, bool named, const std::string& where) {
  switch (reading) {
    case LengthReading::offsets:
      return documents_of_offsets(values, false, where);
    case LengthReading::positions:
      return documents_of_positions(values, false, where);
    case LengthReading::automatic:
      refuse_doubtful_lengths(values, named, where);
      break;
    case LengthReading::lengths:
      break;
  }
  return documents_of_lengths(values, where);
}

}  // namespace strata
