// SPDX-License-Identifier: Apache-2.0
// Collects what every rank has and wants of one tensor of one document, and asks CoverCheck rank by rank.
// Multicasts are taken as sets of ranks. Where one continues another, only the ranks that are in exactly one
// of the two are looked at. So a document cut into many pieces costs what changes from piece to piece.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "core/problem/token_span.hpp"
#include "core/schedule/rank_set.hpp"
#include "core/verify/verify_cover.hpp"

namespace strata::detail {

/// Regions of many ranks, taken in any order and given out rank by rank. Costs nothing for ranks that have
/// none.
class RegionsByRank {
 public:
  explicit RegionsByRank(std::size_t rank_count) : counts_(rank_count), begins_(rank_count) {}
  void add(std::int32_t rank, const Region& region) {
    if (counts_[static_cast<std::size_t>(rank)]++ == 0) ranks_.push_back(rank);
    arrived_.push_back({region, rank});
  }
  /// Whether the region that came last is for `rank` and the same but for its origin.
  bool last_is(std::int32_t rank, const Region& region) const {
    if (arrived_.empty() || arrived_.back().rank != rank) return false;
    const Region& last = arrived_.back().region;
    return last.begin == region.begin && last.end == region.end && last.step == region.step &&
           last.heads == region.heads;
  }

  /// The ranks that have regions, ascending once they are grouped.
  const std::vector<std::int32_t>& ranks() const { return ranks_; }

  void group() {
    if (!std::is_sorted(ranks_.begin(), ranks_.end())) std::sort(ranks_.begin(), ranks_.end());
    std::size_t begin = 0;
    for (const std::int32_t rank : ranks_) {
      begins_[static_cast<std::size_t>(rank)] = begin;
      begin += counts_[static_cast<std::size_t>(rank)];
    }
    grouped_.resize(arrived_.size());
    for (const Arrived& one : arrived_) grouped_[begins_[static_cast<std::size_t>(one.rank)]++] = one.region;
    arrived_.clear();
  }
  /// The regions of `rank` in the order in which they came, between `group` and `clear`.
  std::span<Region> of(std::int32_t rank) {
    const auto r = static_cast<std::size_t>(rank);
    return {grouped_.data() + begins_[r] - counts_[r], counts_[r]};
  }
  void clear() {
    for (const std::int32_t rank : ranks_) {
      counts_[static_cast<std::size_t>(rank)] = begins_[static_cast<std::size_t>(rank)] = 0;
    }
    ranks_.clear();
    grouped_.clear();
  }

 private:
  struct Arrived {
    Region region;
    std::int32_t rank = 0;
  };
  std::vector<Arrived> arrived_;
  std::vector<Region> grouped_;
  std::vector<std::int32_t> ranks_;
  std::vector<std::size_t> counts_;  // [rank]
  std::vector<std::size_t> begins_;  // [rank] after grouping, where its regions end in `grouped_`
};

/// Supply and demand of one tensor of one document, by rank. Storage is kept from document to document.
class Ledger {
 public:
  explicit Ledger(std::int32_t rank_count)
      : newest_(static_cast<std::size_t>(rank_count)),
        run_begin_(static_cast<std::size_t>(rank_count), kNotInRun),
        supply_(static_cast<std::size_t>(rank_count)),
        demand_(static_cast<std::size_t>(rank_count)) {}

  /// From here on, with `join`, supplies that continue each other become one, and so do demands that repeat
  /// each other. This changes no verdict, but hides which move or task it was. A rank may receive a document
  /// in a hundred pieces; joined they are two or three.
  void join(bool join) { join_ = join; }

  void supply(std::int32_t rank, const Region& region) {
    Region& newest = newest_[static_cast<std::size_t>(rank)];
    if (join_ && newest.end == region.begin && alike(newest, region)) {
      newest.end = region.end;
      return;
    }
    if (newest.end > 0) {
      supply_.add(rank, newest);
    } else {
      supplied_.push_back(rank);
    }
    newest = region;
  }

  /// The same for each of `ranks`, which must stay where they are until `settle`.
  void supply(const std::vector<RankRange>& ranks, const Region& region) {
    const bool single = ranks.size() == 1 && ranks.front().count() == 1;
    if (join_ && run_ranks_ != nullptr && run_.end == region.begin && alike(run_, region)) {
      each_difference(*run_ranks_, ranks, [&](std::int32_t rank) {
        std::int64_t& begin = run_begin_[static_cast<std::size_t>(rank)];
        if (begin == kNotInRun) {
          begin = region.begin;
        } else {
          leave_run(rank);
        }
      });
      run_.end = region.end;
      run_ranks_ = &ranks;
      return;
    }
    end_run();
    if (!join_ || single) {
      each_rank(ranks, [&](std::int32_t rank) { supply(rank, region); });
      return;
    }
    each_rank(ranks, [&](std::int32_t rank) { run_begin_[static_cast<std::size_t>(rank)] = region.begin; });
    run_ = region;
    run_ranks_ = &ranks;
  }

  void demand(std::int32_t rank, const Region& region) {
    if (!join_ || !demand_.last_is(rank, region)) demand_.add(rank, region);
  }

  /// Calls report(rank, problem) for every rank with a problem, ranks ascending, and empties the ledger.
  /// Returns whether there was none.
  template <typename Report>
  bool settle(HeadRange all_heads, bool all_used, Report report) {
    bool well = true;
    end_run();
    for (const std::int32_t rank : supplied_) {
      supply_.add(rank, std::exchange(newest_[static_cast<std::size_t>(rank)], {}));
    }
    supplied_.clear();
    supply_.group();
    demand_.group();
    ranks_.clear();
    std::set_union(supply_.ranks().begin(), supply_.ranks().end(), demand_.ranks().begin(),
                   demand_.ranks().end(), std::back_inserter(ranks_));
    for (const std::int32_t rank : ranks_) {
      const CoverProblem problem = check_.run(supply_.of(rank), demand_.of(rank), all_heads, all_used);
      if (problem.fault == CoverFault::none) continue;
      well = false;
      report(rank, problem);
    }
    supply_.clear();
    demand_.clear();
    return well;
  }

 private:
  static constexpr std::int64_t kNotInRun = -1;

  /// Whether two supplies are ready together, for the same heads, and were both received in this pass or have
  /// the same other origin.
  static bool alike(const Region& a, const Region& b) {
    const bool same_kind = a.origin < 0 ? a.origin == b.origin : b.origin >= 0;
    return same_kind && a.step == b.step && a.heads == b.heads;
  }

  void leave_run(std::int32_t rank) {
    std::int64_t& begin = run_begin_[static_cast<std::size_t>(rank)];
    supply(rank, {begin, run_.end, run_.heads, run_.step, run_.origin});
    begin = kNotInRun;
  }

  void end_run() {
    if (run_ranks_ == nullptr) return;
    each_rank(*run_ranks_, [&](std::int32_t rank) { leave_run(rank); });
    run_ranks_ = nullptr;
  }

  bool join_ = true;
  std::vector<Region> newest_;          // [rank] its newest supply, not yet in its list; end 0: none
  std::vector<std::int32_t> supplied_;  // the ranks that have one
  std::vector<std::int32_t> ranks_;     // scratch of `settle`
  Region run_;                          // the last of supplies to sets of ranks that continue each other
  const std::vector<RankRange>* run_ranks_ = nullptr;  // its ranks; null: no run
  std::vector<std::int64_t> run_begin_;                // where each of them joined the run
  RegionsByRank supply_, demand_;
  CoverCheck check_;
};

}  // namespace strata::detail
