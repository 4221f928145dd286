// SPDX-License-Identifier: Apache-2.0
// A received slice goes home one step after its last use. "Use" is the rank's own tasks and, when gradients
// climb back the multicast tree, what its children return; processing forward transfers from the last step to
// the first guarantees that children come before parents.
#include "core/backward_schedule.hpp"

#include <algorithm>
#include <tuple>

namespace strata {

namespace {

/// Rows and heads whose gradient a rank accumulates in `step`.
struct Use {
  std::int64_t begin = 0, end = 0;
  HeadRange heads;
  std::int32_t step = 0;
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
        offsets_(static_cast<std::size_t>(document_count_) * static_cast<std::size_t>(rank_count_) + 1),
        later_(offsets_.size()) {
    each_task(wave, [&](const AttentionTask& task, std::int32_t) { ++offsets_[cell(task) + 1]; });
    for (std::size_t i = 1; i < offsets_.size(); ++i) offsets_[i] += offsets_[i - 1];
    uses_.resize(offsets_.back());
    std::vector<std::size_t> next(offsets_.begin(), offsets_.end() - 1);
    each_task(wave, [&](const AttentionTask& task, std::int32_t step) {
      const bool keys = tensor == TensorKind::kv;
      const TokenSpan& span = keys ? task.key : task.query;
      const HeadRange heads = keys ? model.kv_heads_of(task.heads) : task.heads;
      uses_[next[cell(task)]++] = {span.begin, span.end, heads, step};
    });
    for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) {
      std::sort(uses_.begin() + static_cast<std::ptrdiff_t>(offsets_[i]),
                uses_.begin() + static_cast<std::ptrdiff_t>(offsets_[i + 1]), latest_and_longest_first);
    }
  }

  /// The step of the last use of the whole slice by `rank`; -1 when it is unused or used in pieces, which
  /// cut_into_returns sorts out. This is the common case, and there are hundreds of thousands.
  std::int32_t last_whole_use(const TokenSpan& span, HeadRange heads, std::int32_t rank) const {
    if (any_later_ || !holds(span.document, rank)) return -1;
    const std::size_t at = index(span.document, rank);
    for (std::size_t i = offsets_[at]; i < offsets_[at + 1]; ++i) {
      const Use& use = uses_[i];
      if (use.begin >= span.end || span.begin >= use.end) continue;
      const bool whole = use.begin <= span.begin && span.end <= use.end && contains(use.heads, heads);
      return whole ? use.step : -1;
    }
    return -1;
  }

  bool holds(std::int32_t document, std::int32_t rank) const {
    return document >= first_ && document - first_ < document_count_ && rank >= 0 && rank < rank_count_;
  }

  void add_later(std::int32_t document, std::int32_t rank, const Use& use) {
    if (!holds(document, rank)) return;
    later_[index(document, rank)].push_back(use);
    any_later_ = true;
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
    if (any_later_) std::for_each(later_[at].begin(), later_[at].end(), take);
  }

 private:
  static bool latest_and_longest_first(const Use& a, const Use& b) {
    return std::tuple(-a.step, a.begin - a.end, a.begin, a.heads) <
           std::tuple(-b.step, b.begin - b.end, b.begin, b.heads);
  }
  std::size_t index(std::int32_t document, std::int32_t rank) const {
    return static_cast<std::size_t>(document - first_) * static_cast<std::size_t>(rank_count_) +
           static_cast<std::size_t>(rank);
  }
  std::size_t cell(const AttentionTask& task) const { return index(task.query.document, task.rank); }

  template <typename Visit>
  void each_task(const Wave& wave, Visit visit) const {
    for (std::size_t step = 0; step < wave.schedule.steps.size(); ++step) {
      for (const AttentionTask& task : wave.schedule.steps[step].tasks) {
        if (holds(task.query.document, task.rank)) visit(task, static_cast<std::int32_t>(step));
      }
    }
  }

  std::int32_t rank_count_, first_, document_count_;
  std::vector<std::size_t> offsets_;
  std::vector<Use> uses_;
  std::vector<std::vector<Use>> later_;
  bool any_later_ = false;
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

/// Calls `visit(span, owner)` for the parts of `span` by owner.
template <typename Visit>
void each_owner(const OwnerTable& owners, const TokenSpan& span, Visit visit) {
  std::int64_t at = owners.find(span.document, span.begin);
  const auto& pieces = owners.of(span.document);
  for (; at >= 0 && at < static_cast<std::int64_t>(pieces.size()); ++at) {
    const OwnedSpan& piece = pieces[static_cast<std::size_t>(at)];
    const TokenSpan part = intersect(span, {span.document, piece.begin, piece.end});
    if (part.empty()) return;
    visit(part, piece.rank);
  }
}

class BackwardDerivation {
 public:
  BackwardDerivation(const Wave& wave, const ModelShape& model)
      : wave_(wave),
        owners_(wave.placement),
        query_uses_(wave, model, TensorKind::q),
        key_uses_(wave, model, TensorKind::kv) {}

  CommSchedule derive() {
    result_.exchange = wave_.schedule.exchange;
    result_.steps.resize(wave_.schedule.steps.size());
    for (std::size_t s = 0; s < wave_.schedule.steps.size(); ++s) repeat_step(s);
    for (std::size_t s = wave_.schedule.steps.size(); s-- > 0;) {
      const auto& transfers = wave_.schedule.steps[s].transfers;
      for (const Transfer& transfer : transfers) return_home(transfer);
    }
    for (ScheduleStep& step : result_.steps) sort_canonically(step);
    return std::move(result_);
  }

 private:
  /// Tasks, refetched q and kv, and d_o beside every q.
  void repeat_step(std::size_t s) {
    const ScheduleStep& forward = wave_.schedule.steps[s];
    ScheduleStep& backward = result_.steps[s];
    backward.tasks = forward.tasks;
    const bool refetch = wave_.backward.kv == BackwardKeep::refetch;
    if (refetch) backward.collective = forward.collective;
    for (const Transfer& transfer : forward.transfers) {
      const bool input = transfer.tensor == TensorKind::q || transfer.tensor == TensorKind::kv;
      if (input && refetch) backward.transfers.push_back(transfer);
      if (transfer.tensor != TensorKind::q) continue;
      each_owner(owners_, transfer.span, [&](const TokenSpan& part, std::int32_t owner) {
        Transfer gradient = transfer;
        gradient.source = owner;
        gradient.tensor = TensorKind::d_o;
        gradient.span = part;
        backward.transfers.push_back(std::move(gradient));
      });
    }
  }

  void return_home(const Transfer& transfer) {
    const bool keys = transfer.tensor == TensorKind::kv;
    if (!keys && transfer.tensor != TensorKind::q) return;
    const UseTable& table = keys ? key_uses_ : query_uses_;
    const bool climb = keys && wave_.backward.gradient_return == GradientReturn::reverse_tree;
    if (const std::int32_t step = common_last_use(table, transfer); step >= 0) {
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

  /// The step after which every target sends the whole slice home; -1 when they differ.
  static std::int32_t common_last_use(const UseTable& table, const Transfer& transfer) {
    std::int32_t common = -1;
    for (const RankRange& range : transfer.targets) {
      for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
        const std::int32_t step = table.last_whole_use(transfer.span, transfer.heads, rank);
        if (step < 0 || (common >= 0 && step != common)) return -1;
        common = step;
      }
    }
    return common;
  }

  /// One Reduction per receiver of what `sources` return.
  void emit(const Transfer& transfer, const Return& piece, const std::vector<RankRange>& sources,
            bool climb) {
    const std::int32_t step = piece.last_step + 1;
    const TokenSpan span{transfer.span.document, piece.begin, piece.end};
    if (result_.steps.size() <= static_cast<std::size_t>(step)) {
      result_.steps.resize(static_cast<std::size_t>(step) + 1);
    }
    auto& reductions = result_.steps[static_cast<std::size_t>(step)].reductions;
    const TensorKind tensor = transfer.tensor == TensorKind::kv ? TensorKind::dkv : TensorKind::dq;
    if (climb) {
      reductions.push_back({transfer.source, sources, tensor, span, piece.heads, transfer.lane, step + 1});
      key_uses_.add_later(span.document, transfer.source, {span.begin, span.end, piece.heads, step});
      return;
    }
    each_owner(owners_, span, [&](const TokenSpan& part, std::int32_t owner) {
      reductions.push_back({owner, sources, tensor, part, piece.heads, transfer.lane, step + 1});
    });
  }

  const Wave& wave_;
  OwnerTable owners_;
  UseTable query_uses_, key_uses_;
  CommSchedule result_;
  std::vector<Use> uses_;
  std::vector<Return> returns_;
};

}  // namespace

CommSchedule derive_backward(const Wave& wave, const ModelShape& model) {
  if (wave.backward.gradient_return == GradientReturn::explicit_steps) {
    return {wave.schedule.exchange, wave.backward.steps};
  }
  return BackwardDerivation(wave, model).derive();
}

}  // namespace strata
