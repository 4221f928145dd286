// SPDX-License-Identifier: Apache-2.0
// First fit (Knuth, The Art of Computer Programming, vol. 1, section 2.5): the lowest free place that is
// large enough. With n gaps each call takes O(log n).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace strata::detail {

/// An endless row of bytes, of which stretches are taken and given back.
class FirstFit {
 public:
  /// Takes the lowest `bytes` free ones that lie side by side; returns the first of them. 0 bytes lie at 0.
  std::int64_t take(std::int64_t bytes);
  /// Frees [begin, begin + bytes), all of which are taken.
  void give_back(std::int64_t begin, std::int64_t bytes);

 private:
  using Index = std::int32_t;  ///< of a gap, or kNone
  static constexpr Index kNone = -1;

  /// Free bytes [begin, end) between taken ones; gaps that touch are one. The gaps form a treap (Seidel and
  /// Aragon, Randomized search trees, Algorithmica 16, 1996): sorted by begin, a heap by priority.
  struct Gap {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t largest = 0;  ///< bytes of the largest gap at or below this one
    std::uint64_t priority = 0;
    Index left = kNone;
    Index right = kNone;
  };

  Gap& gap(Index index) { return gaps_[static_cast<std::size_t>(index)]; }
  std::int64_t largest(Index tree) const {
    return tree == kNone ? 0 : gaps_[static_cast<std::size_t>(tree)].largest;
  }
  void update_largest(Index tree);
  Index add_gap(std::int64_t begin, std::int64_t end);
  void remove_gap(Index index) { unused_.push_back(index); }
  /// Takes from the lowest gap of `tree` that is large enough; there must be one. Returns the tree that is
  /// left.
  Index take_lowest(Index tree, std::int64_t bytes, std::int64_t& begin);
  /// The gaps that begin before `border`, and the others.
  std::pair<Index, Index> split(Index tree, std::int64_t border);
  /// One tree of two, all gaps of `below` lying before those of `above`.
  Index join(Index below, Index above);

  std::vector<Gap> gaps_;
  std::vector<Index> unused_;  ///< places in `gaps_` that hold no gap
  Index root_ = kNone;
  std::int64_t top_ = 0;  ///< all bytes from here on are free
  std::uint64_t last_priority_ = 0;
};

}  // namespace strata::detail
