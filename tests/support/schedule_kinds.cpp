// SPDX-License-Identifier: Apache-2.0
#include "tests/support/schedule_kinds.hpp"

#include <algorithm>

#include "core/schedule/backward_schedule.hpp"
#include "core/schedule/rank_set.hpp"

namespace strata::test {

namespace {

/// Whether `rank` is one of the sorted `targets`.
bool targets_contain(const std::vector<RankRange>& targets, std::int32_t rank) {
  auto after =
      std::upper_bound(targets.begin(), targets.end(), rank,
                       [](std::int32_t value, const RankRange& range) { return value < range.begin; });
  return after != targets.begin() && rank < std::prev(after)->end;
}

bool share(HeadRange a, HeadRange b) { return a.begin < b.end && b.begin < a.end; }

/// A slice that a rank gets in some step.
struct Received {
  const Transfer* transfer = nullptr;
  std::int32_t rank = 0, step = 0;
};

class Inspector {
 public:
  explicit Inspector(const RandomSchedule& schedule)
      : model_(schedule.model),
        wave_(schedule.wave),
        backward_(derive_backward(schedule.wave, schedule.model)) {}

  std::set<std::string> kinds() {
    look_at_inputs();
    look_at(wave_.schedule.steps, false);
    look_at(backward_.steps, true);
    for (const ScheduleStep& step : backward_.steps) {
      for (const Reduction& reduction : step.reductions) look_at(reduction);
    }
    if (is_explicit()) compare_passes();
    return kinds_;
  }

 private:
  bool is_explicit() const { return wave_.backward.gradient_return == GradientReturn::explicit_steps; }
  void note(const char* kind, bool holds) {
    if (holds) kinds_.insert(kind);
  }

  /// How many of the rows of `span` the rank owns.
  std::int64_t owned_rows(std::int32_t rank, const TokenSpan& span) const {
    std::int64_t rows = 0;
    for (const TokenSpan& own : wave_.placement.spans[static_cast<std::size_t>(rank)]) {
      rows += std::max<std::int64_t>(0, intersect(own, span).length());
    }
    return rows;
  }

  void look_at_inputs() {
    note("grouped heads", model_.group_size() > 1);
    note("value heads of another size", model_.value_head_dim != model_.head_dim);
    note("16-bit elements", model_.element_type != ElementType::f32);
    note("window", model_.attention == AttentionKind::window);
    note("several documents", wave_.documents.size() > 1);
    note("several groups", wave_.groups.size() > 1);
    note("exchange: full", wave_.schedule.exchange == ExchangeMode::full);
    note("kv: retain", wave_.backward.kv == BackwardKeep::retain);
    note("kv: refetch", wave_.backward.kv == BackwardKeep::refetch);
    note("return: owner", wave_.backward.gradient_return == GradientReturn::owner);
    note("return: reverse_tree", wave_.backward.gradient_return == GradientReturn::reverse_tree);
    note("return: explicit", is_explicit());
    for (const auto& spans : wave_.placement.spans) note("rank without rows", spans.empty());
  }

  void look_at(const std::vector<ScheduleStep>& steps, bool backward) {
    std::vector<Received> received;
    for (std::size_t s = 0; s < steps.size(); ++s) {
      for (const Transfer& transfer : steps[s].transfers) {
        look_at(transfer, static_cast<std::int32_t>(s), backward);
        each_rank(transfer.targets, [&](std::int32_t rank) {
          received.push_back({&transfer, rank, static_cast<std::int32_t>(s)});
        });
      }
      for (const AttentionTask& task : steps[s].tasks) {
        const std::int64_t rows = owned_rows(task.rank, task.key);
        note("task over keys of several origins", rows > 0 && rows < task.key.length());
        const std::int32_t group = model_.group_size();
        note("task that cuts a group of heads", task.heads.begin % group != 0 || task.heads.end % group != 0);
      }
    }
    for (const Received& slice : received) {
      look_at_use(slice, steps);
      for (const Received& other : received) look_at_pair(slice, other);
    }
  }

  void look_at(const Transfer& transfer, std::int32_t step, bool backward) {
    const bool output = transfer.tensor == TensorKind::o || transfer.tensor == TensorKind::o_part;
    const std::int64_t rows = owned_rows(transfer.source, transfer.span);
    note("slice of own and received rows", !output && rows > 0 && rows < transfer.span.length());
    note("lanes", transfer.lane > 0);
    note("late ready", transfer.ready > step + 1);
    note("multicast", target_count(transfer) > 1);
    note("query travels", transfer.tensor == TensorKind::q);
    note("finished output", transfer.tensor == TensorKind::o);
    note("partial output", transfer.tensor == TensorKind::o_part);
    if (!output && rows == 0) {
      note("kv relayed", transfer.tensor == TensorKind::kv);
      note("q relayed", transfer.tensor == TensorKind::q);
      note("do relayed", backward && transfer.tensor == TensorKind::d_o);
    }
  }

  /// Slices that only pass through a rank.
  void look_at_use(const Received& slice, const std::vector<ScheduleStep>& steps) {
    if (slice.transfer->tensor != TensorKind::q) return;
    for (const ScheduleStep& step : steps) {
      for (const AttentionTask& task : step.tasks) {
        if (task.rank == slice.rank && !intersect(task.query, slice.transfer->span).empty() &&
            share(task.heads, slice.transfer->heads)) {
          return;
        }
      }
    }
    note("q only passed on", wave_.schedule.exchange == ExchangeMode::needed);
  }

  void look_at_pair(const Received& a, const Received& b) {
    const Transfer &one = *a.transfer, &two = *b.transfer;
    if (a.rank != b.rank || &one == &two || intersect(one.span, two.span).empty()) return;
    const bool outputs = one.tensor == TensorKind::o_part && two.tensor == TensorKind::o_part;
    note("row with parts of several ranks", outputs && share(one.heads, two.heads));
    note("planes of different heads", one.tensor == two.tensor && !share(one.heads, two.heads));
    if (one.tensor != TensorKind::q || two.tensor != TensorKind::d_o || !share(one.heads, two.heads)) return;
    note("do cut otherwise than its q", one.span != two.span || one.heads != two.heads);
    note("do on another lane than its q", one.lane != two.lane);
    note("do in another step than its q", a.step != b.step);
  }

  void look_at(const Reduction& reduction) {
    std::int64_t sources = 0;
    for (const RankRange& range : reduction.sources) sources += range.count();
    note("sum of several ranks", sources > 1);
    if (reduction.tensor != TensorKind::dkv) return;
    const std::int64_t rows = owned_rows(reduction.target, reduction.span);
    note("gradient slice of own and relayed rows", rows > 0 && rows < reduction.span.length());
    note("reverse_tree with such a slice", !is_explicit() && rows > 0 && rows < reduction.span.length());
    note("gradient relayed", rows < reduction.span.length());
    if (rows == 0)
      note("gradient relayed by a rank without its kv", !receives_keys(reduction.target, reduction.span));
  }

  bool receives_keys(std::int32_t rank, const TokenSpan& span) const {
    for (const auto* steps : {&wave_.schedule.steps, &backward_.steps}) {
      for (const ScheduleStep& step : *steps) {
        for (const Transfer& transfer : step.transfers) {
          if (transfer.tensor == TensorKind::kv && targets_contain(transfer.targets, rank) &&
              !intersect(transfer.span, span).empty()) {
            return true;
          }
        }
      }
    }
    return false;
  }

  /// What an explicit backward schedule does otherwise than forward.
  void compare_passes() {
    const auto moves = [](const std::vector<ScheduleStep>& steps, TensorKind tensor) {
      std::set<std::pair<TokenSpan, HeadRange>> slices;
      for (const ScheduleStep& step : steps) {
        for (const Transfer& transfer : step.transfers) {
          if (transfer.tensor == tensor) slices.insert({transfer.span, transfer.heads});
        }
      }
      return slices;
    };
    for (const TensorKind tensor : {TensorKind::q, TensorKind::kv}) {
      const auto there = moves(wave_.schedule.steps, tensor), back = moves(backward_.steps, tensor);
      const bool other = !std::includes(there.begin(), there.end(), back.begin(), back.end());
      note(tensor == TensorKind::q ? "q cut otherwise than forward" : "kv cut otherwise than forward", other);
    }
    const auto tasks = [](const std::vector<ScheduleStep>& steps) {
      std::set<AttentionTask> all;
      for (const ScheduleStep& step : steps) all.insert(step.tasks.begin(), step.tasks.end());
      return all;
    };
    note("other tasks than forward", tasks(wave_.schedule.steps) != tasks(backward_.steps));
  }

  const ModelShape& model_;
  const Wave& wave_;
  CommSchedule backward_;
  std::set<std::string> kinds_;
};

}  // namespace

const std::vector<std::string>& all_kinds() {
  static const std::vector<std::string> kKinds{"grouped heads",
                                               "value heads of another size",
                                               "window",
                                               "16-bit elements",
                                               "several documents",
                                               "several groups",
                                               "exchange: full",
                                               "kv: retain",
                                               "kv: refetch",
                                               "return: owner",
                                               "return: reverse_tree",
                                               "return: explicit",
                                               "rank without rows",
                                               "task over keys of several origins",
                                               "task that cuts a group of heads",
                                               "slice of own and received rows",
                                               "lanes",
                                               "late ready",
                                               "multicast",
                                               "query travels",
                                               "finished output",
                                               "partial output",
                                               "kv relayed",
                                               "q relayed",
                                               "do relayed",
                                               "q only passed on",
                                               "row with parts of several ranks",
                                               "planes of different heads",
                                               "do cut otherwise than its q",
                                               "do on another lane than its q",
                                               "do in another step than its q",
                                               "sum of several ranks",
                                               "gradient slice of own and relayed rows",
                                               "gradient relayed",
                                               "reverse_tree with such a slice",
                                               "gradient relayed by a rank without its kv",
                                               "q cut otherwise than forward",
                                               "kv cut otherwise than forward",
                                               "other tasks than forward"};
  return kKinds;
}

std::set<std::string> kinds_of(const RandomSchedule& schedule) { return Inspector(schedule).kinds(); }

}  // namespace strata::test
