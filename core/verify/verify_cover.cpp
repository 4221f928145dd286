// SPDX-License-Identifier: Apache-2.0
// The check sweeps over rows that are sorted. A demand walks over the supplies that it spans. It passes a
// block of 64 supplies in one go where all of them serve it. So many demands over many supplies stay cheap,
// even in a plan made to be slow.
#include "core/verify/verify_cover.hpp"

#include <algorithm>

namespace strata::detail {

namespace {

/// Supplies of a block.
constexpr std::size_t kBlock = 64;

/// Regions are ordered by first row. Where these are equal, moves stand before all others, and both keep the
/// order of their numbers. So reports do not depend on the sort.
constexpr auto kByBegin = [](const Region& a, const Region& b) {
  if (a.begin != b.begin) return a.begin < b.begin;
  if ((a.origin < 0) != (b.origin < 0)) return b.origin < 0;
  return a.origin < 0 ? a.origin > b.origin : a.origin < b.origin;
};

void sort_by_begin(std::span<Region> regions) {
  if (!std::is_sorted(regions.begin(), regions.end(), kByBegin)) {
    std::sort(regions.begin(), regions.end(), kByBegin);
  }
}

/// The range of heads that all regions have; {0, 0} when they differ. Owned rows are left out of account, for
/// they have all heads.
HeadRange common_heads(std::span<const Region> supply, std::span<const Region> demand, HeadRange all_heads) {
  HeadRange common = all_heads;
  bool first = true;
  const auto differs = [&](const Region& region) {
    if (region.origin == kOwned) return false;
    if (first) common = region.heads;
    first = false;
    return region.heads != common;
  };
  if (std::any_of(supply.begin(), supply.end(), differs)) return {};
  const auto demand_differs = [&](const Region& region) {
    if (first) common = region.heads;
    first = false;
    return region.heads != common;
  };
  return std::any_of(demand.begin(), demand.end(), demand_differs) ? HeadRange{} : common;
}

/// Whether demands cover `supply`; otherwise `row` is its first row that none covers. `at` and `reach` carry
/// the sweep over the sorted demands from one supply to the next.
bool is_used(const Region& supply, std::span<const Region> demand, std::size_t& at, std::int64_t& reach,
             std::int64_t& row) {
  row = supply.begin;
  while (row < supply.end) {
    while (at < demand.size() && demand[at].begin <= row) reach = std::max(reach, demand[at++].end);
    if (reach <= row) return false;
    row = reach;
  }
  return true;
}

}  // namespace

CoverProblem CoverCheck::run(std::span<Region> supply, std::span<Region> demand, HeadRange all_heads,
                             bool all_used) {
  sort_by_begin(supply);
  sort_by_begin(demand);
  const HeadRange heads = common_heads(supply, demand, all_heads);
  if (heads.count() > 0) return run_plane(supply, demand, heads, all_used);
  return run_mixed(supply, demand, all_heads, all_used);
}

CoverProblem CoverCheck::run_mixed(std::span<const Region> supply, std::span<const Region> demand,
                                   HeadRange all_heads, bool all_used) {
  borders_ = {all_heads.begin, all_heads.end};
  for (const auto regions : {supply, demand}) {
    for (const Region& region : regions) {
      borders_.push_back(region.heads.begin);
      borders_.push_back(region.heads.end);
    }
  }
  std::sort(borders_.begin(), borders_.end());
  borders_.erase(std::unique(borders_.begin(), borders_.end()), borders_.end());
  for (std::size_t i = 0; i + 1 < borders_.size(); ++i) {
    const HeadRange heads{borders_[i], borders_[i + 1]};
    const auto select = [&](std::span<const Region> all, std::vector<Region>& plane, bool owned_counts) {
      plane.clear();
      for (const Region& region : all) {
        const bool owned = owned_counts && region.origin == kOwned;
        if (owned || contains(region.heads, heads)) plane.push_back(region);
      }
    };
    select(supply, supply_plane_, true);
    select(demand, demand_plane_, false);
    const CoverProblem problem = run_plane(supply_plane_, demand_plane_, heads, all_used);
    if (problem.fault != CoverFault::none) return problem;
  }
  return {};
}

void CoverCheck::summarise(std::span<const Region> supply) {
  blocks_.clear();
  if (supply.size() < 4 * kBlock) return;
  for (std::size_t first = 0; first + kBlock <= supply.size(); first += kBlock) {
    Block block{supply[first].step, true};
    for (std::size_t i = first + 1; i < first + kBlock; ++i) {
      block.latest = std::max(block.latest, supply[i].step);
      block.gapless = block.gapless && supply[i].begin == supply[i - 1].end;
    }
    blocks_.push_back(block);
  }
}

std::size_t CoverCheck::pass(std::span<const Region> supply, std::size_t at, const Region& demand,
                             std::int64_t& row) const {
  while (at < supply.size() && row < demand.end && supply[at].begin <= row) {
    const std::size_t block = at / kBlock;
    if (at % kBlock == 0 && block < blocks_.size() && blocks_[block].gapless &&
        blocks_[block].latest <= demand.step) {
      at += kBlock;
    } else if (supply[at].step <= demand.step) {
      ++at;
    } else {
      return at;
    }
    row = supply[at - 1].end;
  }
  return at;
}

CoverProblem CoverCheck::run_plane(std::span<const Region> supply, std::span<const Region> demand,
                                   HeadRange heads, bool all_used) {
  for (std::size_t i = 1; i < supply.size(); ++i) {
    if (supply[i].begin >= supply[i - 1].end) continue;
    return {CoverFault::doubled,
            supply[i - 1],
            supply[i],
            supply[i].begin,
            std::min(supply[i - 1].end, supply[i].end),
            heads};
  }
  summarise(supply);
  std::size_t first = 0;  // the first supply that ends after the demand begins
  for (const Region& wanted : demand) {
    while (first < supply.size() && supply[first].end <= wanted.begin) ++first;
    std::int64_t row = wanted.begin;
    const std::size_t at = pass(supply, first, wanted, row);
    if (row >= wanted.end) continue;
    if (at == supply.size() || supply[at].begin > row) {
      const std::int64_t end = at == supply.size() ? wanted.end : std::min(wanted.end, supply[at].begin);
      return {CoverFault::missing, wanted, {}, row, end, heads};
    }
    return {CoverFault::late, wanted, supply[at], row, std::min(wanted.end, supply[at].end), heads};
  }
  if (!all_used) return {};
  std::size_t at = 0;
  std::int64_t reach = -1;
  for (const Region& given : supply) {
    if (given.origin < 0) continue;
    std::int64_t row = 0;
    if (is_used(given, demand, at, reach, row)) continue;
    const std::int64_t end = at == demand.size() ? given.end : std::min(given.end, demand[at].begin);
    return {CoverFault::unused, given, {}, row, end, heads};
  }
  return {};
}

}  // namespace strata::detail
