// SPDX-License-Identifier: Apache-2.0
// When ranks use the rows of a document for the last time. This decides when a received slice's gradient goes
// home. Inside of derive_backward.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/bucket_sort.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/schedule/rank_set.hpp"

namespace strata::detail {

/// Rows and heads whose gradient a rank accumulates in `step`.
struct Use {
  std::int64_t begin = 0, end = 0;
  HeadRange heads;
  std::int32_t step = 0;
  std::int32_t rank = 0;
};

/// A step of use, or -1, and the row up to which it holds.
struct LastUse {
  std::int32_t step = -1;
  std::int32_t until = -1;
};

/// The uses of one tensor kind by (document, rank). Its size grows with the tasks: a rank that does not use a
/// document has no cell.
class UseTable {
 public:
  /// `wave` must outlive the table.
  UseTable(const Wave& wave, const ModelShape& model, TensorKind tensor, DocumentNumbers documents)
      : rank_count_(wave.placement.rank_count()),
        documents_(part_of(wave.documents, documents)),
        cell_offsets_(documents_.size() + 1) {
    collect(wave, model, tensor == TensorKind::kv);
    make_cells();
  }

  /// The step of the last use of the whole slice by `rank`, and a row up to which slices of these heads that
  /// begin no earlier have the same. Step -1 when the slice is unused or used in pieces, which
  /// cut_into_returns sorts out.
  LastUse last_whole_use(const TokenSpan& span, HeadRange heads, std::int32_t rank) const {
    if (!later_.empty() && later_.count({span.document, rank}) > 0) return {};
    std::int64_t ahead = std::numeric_limits<std::int32_t>::max();
    for (const Use& use : uses(span.document, rank)) {
      if (use.end <= span.begin) continue;
      if (use.begin >= span.end) {
        ahead = std::min(ahead, use.begin);
        continue;
      }
      const bool whole = use.begin <= span.begin && span.end <= use.end && contains(use.heads, heads);
      if (!whole) return {};
      return {use.step, static_cast<std::int32_t>(std::min(use.end, ahead))};
    }
    return {};
  }

  std::int32_t rank_count() const { return rank_count_; }

  void add_later(std::int32_t document, std::int32_t rank, const Use& use) {
    later_[{document, rank}].push_back(use);
  }

  /// Appends to `overlaps` the uses by `rank` that share rows and heads with the slice.
  void overlapping(const TokenSpan& span, HeadRange heads, std::int32_t rank,
                   std::vector<Use>& overlaps) const {
    const auto take = [&](const Use& use) {
      if (use.begin < span.end && span.begin < use.end && use.heads.begin < heads.end &&
          heads.begin < use.heads.end) {
        overlaps.push_back(use);
      }
    };
    for (const Use& use : uses(span.document, rank)) take(use);
    if (later_.empty()) return;
    const auto later = later_.find({span.document, rank});
    if (later != later_.end()) std::for_each(later->second.begin(), later->second.end(), take);
  }

 private:
  /// The uses of a rank and document, `uses_` from `first` to the next cell's.
  struct Cell {
    std::int32_t rank = 0;
    std::size_t first = 0;
  };

  static std::span<const std::int32_t> part_of(const std::vector<std::int32_t>& documents,
                                               DocumentNumbers numbers) {
    const auto first = std::lower_bound(documents.begin(), documents.end(), numbers.first);
    return {first, std::lower_bound(first, documents.end(), numbers.end)};
  }

  static bool latest_and_longest_first(const Use& a, const Use& b) {
    if (a.rank != b.rank) return a.rank < b.rank;
    if (a.step != b.step) return a.step > b.step;
    if (a.end - a.begin != b.end - b.begin) return a.end - a.begin > b.end - b.begin;
    return std::tie(a.begin, a.heads) < std::tie(b.begin, b.heads);
  }

  /// Visits tasks from the last step to the first, so that the uses of a cell come nearly sorted.
  template <typename Visit>
  void each_task(const Wave& wave, Visit visit) const {
    for (std::size_t step = wave.schedule.steps.size(); step-- > 0;) {
      for (const AttentionTask& task : wave.schedule.steps[step].tasks) {
        const std::int64_t position = position_of(documents_, task.query.document);
        if (position < 0 || task.rank < 0 || task.rank >= rank_count_) continue;
        visit(static_cast<std::size_t>(position), task, static_cast<std::int32_t>(step));
      }
    }
  }

  /// Fills `uses_`, sorted by document, rank and latest_and_longest_first, and counts those of every document
  /// in `cell_offsets_`.
  void collect(const Wave& wave, const ModelShape& model, bool keys) {
    std::vector<std::size_t>& offsets = cell_offsets_;
    each_task(wave,
              [&](std::size_t position, const AttentionTask&, std::int32_t) { ++offsets[position + 1]; });
    for (std::size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
    uses_.resize(offsets.back());
    std::vector<std::size_t> next(offsets.begin(), offsets.end() - 1);
    HeadRange query_heads, heads;
    each_task(wave, [&](std::size_t position, const AttentionTask& task, std::int32_t step) {
      const TokenSpan& span = keys ? task.key : task.query;
      if (query_heads != task.heads) {
        query_heads = task.heads;
        heads = keys ? model.kv_heads_of(task.heads) : task.heads;
      }
      uses_[next[position]++] = {span.begin, span.end, heads, step, task.rank};
    });
    BucketSort<Use> sort;
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
      sort.sort(
          {uses_.data() + offsets[i], offsets[i + 1] - offsets[i]}, rank_count_,
          [](const Use& use) { return use.rank; }, latest_and_longest_first);
    }
  }

  void make_cells() {
    for (std::size_t i = 0; i + 1 < cell_offsets_.size(); ++i) {
      const std::size_t begin = cell_offsets_[i], end = cell_offsets_[i + 1];
      cell_offsets_[i] = cells_.size();
      for (std::size_t use = begin; use < end; ++use) {
        if (use == begin || uses_[use].rank != uses_[use - 1].rank) cells_.push_back({uses_[use].rank, use});
      }
    }
    cell_offsets_.back() = cells_.size();
    cells_.push_back({-1, uses_.size()});
  }

  std::span<const Use> uses(std::int32_t document, std::int32_t rank) const {
    const std::int64_t position = position_of(documents_, document);
    if (position < 0 || rank < 0 || rank >= rank_count_) return {};
    const std::size_t* const offset = cell_offsets_.data() + position;
    const auto begin = cells_.begin() + static_cast<std::ptrdiff_t>(offset[0]);
    const auto end = cells_.begin() + static_cast<std::ptrdiff_t>(offset[1]);
    // Where all ranks have a cell, a rank's cell stands at the rank's number.
    const auto cell =
        end - begin == rank_count_
            ? begin + rank
            : std::partition_point(begin, end, [&](const Cell& each) { return each.rank < rank; });
    if (cell == end || cell->rank != rank) return {};
    return {uses_.data() + cell->first, (cell + 1)->first - cell->first};
  }

  std::int32_t rank_count_;
  std::span<const std::int32_t> documents_;
  std::vector<std::size_t> cell_offsets_;  // [position of the document], into cells_; one more at the end
  std::vector<Cell> cells_;                // by document and rank, and one more at the end
  std::vector<Use> uses_;
  std::map<std::pair<std::int32_t, std::int32_t>, std::vector<Use>> later_;  // by document and rank
};

/// The last use that all targets of a multicast share. Multicasts of one document with ascending rows have
/// nearly the same targets each time, so what a rank answered is kept for as long as it holds.
class CommonLastUse {
 public:
  explicit CommonLastUse(const UseTable& table)
      : table_(table), until_(static_cast<std::size_t>(table.rank_count()), -1) {}

  /// The step after which every target sends the whole slice home; -1 when they differ.
  std::int32_t of(const Transfer& transfer) {
    const std::int32_t first = transfer.targets.empty() ? -1 : transfer.targets.front().begin;
    if (transfer.targets.size() == 1 && transfer.targets.front().count() == 1) {
      return table_.last_whole_use(transfer.span, transfer.heads, first).step;
    }
    if (!are_ranks(transfer.targets)) return -1;
    const bool goes_on = before_ != nullptr && before_->span.document == transfer.span.document &&
                         before_->heads == transfer.heads && before_->span.begin <= transfer.span.begin;
    if (goes_on) {
      // Ranks that were not asked before; asking one that is no target any more does no harm.
      each_difference(before_->targets, transfer.targets, [&](std::int32_t rank) {
        if (rank != transfer.source) agrees(transfer, rank);
      });
    }
    before_ = &transfer;
    if (!goes_on || !agrees(transfer, first)) {
      for (const std::int32_t rank : known_) until_[static_cast<std::size_t>(rank)] = -1;
      known_.clear();
      step_ = table_.last_whole_use(transfer.span, transfer.heads, first).step;
      if (step_ < 0) return -1;
    }
    for (const RankRange& range : transfer.targets) {
      if (known(transfer.span.end, range)) continue;
      for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
        if (!agrees(transfer, rank)) return -1;
      }
    }
    return step_;
  }

  void forget(std::int32_t rank) {
    if (rank >= 0 && rank < table_.rank_count()) until_[static_cast<std::size_t>(rank)] = -1;
  }

 private:
  bool are_ranks(const std::vector<RankRange>& ranges) const {
    std::int32_t end = 0;
    for (const RankRange& range : ranges) {
      if (range.begin < end || range.end <= range.begin || range.end > table_.rank_count()) return false;
      end = range.end;
    }
    return end > 0;
  }

  /// Whether all ranks of `range` are known to use rows up to `end` for the last time in `step_`.
  bool known(std::int64_t end, const RankRange& range) const {
    const auto row = static_cast<std::int32_t>(end);
    const std::int32_t* at = until_.data() + range.begin;
    const std::int32_t* const last = until_.data() + range.end;
    std::int32_t unknown = 0;
    constexpr std::ptrdiff_t kBlock = 16;  // of a known size, hence vector instructions
    for (; last - at >= kBlock; at += kBlock) {
      for (std::ptrdiff_t i = 0; i < kBlock; ++i) unknown |= static_cast<std::int32_t>(at[i] < row);
    }
    for (; at < last; ++at) unknown |= static_cast<std::int32_t>(*at < row);
    return unknown == 0;
  }

  /// Whether `rank` uses the slice for the last time in `step_`.
  bool agrees(const Transfer& transfer, std::int32_t rank) {
    std::int32_t& until = until_[static_cast<std::size_t>(rank)];
    if (until >= transfer.span.end) return true;
    const LastUse answer = table_.last_whole_use(transfer.span, transfer.heads, rank);
    const std::int32_t before = std::exchange(until, answer.step == step_ ? answer.until : -1);
    if (before < 0 && until >= 0) known_.push_back(rank);
    return until >= transfer.span.end;
  }

  const UseTable& table_;
  const Transfer* before_ = nullptr;  // the multicast asked for last
  std::int32_t step_ = -1;            // the last use of its targets
  // [rank] the row up to which it uses rows for the last time in `step_`, or -1
  std::vector<std::int32_t> until_;
  std::vector<std::int32_t> known_;  // ranks whose `until_` may not be -1
};

}  // namespace strata::detail
