// SPDX-License-Identifier: Apache-2.0
#include "core/problem/mask.hpp"

namespace strata {

namespace {

/// Sum of floor(x / stride) for x in [0, count).
std::int64_t floor_sum(std::int64_t count, std::int64_t stride) {
  const std::int64_t whole = count / stride;
  return stride * (whole * (whole - 1) / 2) + whole * (count % stride);
}

/// Pairs with j * stride - i <= hi, i in [0, n), j in [0, m): sum over i of
/// clamp(floor((i + hi) / stride) + 1, 0, m).
std::int64_t pairs_below(std::int64_t n, std::int64_t m, std::int64_t hi, std::int64_t stride) {
  if (n <= 0 || m <= 0) return 0;
  const std::int64_t first = std::clamp<std::int64_t>(-hi, 0, n);                       // row that sees a key
  const std::int64_t full = std::clamp<std::int64_t>((m - 1) * stride - hi, first, n);  // row that sees all
  const std::int64_t ramp =
      full > first ? floor_sum(hi + full, stride) - floor_sum(hi + first, stride) + (full - first) : 0;
  return ramp + (n - full) * m;
}

}  // namespace

std::int64_t band_pair_count(std::int64_t query_count, std::int64_t key_count, std::int64_t lo,
                             std::int64_t hi, std::int64_t key_stride) {
  if (lo > hi) return 0;
  return pairs_below(query_count, key_count, hi, key_stride) -
         pairs_below(query_count, key_count, lo - 1, key_stride);
}

std::int64_t pair_count(const Mask& mask, const TokenSpan& queries, const TokenSpan& keys) {
  if (queries.document != keys.document) return 0;
  const Band band = band_of(mask, queries, keys);
  return band_pair_count(queries.length(), keys.length(), band.lo, band.hi);
}

std::int64_t document_pair_count(const Mask& mask, std::int64_t length) {
  const TokenSpan whole{0, 0, length};
  return pair_count(mask, whole, whole);
}

}  // namespace strata
