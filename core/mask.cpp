// SPDX-License-Identifier: Apache-2.0
#include "core/mask.hpp"

namespace strata {

namespace {

/// Pairs with j - i <= hi, i in [0, n), j in [0, m): sum over i of clamp(i + hi + 1, 0, m).
std::int64_t pairs_below(std::int64_t n, std::int64_t m, std::int64_t hi) {
  if (n <= 0 || m <= 0) return 0;
  const std::int64_t first = std::clamp<std::int64_t>(-hi, 0, n);            // first row that sees a key
  const std::int64_t full = std::clamp<std::int64_t>(m - 1 - hi, first, n);  // first row that sees all
  const std::int64_t ramp = full - first;
  const std::int64_t low = first + hi + 1;  // width of the first ramp row
  return ramp * low + ramp * (ramp - 1) / 2 + (n - full) * m;
}

}  // namespace

std::int64_t band_pair_count(std::int64_t query_count, std::int64_t key_count, std::int64_t lo,
                             std::int64_t hi) {
  if (lo > hi) return 0;
  return pairs_below(query_count, key_count, hi) - pairs_below(query_count, key_count, lo - 1);
}

std::int64_t pair_count(const Mask& mask, const TokenSpan& queries, const TokenSpan& keys) {
  if (queries.document != keys.document) return 0;
  const std::int64_t hi = queries.begin - keys.begin;
  const std::int64_t lo = mask.window == 0 ? -kUnbounded : hi - mask.window + 1;
  return band_pair_count(queries.length(), keys.length(), lo, hi);
}

std::int64_t document_pair_count(const Mask& mask, std::int64_t length) {
  const TokenSpan whole{0, 0, length};
  return pair_count(mask, whole, whole);
}

}  // namespace strata
