// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/sequence_layout.hpp"

#include <algorithm>
#include <functional>
#include <limits>

#include "core/base/bucket_sort.hpp"

namespace strata {

std::int64_t SequenceLayout::token_count(std::int32_t rank) const {
  std::int64_t count = 0;
  for (const TokenSpan& span : spans[static_cast<std::size_t>(rank)]) count += span.length();
  return count;
}

OwnerTable::OwnerTable(const SequenceLayout& layout) {
  std::int32_t low = std::numeric_limits<std::int32_t>::max();
  std::int32_t high = -1;
  for (const auto& rank_spans : layout.spans) {
    for (const TokenSpan& span : rank_spans) {
      low = std::min(low, span.document);
      high = std::max(high, span.document);
    }
  }
  if (high < 0) return;
  first_ = low;
  pieces_.resize(static_cast<std::size_t>(high - low) + 1);
  std::vector<std::size_t> counts(pieces_.size());
  for (const auto& rank_spans : layout.spans) {
    for (const TokenSpan& span : rank_spans) ++counts[static_cast<std::size_t>(span.document - low)];
  }
  for (std::size_t i = 0; i < counts.size(); ++i) pieces_[i].reserve(counts[i]);
  for (std::size_t rank = 0; rank < layout.spans.size(); ++rank) {
    for (const TokenSpan& span : layout.spans[rank]) {
      pieces_[static_cast<std::size_t>(span.document - first_)].push_back(
          {span.begin, span.end, static_cast<std::int32_t>(rank)});
    }
  }
  BucketSort<OwnedSpan> sort;
  for (auto& pieces : pieces_) {
    std::int64_t end = 0;
    for (const OwnedSpan& piece : pieces) end = std::max(end, piece.end);
    sort.sort(
        pieces, end, [](const OwnedSpan& piece) { return piece.begin; }, std::less<>());
  }
}

const std::vector<OwnedSpan>& OwnerTable::of(std::int32_t document) const {
  static const std::vector<OwnedSpan> kNone;
  if (document < first_ || document >= end_document()) return kNone;
  return pieces_[static_cast<std::size_t>(document - first_)];
}

std::int64_t OwnerTable::find(std::int32_t document, std::int64_t token) const {
  const auto& pieces = of(document);
  auto after =
      std::upper_bound(pieces.begin(), pieces.end(), token,
                       [](std::int64_t value, const OwnedSpan& piece) { return value < piece.begin; });
  if (after == pieces.begin()) return -1;
  --after;
  return token < after->end ? after - pieces.begin() : -1;
}

}  // namespace strata
