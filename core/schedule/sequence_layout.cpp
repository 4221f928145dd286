// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/sequence_layout.hpp"

#include <algorithm>
#include <functional>

#include "core/base/bucket_sort.hpp"

namespace strata {

std::int64_t SequenceLayout::token_count(std::int32_t rank) const {
  std::int64_t count = 0;
  for (const TokenSpan& span : spans[static_cast<std::size_t>(rank)]) count += span.length();
  return count;
}

std::int64_t position_of(std::span<const std::int32_t> documents, std::int32_t document) {
  if (documents.empty() || document < documents.front() || document > documents.back()) return -1;
  const std::int64_t from_first = std::int64_t{document} - documents.front();
  if (std::int64_t{documents.back()} - documents.front() + 1 == std::ssize(documents)) return from_first;
  const auto at = std::lower_bound(documents.begin(), documents.end(), document);
  return at != documents.end() && *at == document ? at - documents.begin() : -1;
}

OwnerTable::OwnerTable(const SequenceLayout& layout, std::span<const std::int32_t> documents)
    : documents_(documents), offsets_(documents.size() + 1) {
  const auto each_span = [&](auto visit) {
    for (std::size_t rank = 0; rank < layout.spans.size(); ++rank) {
      for (const TokenSpan& span : layout.spans[rank]) {
        const std::int64_t position = position_of(documents_, span.document);
        if (position >= 0) visit(static_cast<std::size_t>(position), span, static_cast<std::int32_t>(rank));
      }
    }
  };
  each_span([&](std::size_t position, const TokenSpan&, std::int32_t) { ++offsets_[position + 1]; });
  for (std::size_t i = 1; i < offsets_.size(); ++i) offsets_[i] += offsets_[i - 1];
  pieces_.resize(offsets_.back());
  std::vector<std::size_t> next(offsets_.begin(), offsets_.end() - 1);
  each_span([&](std::size_t position, const TokenSpan& span, std::int32_t rank) {
    pieces_[next[position]++] = {span.begin, span.end, rank};
  });
  BucketSort<OwnedSpan> sort;
  for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) {
    const std::span<OwnedSpan> pieces(pieces_.data() + offsets_[i], offsets_[i + 1] - offsets_[i]);
    std::int64_t end = 0;
    for (const OwnedSpan& piece : pieces) end = std::max(end, piece.end);
    sort.sort(
        pieces, end, [](const OwnedSpan& piece) { return piece.begin; }, std::less<>());
  }
}

std::span<const OwnedSpan> OwnerTable::of(std::int32_t document) const {
  const std::int64_t position = position_of(documents_, document);
  if (position < 0) return {};
  const auto at = static_cast<std::size_t>(position);
  return {pieces_.data() + offsets_[at], offsets_[at + 1] - offsets_[at]};
}

std::int64_t OwnerTable::find(std::int32_t document, std::int64_t token) const {
  const std::span<const OwnedSpan> pieces = of(document);
  auto after =
      std::upper_bound(pieces.begin(), pieces.end(), token,
                       [](std::int64_t value, const OwnedSpan& piece) { return value < piece.begin; });
  if (after == pieces.begin()) return -1;
  --after;
  return token < after->end ? after - pieces.begin() : -1;
}

}  // namespace strata
