// SPDX-License-Identifier: Apache-2.0
// Counts the pairs of a band in closed form.
#include "kernels/attention_types.hpp"

#include "kernels/band.hpp"

namespace strata::kernels {
namespace {

/// Sum of floor(x / stride) for x in [0, count).
std::int64_t floor_sum(std::int64_t count, std::int64_t stride) {
  const std::int64_t whole = count / stride;
  return stride * (whole * (whole - 1) / 2) + whole * (count % stride);
}

/// Number of (i, j) with 0 <= i < queries, 0 <= j < keys and j * stride - i <= bound.
std::int64_t pairs_at_most(std::int64_t queries, std::int64_t keys, std::int64_t bound, std::int64_t stride) {
  // Query i sees clamp(floor((bound + i) / stride) + 1, 0, keys) keys: nothing before `first`, everything
  // from `full`.
  const std::int64_t first = std::clamp<std::int64_t>(-bound, 0, queries);
  const std::int64_t full = std::clamp<std::int64_t>((keys - 1) * stride - bound, first, queries);
  const std::int64_t partial =
      full > first ? floor_sum(bound + full, stride) - floor_sum(bound + first, stride) + (full - first) : 0;
  return partial + (queries - full) * keys;
}

}  // namespace

std::int64_t allowed_pairs(const AttentionBlock& block) {
  if (block.query_count <= 0 || block.key_count <= 0 || block.lo > block.hi) return 0;
  return pairs_at_most(block.query_count, block.key_count, block.hi, block.key_stride) -
         pairs_at_most(block.query_count, block.key_count, block.lo - 1, block.key_stride);
}

}  // namespace strata::kernels
