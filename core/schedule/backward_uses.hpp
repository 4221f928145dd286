// SPDX-License-Identifier: Apache-2.0
// When ranks use the rows of a document for the last time: what decides when a received slice's gradient goes
// home. Inside of derive_backward.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "core/schedule/backward_schedule.hpp"
#include "core/schedule/rank_set.hpp"

namespace strata::detail {

/// Rows and heads whose gradient a rank accumulates in `step`.
struct Use {
  std::int64_t begin = 0, end = 0;
  HeadRange heads;
  std::int32_t step = 0;
};

/// A step of use, or -1, and the row up to which it holds.
struct LastUse {
  std::int32_t step = -1;
  std::int32_t until = -1;
};

/// The uses of one tensor kind by (document, rank), in flat storage.
class UseTable {
 public:
  UseTable(const Wave& wave, const ModelShape& model, TensorKind tensor, DocumentNumbers documents)
      : rank_count_(wave.placement.rank_count()),
        first_(documents.first),
        document_count_(documents.end - documents.first),
        offsets_(static_cast<std::size_t>(document_count_) * static_cast<std::size_t>(rank_count_) + 1) {
    each_task(wave, [&](const AttentionTask& task, std::int32_t) { ++offsets_[cell(task) + 1]; });
    for (std::size_t i = 1; i < offsets_.size(); ++i) offsets_[i] += offsets_[i - 1];
    uses_.resize(offsets_.back());
    std::vector<std::size_t> next(offsets_.begin(), offsets_.end() - 1);
    const bool keys = tensor == TensorKind::kv;
    HeadRange query_heads, heads;
    each_task(wave, [&](const AttentionTask& task, std::int32_t step) {
      const TokenSpan& span = keys ? task.key : task.query;
      if (query_heads != task.heads) {
        query_heads = task.heads;
        heads = keys ? model.kv_heads_of(task.heads) : task.heads;
      }
      uses_[next[cell(task)]++] = {span.begin, span.end, heads, step};
    });
    for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) {
      std::sort(uses_.begin() + static_cast<std::ptrdiff_t>(offsets_[i]),
                uses_.begin() + static_cast<std::ptrdiff_t>(offsets_[i + 1]), latest_and_longest_first);
    }
  }

  /// The step of the last use of the whole slice by `rank`, and a row up to which slices of these heads that
  /// begin no earlier have the same. Step -1 when the slice is unused or used in pieces, which
  /// cut_into_returns sorts out.
  LastUse last_whole_use(const TokenSpan& span, HeadRange heads, std::int32_t rank) const {
    if (!holds(span.document, rank)) return {};
    const std::size_t at = index(span.document, rank);
    if (!later_.empty() && !later_[at].empty()) return {};
    std::int64_t ahead = std::numeric_limits<std::int32_t>::max();
    for (std::size_t i = offsets_[at]; i < offsets_[at + 1]; ++i) {
      const Use& use = uses_[i];
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
    if (!holds(document, rank)) return;
    if (later_.empty()) later_.resize(offsets_.size());
    later_[index(document, rank)].push_back(use);
  }

  /// Appends to `uses` those of (document, rank) that share rows and heads with the slice.
  void overlapping(const TokenSpan& span, HeadRange heads, std::int32_t rank, std::vector<Use>& uses) const {
    if (!holds(span.document, rank)) return;
    const std::size_t at = index(span.document, rank);
    const auto take = [&](const Use& use) {
      if (use.begin < span.end && span.begin < use.end && use.heads.begin < heads.end &&
          heads.begin < use.heads.end) {
        uses.push_back(use);
      }
    };
    for (std::size_t i = offsets_[at]; i < offsets_[at + 1]; ++i) take(uses_[i]);
    if (!later_.empty()) std::for_each(later_[at].begin(), later_[at].end(), take);
  }

 private:
  static bool latest_and_longest_first(const Use& a, const Use& b) {
    if (a.step != b.step) return a.step > b.step;
    if (a.end - a.begin != b.end - b.begin) return a.end - a.begin > b.end - b.begin;
    return std::tie(a.begin, a.heads) < std::tie(b.begin, b.heads);
  }
  bool holds(std::int32_t document, std::int32_t rank) const {
    return document >= first_ && document - first_ < document_count_ && rank >= 0 && rank < rank_count_;
  }
  std::size_t index(std::int32_t document, std::int32_t rank) const {
    return static_cast<std::size_t>(document - first_) * static_cast<std::size_t>(rank_count_) +
           static_cast<std::size_t>(rank);
  }
  std::size_t cell(const AttentionTask& task) const { return index(task.query.document, task.rank); }

  /// From the last step to the first, so that the uses of a cell come nearly sorted.
  template <typename Visit>
  void each_task(const Wave& wave, Visit visit) const {
    for (std::size_t step = wave.schedule.steps.size(); step-- > 0;) {
      for (const AttentionTask& task : wave.schedule.steps[step].tasks) {
        if (holds(task.query.document, task.rank)) visit(task, static_cast<std::int32_t>(step));
      }
    }
  }

  std::int32_t rank_count_, first_, document_count_;
  std::vector<std::size_t> offsets_;
  std::vector<Use> uses_;
  std::vector<std::vector<Use>> later_;  // empty: none
};

/// The last use that all targets of a multicast share. Multicasts of one document with ascending rows have
/// nearly the same targets each time, so what a rank answered is kept for as long as it holds.
class CommonLastUse {
 public:
  explicit CommonLastUse(const UseTable& table)
      : table_(table), until_(static_cast<std::size_t>(table.rank_count())) {}

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
      std::fill(until_.begin(), until_.end(), -1);
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
    until = answer.step == step_ ? answer.until : -1;
    return until >= transfer.span.end;
  }

  const UseTable& table_;
  const Transfer* before_ = nullptr;  // the multicast asked for last
  std::int32_t step_ = -1;            // the last use of its targets
  std::vector<std::int32_t> until_;   // by rank: the row up to which it uses rows in `step_` last, or -1
};

}  // namespace strata::detail
