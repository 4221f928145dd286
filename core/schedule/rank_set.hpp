// SPDX-License-Identifier: Apache-2.0
// Sets of ranks: one that changes rank by rank, and ways to go through sets that are kept as sorted, disjoint
// ranges.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/problem/token_span.hpp"

namespace strata {

/// A set of ranks that can hold a rank several times. It reads out as ranges, in time linear in the ranges
/// and in a 64th of the ranks from the lowest to the highest that it has held since it was empty.
class RankSet {
 public:
  explicit RankSet(std::int32_t rank_count);
  void add(std::int32_t rank);
  void remove(std::int32_t rank);  ///< once; it must hold the rank
  /// Sorted ranges of the members other than `excluded`, none adjacent.
  std::vector<RankRange> ranges_without(std::int32_t excluded);

 private:
  std::vector<std::int32_t> counts_;
  std::vector<std::uint64_t> words_;
  std::size_t begin_ = 0, end_ = 0;  // words outside are 0
  std::int64_t members_ = 0;
  std::vector<RankRange> ranges_;  // scratch
};

/// Calls visit(rank) for every rank of `ranges`.
template <typename Visit>
void each_rank(std::span<const RankRange> ranges, Visit visit) {
  for (const RankRange& range : ranges) {
    for (std::int32_t rank = range.begin; rank < range.end; ++rank) visit(rank);
  }
}

/// The borders of sorted, disjoint ranges, ascending.
class RankBorders {
 public:
  static constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();

  explicit RankBorders(const std::vector<RankRange>& ranges)
      : at_(ranges.data()), end_(at_ + ranges.size()), next_(at_ < end_ ? at_->begin : kNone) {}
  /// The next border, or kNone.
  std::int32_t next() const { return next_; }
  void pass() {
    inside_ = !inside_;
    if (!inside_) ++at_;
    next_ = inside_ ? at_->end : at_ < end_ ? at_->begin : kNone;
  }

 private:
  const RankRange* at_;
  const RankRange* end_;
  std::int32_t next_;
  bool inside_ = false;
};

/// Calls visit(rank) for the ranks in exactly one of two lists of sorted, disjoint ranges: borders that both
/// have cancel, and the others, in order, are the borders of the difference.
template <typename Visit>
void each_difference(const std::vector<RankRange>& a, const std::vector<RankRange>& b, Visit visit) {
  RankBorders first(a), second(b);
  const auto pass_next = [&] {
    while (first.next() == second.next() && first.next() != RankBorders::kNone) {
      first.pass();
      second.pass();
    }
    const std::int32_t border = std::min(first.next(), second.next());
    if (border != RankBorders::kNone) (first.next() == border ? first : second).pass();
    return border;
  };
  for (std::int32_t from = pass_next(); from != RankBorders::kNone; from = pass_next()) {
    const std::int32_t to = pass_next();
    for (std::int32_t rank = from; rank < to; ++rank) visit(rank);
  }
}

}  // namespace strata
