// SPDX-License-Identifier: Apache-2.0
// Going through sets of ranks that are kept as sorted, disjoint ranges.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/token_span.hpp"

namespace strata {

/// Calls visit(rank) for every rank of `ranges`.
template <typename Visit>
void each_rank(const std::vector<RankRange>& ranges, Visit visit) {
  for (const RankRange& range : ranges) {
    for (std::int32_t rank = range.begin; rank < range.end; ++rank) visit(rank);
  }
}

/// Calls visit(rank) for the ranks in exactly one of two lists of sorted, disjoint ranges: borders that both
/// have cancel, and the others, in order, are the borders of the difference.
template <typename Visit>
void each_difference(const std::vector<RankRange>& a, const std::vector<RankRange>& b, Visit visit) {
  static constexpr std::int32_t kEnd = std::numeric_limits<std::int32_t>::max();
  const auto border = [](const std::vector<RankRange>& ranges, std::size_t at) {
    if (at >= 2 * ranges.size()) return kEnd;
    return at % 2 == 0 ? ranges[at / 2].begin : ranges[at / 2].end;
  };
  std::int32_t from = -1;
  for (std::size_t i = 0, j = 0;;) {
    const std::int32_t first = border(a, i);
    const std::int32_t second = border(b, j);
    if (first <= second) ++i;
    if (second <= first) ++j;
    if (first == second) {
      if (first == kEnd) return;
      continue;
    }
    const std::int32_t to = std::min(first, second);
    if (from < 0) {
      from = to;
      continue;
    }
    while (from < to) visit(from++);
    from = -1;
  }
}

}  // namespace strata
