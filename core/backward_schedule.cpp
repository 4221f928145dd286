// SPDX-License-Identifier: Apache-2.0
// A received slice goes home one step after its last use. "Use" is the rank's own tasks and, when gradients
// climb back the multicast tree, what its children return; processing forward transfers from the last step to
// the first guarantees that children come before parents.
#include "core/backward_schedule.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "core/rank_set.hpp"

namespace strata {

namespace {

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

/// A piece that goes home together: which rows and heads, after which step, from which rank.
struct Return {
  std::int64_t begin = 0, end = 0;
  HeadRange heads;
  std::int32_t last_step = 0;
  std::int32_t rank = 0;
  auto operator<=>(const Return&) const = default;
};

/// The uses of one tensor kind by (document, rank), in flat storage.
class UseTable {
 public:
  UseTable(const Wave& wave, const ModelShape& model, TensorKind tensor)
      : rank_count_(wave.placement.rank_count()),
        first_(wave.documents.empty() ? 0 : wave.documents.front()),
        document_count_(wave.documents.empty() ? 0 : wave.documents.back() - first_ + 1),
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

/// The last use that all targets of a multicast share. Multicasts of one document with ascending rows ask for
/// the same ranks again and again, so what each rank answered is kept for as long as it holds.
class CommonLastUse {
 public:
  explicit CommonLastUse(const UseTable& table)
      : table_(table),
        steps_(static_cast<std::size_t>(table.rank_count())),
        until_(static_cast<std::size_t>(table.rank_count())) {}

  /// The step after which every target sends the whole slice home; -1 when they differ.
  std::int32_t of(const Transfer& transfer) {
    if (transfer.targets.size() == 1 && transfer.targets.front().count() == 1) {
      return table_.last_whole_use(transfer.span, transfer.heads, transfer.targets.front().begin).step;
    }
    if (!are_sorted_ranks(transfer.targets)) return -1;
    const bool goes_on = before_ != nullptr && before_->span.document == transfer.span.document &&
                         before_->heads == transfer.heads && before_->span.begin <= transfer.span.begin;
    if (!goes_on) {
      std::fill(until_.begin(), until_.end(), -1);
    } else {
      // Ranks that were not asked before; asking one that is no target any more does no harm.
      each_difference(before_->targets, transfer.targets, [&](std::int32_t rank) { ask(transfer, rank); });
    }
    before_ = &transfer;
    std::int32_t common = -1;
    for (const RankRange& range : transfer.targets) {
      if (common < 0) common = ask(transfer, range.begin);
      if (common < 0) return -1;
      if (known(transfer.span.end, range, common)) continue;
      for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
        if (ask(transfer, rank) != common) return -1;
      }
    }
    return common;
  }

  void forget(std::int32_t rank) {
    if (rank >= 0 && rank < table_.rank_count()) until_[static_cast<std::size_t>(rank)] = -1;
  }

 private:
  bool are_sorted_ranks(const std::vector<RankRange>& ranges) const {
    std::int32_t end = 0;
    for (const RankRange& range : ranges) {
      if (range.begin < end || range.end <= range.begin || range.end > table_.rank_count()) return false;
      end = range.end;
    }
    return true;
  }

  /// Whether all ranks of `range` are known to use rows up to `end` for the last time in `step`.
  bool known(std::int64_t end, const RankRange& range, std::int32_t step) const {
    const auto row = static_cast<std::int32_t>(end);
    const auto first = static_cast<std::size_t>(range.begin);
    const auto last = static_cast<std::size_t>(range.end);
    std::int32_t unknown = 0;
    for (std::size_t i = first; i < last; ++i) {
      unknown |= static_cast<std::int32_t>(until_[i] < row) | (steps_[i] ^ step);
    }
    return unknown == 0;
  }

  std::int32_t ask(const Transfer& transfer, std::int32_t rank) {
    const auto at = static_cast<std::size_t>(rank);
    if (until_[at] < transfer.span.end) {
      const LastUse answer = table_.last_whole_use(transfer.span, transfer.heads, rank);
      steps_[at] = answer.step;
      until_[at] = answer.until;
    }
    return steps_[at];
  }

  const UseTable& table_;
  const Transfer* before_ = nullptr;         // the multicast asked for last
  std::vector<std::int32_t> steps_, until_;  // by rank
};

/// Cuts the slice at the borders of its uses and appends one Return per used cell, adjacent rows joined.
void cut_into_returns(const TokenSpan& span, HeadRange heads, std::int32_t rank, const std::vector<Use>& uses,
                      std::vector<Return>& returns) {
  const auto covers = [&](const Use& use) {
    return use.begin <= span.begin && span.end <= use.end && contains(use.heads, heads);
  };
  if (uses.empty()) return;
  if (std::all_of(uses.begin(), uses.end(), covers)) {
    std::int32_t last = 0;
    for (const Use& use : uses) last = std::max(last, use.step);
    returns.push_back({span.begin, span.end, heads, last, rank});
    return;
  }
  std::vector<std::int64_t> rows{span.begin, span.end};
  std::vector<std::int32_t> borders{heads.begin, heads.end};
  for (const Use& use : uses) {
    for (const std::int64_t row : {use.begin, use.end}) {
      if (span.begin < row && row < span.end) rows.push_back(row);
    }
    for (const std::int32_t head : {use.heads.begin, use.heads.end}) {
      if (heads.begin < head && head < heads.end) borders.push_back(head);
    }
  }
  const auto make_unique = [](auto& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  };
  make_unique(rows);
  make_unique(borders);
  for (std::size_t h = 0; h + 1 < borders.size(); ++h) {
    const HeadRange part{borders[h], borders[h + 1]};
    for (std::size_t r = 0; r + 1 < rows.size(); ++r) {
      std::int32_t last = -1;
      for (const Use& use : uses) {
        if (use.begin <= rows[r] && rows[r + 1] <= use.end && contains(use.heads, part)) {
          last = std::max(last, use.step);
        }
      }
      if (last < 0) continue;
      const bool joins = !returns.empty() && returns.back().rank == rank && returns.back().end == rows[r] &&
                         returns.back().heads == part && returns.back().last_step == last;
      if (joins) {
        returns.back().end = rows[r + 1];
      } else {
        returns.push_back({rows[r], rows[r + 1], part, last, rank});
      }
    }
  }
}

/// The owners of rows, asked for spans that mostly ascend.
class OwnerWalk {
 public:
  explicit OwnerWalk(const SequenceLayout& layout) : owners_(layout) {}

  /// Calls `visit(span, owner)` for the parts of `span` by owner.
  template <typename Visit>
  void each_owner(const TokenSpan& span, Visit visit) {
    const auto& pieces = owners_.of(span.document);
    for (auto at = static_cast<std::size_t>(start(pieces, span)); at < pieces.size(); ++at) {
      const OwnedSpan& piece = pieces[at];
      const TokenSpan part = intersect(span, {span.document, piece.begin, piece.end});
      if (part.empty()) return;
      visit(part, piece.rank);
    }
  }

 private:
  /// The piece with the first row of `span`: that of the span before, the next one, or found.
  std::int64_t start(const std::vector<OwnedSpan>& pieces, const TokenSpan& span) {
    const auto holds = [&](std::int64_t at) {
      if (at < 0 || at >= static_cast<std::int64_t>(pieces.size())) return false;
      const OwnedSpan& piece = pieces[static_cast<std::size_t>(at)];
      return piece.begin <= span.begin && span.begin < piece.end;
    };
    if (!holds(last_) && !holds(++last_)) last_ = owners_.find(span.document, span.begin);
    return last_;
  }

  OwnerTable owners_;
  std::int64_t last_ = 0;
};

class GradientDerivation {
 public:
  GradientDerivation(const Wave& wave, const ModelShape& model) : wave_(wave), owners_(wave.placement) {
    if (moves(TensorKind::q)) query_uses_.emplace(wave, model, TensorKind::q);
    if (moves(TensorKind::kv)) key_uses_.emplace(wave, model, TensorKind::kv);
    if (query_uses_) common_queries_.emplace(*query_uses_);
    if (key_uses_) common_keys_.emplace(*key_uses_);
  }

  std::vector<ScheduleStep> derive() {
    const auto& forward = wave_.schedule.steps;
    steps_.resize(forward.size());
    for (std::size_t s = 0; s < forward.size(); ++s) fetch_output_gradients(forward[s], steps_[s]);
    for (std::size_t s = forward.size(); s-- > 0;) {
      for (const Transfer& transfer : forward[s].transfers) return_home(transfer);
    }
    for (ScheduleStep& step : steps_) sort_canonically(step);
    return std::move(steps_);
  }

 private:
  bool moves(TensorKind tensor) const {
    return std::any_of(
        wave_.schedule.steps.begin(), wave_.schedule.steps.end(), [&](const ScheduleStep& step) {
          return std::any_of(step.transfers.begin(), step.transfers.end(),
                             [&](const Transfer& transfer) { return transfer.tensor == tensor; });
        });
  }

  /// A d_o beside every q.
  void fetch_output_gradients(const ScheduleStep& forward, ScheduleStep& backward) {
    for (const Transfer& transfer : forward.transfers) {
      if (transfer.tensor != TensorKind::q) continue;
      owners_.each_owner(transfer.span, [&](const TokenSpan& part, std::int32_t owner) {
        backward.transfers.push_back(
            {owner, transfer.targets, TensorKind::d_o, part, transfer.heads, transfer.lane, transfer.ready});
      });
    }
  }

  void return_home(const Transfer& transfer) {
    const bool keys = transfer.tensor == TensorKind::kv;
    if (!keys && transfer.tensor != TensorKind::q) return;
    const UseTable& table = keys ? *key_uses_ : *query_uses_;
    CommonLastUse& common = keys ? *common_keys_ : *common_queries_;
    const bool climb = keys && wave_.backward.gradient_return == GradientReturn::reverse_tree;
    if (const std::int32_t step = common.of(transfer); step >= 0) {
      emit(transfer, {transfer.span.begin, transfer.span.end, transfer.heads, step, 0}, transfer.targets,
           climb);
      return;
    }
    returns_.clear();
    for (const RankRange& range : transfer.targets) {
      for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
        uses_.clear();
        table.overlapping(transfer.span, transfer.heads, rank, uses_);
        cut_into_returns(transfer.span, transfer.heads, rank, uses_, returns_);
      }
    }
    std::sort(returns_.begin(), returns_.end());
    for (std::size_t i = 0; i < returns_.size();) {
      const std::size_t first = i;
      const auto same = [&](const Return& other) {
        const Return& own = returns_[first];
        return std::tie(own.begin, own.end, own.heads, own.last_step) ==
               std::tie(other.begin, other.end, other.heads, other.last_step);
      };
      std::vector<std::int32_t> ranks;
      for (; i < returns_.size() && same(returns_[i]); ++i) ranks.push_back(returns_[i].rank);
      emit(transfer, returns_[first], rank_ranges(std::move(ranks)), climb);
    }
  }

  /// One Reduction per receiver of what `sources` return.
  void emit(const Transfer& transfer, const Return& piece, const std::vector<RankRange>& sources,
            bool climb) {
    const std::int32_t step = piece.last_step + 1;
    const TokenSpan span{transfer.span.document, piece.begin, piece.end};
    if (steps_.size() <= static_cast<std::size_t>(step)) steps_.resize(static_cast<std::size_t>(step) + 1);
    auto& reductions = steps_[static_cast<std::size_t>(step)].reductions;
    const TensorKind tensor = transfer.tensor == TensorKind::kv ? TensorKind::dkv : TensorKind::dq;
    if (climb) {
      reductions.push_back({transfer.source, sources, tensor, span, piece.heads, transfer.lane, step + 1});
      key_uses_->add_later(span.document, transfer.source, {span.begin, span.end, piece.heads, step});
      common_keys_->forget(transfer.source);
      return;
    }
    owners_.each_owner(span, [&](const TokenSpan& part, std::int32_t owner) {
      reductions.push_back({owner, sources, tensor, part, piece.heads, transfer.lane, step + 1});
    });
  }

  const Wave& wave_;
  OwnerWalk owners_;
  std::optional<UseTable> query_uses_, key_uses_;  // of tensors that move
  std::optional<CommonLastUse> common_queries_, common_keys_;
  std::vector<ScheduleStep> steps_;
  std::vector<Use> uses_;
  std::vector<Return> returns_;
};

/// Tasks again, and q and kv where they are not kept.
void repeat_step(const ScheduleStep& forward, bool refetch, ScheduleStep& backward) {
  backward.tasks = forward.tasks;
  if (!refetch) return;
  std::vector<Transfer> output_gradients = std::move(backward.transfers);
  backward.transfers.clear();
  backward.transfers.reserve(forward.transfers.size() + output_gradients.size());
  for (const Transfer& transfer : forward.transfers) {
    const bool input = transfer.tensor == TensorKind::q || transfer.tensor == TensorKind::kv;
    if (input) backward.transfers.push_back(transfer);
  }
  std::move(output_gradients.begin(), output_gradients.end(), std::back_inserter(backward.transfers));
  // Reductions make it something that no library's collective does.
  if (!backward.transfers.empty() && backward.reductions.empty()) backward.collective = forward.collective;
}

}  // namespace

std::vector<ScheduleStep> derive_gradient_moves(const Wave& wave, const ModelShape& model) {
  return GradientDerivation(wave, model).derive();
}

CommSchedule derive_backward(const Wave& wave, const ModelShape& model) {
  if (wave.backward.gradient_return == GradientReturn::explicit_steps) {
    return {wave.schedule.exchange, wave.backward.steps};
  }
  CommSchedule schedule{wave.schedule.exchange, derive_gradient_moves(wave, model)};
  const bool refetch = wave.backward.kv == BackwardKeep::refetch;
  for (std::size_t s = 0; s < wave.schedule.steps.size(); ++s) {
    repeat_step(wave.schedule.steps[s], refetch, schedule.steps[s]);
    sort_canonically(schedule.steps[s]);
  }
  return schedule;
}

}  // namespace strata
