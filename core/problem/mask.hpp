// SPDX-License-Identifier: Apache-2.0
// The attention mask inside one document: causal, optionally with a sliding window. Query i may see
// key j iff j <= i and (no window or j > i - window). All counts are closed forms, exact in int64.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/problem/token_span.hpp"

namespace strata {

/// No bound on one side of a band.
inline constexpr std::int64_t kUnbounded = std::int64_t{1} << 40;

struct Mask {
  /// Keys a query sees, itself included; 0 means all earlier keys.
  std::int64_t window = 0;
  bool operator==(const Mask&) const = default;
};

/// Pairs (i, j) with 0 <= i < query_count, 0 <= j < key_count and lo <= j * key_stride - i <= hi; the stride
/// is at least 1.
std::int64_t band_pair_count(std::int64_t query_count, std::int64_t key_count, std::int64_t lo,
                             std::int64_t hi, std::int64_t key_stride = 1);

/// Row i of a piece of queries and row j of a piece of keys, counted from the pieces' begins, form an allowed
/// pair iff lo <= j - i <= hi.
struct Band {
  std::int64_t lo = 0, hi = 0;
};

/// The band of two pieces of one document.
constexpr Band band_of(const Mask& mask, const TokenSpan& queries, const TokenSpan& keys) {
  const std::int64_t hi = queries.begin - keys.begin;
  return {mask.window == 0 ? -kUnbounded : hi - mask.window + 1, hi};
}

/// Allowed pairs of queries [q.begin, q.end) and keys [k.begin, k.end), positions within one document.
std::int64_t pair_count(const Mask& mask, const TokenSpan& queries, const TokenSpan& keys);

/// Allowed pairs of a whole document of `length` tokens.
std::int64_t document_pair_count(const Mask& mask, std::int64_t length);

/// The keys that at least one of `queries` may see: one interval, in the same document.
constexpr TokenSpan keys_seen_by(const Mask& mask, const TokenSpan& queries) {
  const std::int64_t first =
      mask.window == 0 ? 0 : std::max<std::int64_t>(0, queries.begin - mask.window + 1);
  return {queries.document, first, queries.end};
}

/// The queries of a document of `length` tokens that may see at least one of `keys`: one interval.
constexpr TokenSpan queries_that_see(const Mask& mask, const TokenSpan& keys, std::int64_t length) {
  const std::int64_t last = mask.window == 0 ? length : std::min(length, keys.end + mask.window - 1);
  return {keys.document, keys.begin, last};
}

}  // namespace strata
