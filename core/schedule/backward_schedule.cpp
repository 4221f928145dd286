// SPDX-License-Identifier: Apache-2.0
// A received slice goes home one step after its last use. "Use" is the rank's own tasks and, when gradients
// climb back the multicast tree, what its children return; processing forward transfers from the last step to
// the first guarantees that children come before parents.
#include "core/schedule/backward_schedule.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "core/schedule/backward_uses.hpp"

namespace strata {

namespace {

using detail::CommonLastUse;
using detail::Use;
using detail::UseTable;

/// A piece that goes home together: which rows and heads, after which step, from which rank.
struct Return {
  std::int64_t begin = 0, end = 0;
  HeadRange heads;
  std::int32_t last_step = 0;
  std::int32_t rank = 0;
  auto operator<=>(const Return&) const = default;
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

/// Of returns whose step says nothing, those of one rank, head range by head range: joins head ranges that
/// have the same rows.
void join_heads(std::vector<Return>& parts, std::size_t first) {
  const auto heads_end = [&](std::size_t at) {
    std::size_t end = at;
    while (end < parts.size() && parts[end].heads == parts[at].heads) ++end;
    return end;
  };
  const auto same_rows = [](const Return& a, const Return& b) {
    return a.begin == b.begin && a.end == b.end;
  };
  std::size_t kept = first, at = heads_end(first);
  while (at < parts.size()) {
    const std::size_t end = heads_end(at);
    const auto before = parts.begin() + static_cast<std::ptrdiff_t>(kept);
    const auto here = parts.begin() + static_cast<std::ptrdiff_t>(at);
    const auto after = parts.begin() + static_cast<std::ptrdiff_t>(end);
    const HeadRange heads = parts[at].heads;
    const bool joins =
        parts[kept].heads.end == heads.begin && std::equal(before, here, here, after, same_rows);
    if (joins) {
      parts.erase(here, after);
      for (std::size_t i = kept; i < at; ++i) parts[i].heads.end = heads.end;
    } else {
      kept = at;
      at = end;
    }
  }
}

/// The owners of rows, asked for spans that mostly ascend.
class OwnerWalk {
 public:
  explicit OwnerWalk(const OwnerTable& owners) : owners_(owners) {}

  /// Calls `visit(span, owner)` for the parts of `span` by owner.
  template <typename Visit>
  void each_owner(const TokenSpan& span, Visit visit) {
    const std::span<const OwnedSpan> pieces = owners_.of(span.document);
    for (auto at = static_cast<std::size_t>(start(pieces, span)); at < pieces.size(); ++at) {
      const OwnedSpan& piece = pieces[at];
      const TokenSpan part = intersect(span, {span.document, piece.begin, piece.end});
      if (part.empty()) return;
      visit(part, piece.rank);
    }
  }

 private:
  /// The piece with the first row of `span`: that of the span before, the next one, or found.
  std::int64_t start(std::span<const OwnedSpan> pieces, const TokenSpan& span) {
    const auto holds = [&](std::int64_t at) {
      if (at < 0 || at >= static_cast<std::int64_t>(pieces.size())) return false;
      const OwnedSpan& piece = pieces[static_cast<std::size_t>(at)];
      return piece.begin <= span.begin && span.begin < piece.end;
    };
    if (!holds(last_) && !holds(++last_)) last_ = owners_.find(span.document, span.begin);
    return last_;
  }

  const OwnerTable& owners_;
  std::int64_t last_ = 0;
};

class GradientDerivation {
 public:
  GradientDerivation(const Wave& wave, const ModelShape& model, const OwnerTable& owners,
                     DocumentNumbers documents)
      : wave_(wave), documents_(documents), owners_(owners) {
    const std::size_t queries = count(TensorKind::q);
    const std::size_t keys = count(TensorKind::kv);
    expected_output_gradients_ = queries;
    expected_reductions_ = queries + keys;
    if (queries > 0) query_uses_.emplace(wave, model, TensorKind::q, documents);
    if (keys > 0) key_uses_.emplace(wave, model, TensorKind::kv, documents);
    if (query_uses_) common_queries_.emplace(*query_uses_);
    if (key_uses_) common_keys_.emplace(*key_uses_);
  }

  std::vector<ScheduleStep> derive() {
    const auto& forward = wave_.schedule.steps;
    steps_.resize(forward.size());
    for (std::size_t s = 0; s < forward.size(); ++s) {
      for (const Transfer& transfer : forward[s].transfers) {
        if (concerns(transfer)) fetch_output_gradients(transfer, steps_[s]);
      }
    }
    for (std::size_t s = forward.size(); s-- > 0;) {
      for (const Transfer& transfer : forward[s].transfers) {
        if (concerns(transfer)) return_home(transfer);
      }
    }
    for (ScheduleStep& step : steps_) sort_canonically(step);
    return std::move(steps_);
  }

 private:
  bool concerns(const Transfer& transfer) const {
    return transfer.span.document >= documents_.first && transfer.span.document < documents_.end;
  }

  /// Transfers of `tensor`.
  std::size_t count(TensorKind tensor) const {
    std::size_t count = 0;
    for (const ScheduleStep& step : wave_.schedule.steps) {
      for (const Transfer& transfer : step.transfers) {
        if (transfer.tensor == tensor && concerns(transfer)) ++count;
      }
    }
    return count;
  }

  /// The first step that gets records may well get all.
  template <typename Record>
  static void reserve_once(std::vector<Record>& records, std::size_t& expected) {
    if (expected == 0) return;
    records.reserve(expected);
    expected = 0;
  }

  /// A d_o beside every q, for those who compute with it.
  void fetch_output_gradients(const Transfer& transfer, ScheduleStep& backward) {
    if (transfer.tensor != TensorKind::q) return;
    reserve_once(backward.transfers, expected_output_gradients_);
    const auto fetch = [&](const TokenSpan& span, HeadRange heads, const std::vector<RankRange>& targets) {
      owners_.each_owner(span, [&](const TokenSpan& part, std::int32_t owner) {
        backward.transfers.push_back(
            {owner, targets, TensorKind::d_o, part, heads, transfer.lane, transfer.ready});
      });
    };
    if (common_queries_->of(transfer) >= 0) {
      fetch(transfer.span, transfer.heads, transfer.targets);
      return;
    }
    collect_returns(transfer, *query_uses_, Timing::any);
    each_return([&](const Return& part, const std::vector<RankRange>& targets) {
      fetch({transfer.span.document, part.begin, part.end}, part.heads, targets);
    });
  }

  /// Whether pieces that were used last in different steps are different pieces.
  enum class Timing : std::uint8_t { last_use, any };

  /// Sets `returns_` to what every target uses of a slice.
  void collect_returns(const Transfer& transfer, const UseTable& table, Timing timing) {
    returns_.clear();
    for (const RankRange& range : transfer.targets) {
      for (std::int32_t rank = range.begin; rank < range.end; ++rank) {
        uses_.clear();
        table.overlapping(transfer.span, transfer.heads, rank, uses_);
        const std::size_t first = returns_.size();
        if (timing == Timing::any) {
          for (Use& use : uses_) use.step = 0;
        }
        cut_into_returns(transfer.span, transfer.heads, rank, uses_, returns_);
        if (timing == Timing::any) join_heads(returns_, first);
      }
    }
    std::sort(returns_.begin(), returns_.end());
  }

  /// Calls visit(piece, ranks) for the pieces in `returns_`, each with all ranks that have it.
  template <typename Visit>
  void each_return(Visit visit) {
    for (std::size_t i = 0; i < returns_.size();) {
      const Return piece = returns_[i];
      const auto same = [&](const Return& other) {
        return std::tie(piece.begin, piece.end, piece.heads, piece.last_step) ==
               std::tie(other.begin, other.end, other.heads, other.last_step);
      };
      std::vector<std::int32_t> ranks;
      for (; i < returns_.size() && same(returns_[i]); ++i) ranks.push_back(returns_[i].rank);
      visit(piece, rank_ranges(std::move(ranks)));
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
    collect_returns(transfer, table, Timing::last_use);
    each_return([&](const Return& piece, const std::vector<RankRange>& ranks) {
      emit(transfer, piece, ranks, climb);
    });
  }

  /// One Reduction per receiver of what `sources` return.
  void emit(const Transfer& transfer, const Return& piece, const std::vector<RankRange>& sources,
            bool climb) {
    const std::int32_t step = piece.last_step + 1;
    const TokenSpan span{transfer.span.document, piece.begin, piece.end};
    if (steps_.size() <= static_cast<std::size_t>(step)) steps_.resize(static_cast<std::size_t>(step) + 1);
    auto& reductions = steps_[static_cast<std::size_t>(step)].reductions;
    reserve_once(reductions, expected_reductions_);
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
  DocumentNumbers documents_;
  OwnerWalk owners_;
  std::size_t expected_output_gradients_ = 0, expected_reductions_ = 0;  // 0 once space was made for them
  std::optional<UseTable> query_uses_, key_uses_;                        // of tensors that move
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

std::vector<ScheduleStep> derive_gradient_moves(const Wave& wave, const ModelShape& model,
                                                const OwnerTable& owners, DocumentNumbers documents) {
  return GradientDerivation(wave, model, owners, documents).derive();
}

CommSchedule derive_backward(const Wave& wave, const ModelShape& model) {
  if (wave.backward.gradient_return == GradientReturn::explicit_steps) {
    return {wave.schedule.exchange, wave.backward.steps};
  }
  const DocumentNumbers all = wave.documents.empty()
                                  ? DocumentNumbers{}
                                  : DocumentNumbers{wave.documents.front(), wave.documents.back() + 1};
  return complete_backward(
      wave, derive_gradient_moves(wave, model, OwnerTable(wave.placement, wave.documents), all));
}

CommSchedule complete_backward(const Wave& wave, std::vector<ScheduleStep> gradient_moves) {
  CommSchedule schedule{wave.schedule.exchange, std::move(gradient_moves)};
  const bool refetch = wave.backward.kv == BackwardKeep::refetch;
  for (std::size_t s = 0; s < wave.schedule.steps.size(); ++s) {
    repeat_step(wave.schedule.steps[s], refetch, schedule.steps[s]);
  }
  for (ScheduleStep& step : schedule.steps) sort_canonically(step);
  return schedule;
}

}  // namespace strata
