// SPDX-License-Identifier: Apache-2.0
// Half-open pieces: of a document (TokenSpan), of the heads (HeadRange), of the ranks (RankRange).
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>

namespace strata {

/// Tokens [begin, end) of one document. `document` counts over the flattened training step.
struct TokenSpan {
  std::int32_t document = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  auto operator<=>(const TokenSpan&) const = default;
  constexpr std::int64_t length() const { return end - begin; }
  constexpr bool empty() const { return begin >= end; }
};

/// The tokens two spans share; empty (begin >= end) when they share none or lie in different documents.
constexpr TokenSpan intersect(const TokenSpan& a, const TokenSpan& b) {
  if (a.document != b.document) return {a.document, 0, 0};
  return {a.document, std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

constexpr bool contains(const TokenSpan& outer, const TokenSpan& inner) {
  return outer.document == inner.document && outer.begin <= inner.begin && inner.end <= outer.end;
}

/// Heads [begin, end). Which heads (query or KV) depends on the tensor; see TensorKind.
struct HeadRange {
  std::int32_t begin = 0;
  std::int32_t end = 0;
  auto operator<=>(const HeadRange&) const = default;
  constexpr std::int32_t count() const { return end - begin; }
};

/// The heads two ranges share; none (count() <= 0) when they share none.
constexpr HeadRange intersect(const HeadRange& a, const HeadRange& b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

constexpr bool contains(const HeadRange& outer, const HeadRange& inner) {
  return outer.begin <= inner.begin && inner.end <= outer.end;
}

/// Ranks [begin, end).
struct RankRange {
  std::int32_t begin = 0;
  std::int32_t end = 0;
  auto operator<=>(const RankRange&) const = default;
  constexpr std::int32_t count() const { return end - begin; }
};

}  // namespace strata
