// SPDX-License-Identifier: Apache-2.0
#include "tests/planner/realise/schedule_interpreter.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace strata::testing {

namespace {

constexpr std::int32_t kNever = 1 << 30;

bool sees(const ModelShape& model, std::int64_t query, std::int64_t key) {
  if (key > query) return false;
  return model.attention == AttentionKind::dense || key > query - model.window;
}

/// One flag per (rank, row, head).
class Flags {
 public:
  Flags(std::int32_t ranks, std::int64_t rows, std::int32_t heads, std::int32_t value)
      : rows_(rows), heads_(heads), values_(static_cast<std::size_t>(ranks * rows * heads), value) {}
  std::int32_t& at(std::int32_t rank, std::int64_t row, std::int32_t head) {
    return values_.at(static_cast<std::size_t>((rank * rows_ + row) * heads_ + head));
  }

 private:
  std::int64_t rows_;
  std::int32_t heads_;
  std::vector<std::int32_t> values_;
};

class Interpreter {
 public:
  Interpreter(const WaveRequest& request, const SequenceLayout& layout, const CommSchedule& schedule)
      : request_(request),
        layout_(layout),
        schedule_(schedule),
        rows_(request.token_count()),
        owner_(static_cast<std::size_t>(rows_), -1),
        q_from_(request.rank_count, rows_, request.model.query_heads, kNever),
        kv_from_(request.rank_count, rows_, request.model.kv_heads, kNever),
        q_used_(request.rank_count, rows_, request.model.query_heads, 0),
        kv_used_(request.rank_count, rows_, request.model.kv_heads, 0),
        done_(request.rank_count, rows_, request.model.query_heads, 0),
        out_from_(request.rank_count, rows_, request.model.query_heads, kNever),
        computed_(static_cast<std::size_t>(rows_ * rows_ * request.model.query_heads), 0) {}

  std::vector<std::string> run() {
    place();
    if (!complaints_.empty()) return complaints_;
    for (std::size_t s = 0; s < schedule_.steps.size(); ++s) {
      const auto step = static_cast<std::int32_t>(s);
      const ScheduleStep& what = schedule_.steps[s];
      check_order(what, step);
      for (const Transfer& transfer : what.transfers) move(transfer, step);
      for (const AttentionTask& task : what.tasks) compute(task, step);
    }
    check_last_step();
    check_coverage();
    if (schedule_.exchange == ExchangeMode::needed) check_use();
    return complaints_;
  }

 private:
  template <typename... Values>
  void complain(fmt::format_string<Values...> text, Values&&... values) {
    if (complaints_.size() < 20) complaints_.push_back(fmt::format(text, std::forward<Values>(values)...));
  }

  std::int64_t row(std::int32_t document, std::int64_t token) const {
    std::int64_t row = token;
    for (std::size_t i = 0; request_.documents.at(i) != document; ++i) row += request_.lengths[i];
    return row;
  }
  std::int64_t length(std::int32_t document) const {
    const auto at = std::find(request_.documents.begin(), request_.documents.end(), document);
    return at == request_.documents.end()
               ? -1
               : request_.lengths[static_cast<std::size_t>(at - request_.documents.begin())];
  }
  bool valid(const TokenSpan& span) const {
    return span.begin >= 0 && span.begin < span.end && span.end <= length(span.document);
  }

  /// A step for rows that arrive and are never used is in order; any other empty step at the end is not.
  void check_last_step() {
    const auto& steps = schedule_.steps;
    const bool empty = steps.back().transfers.empty() && steps.back().tasks.empty();
    if (empty && (steps.size() < 2 || steps[steps.size() - 2].transfers.empty()))
      complain("the last step is empty");
    for (std::size_t s = 0; s < steps.size(); ++s) {
      for (const Transfer& transfer : steps[s].transfers) {
        const std::size_t end = transfer.tensor == TensorKind::o ? steps.size() + 1 : steps.size();
        if (static_cast<std::size_t>(transfer.ready) >= end) complain("step {} is ready after the end", s);
      }
    }
  }

  void place() {
    for (std::int32_t rank = 0; rank < layout_.rank_count(); ++rank) {
      const auto& spans = layout_.spans[static_cast<std::size_t>(rank)];
      for (std::size_t i = 0; i < spans.size(); ++i) {
        if (!valid(spans[i])) return complain("rank {} owns a span outside its document", rank);
        if (i > 0 && !(spans[i - 1] < spans[i])) complain("spans of rank {} are not sorted", rank);
        if (i > 0 && spans[i - 1].document == spans[i].document && spans[i - 1].end >= spans[i].begin) {
          complain("spans of rank {} touch", rank);
        }
        for (std::int64_t token = spans[i].begin; token < spans[i].end; ++token)
          own(rank, row(spans[i].document, token));
      }
    }
    for (std::int64_t r = 0; r < rows_; ++r) {
      if (owner_[static_cast<std::size_t>(r)] < 0) complain("row {} has no owner", r);
    }
  }

  void own(std::int32_t rank, std::int64_t row) {
    if (owner_[static_cast<std::size_t>(row)] >= 0) complain("row {} has two owners", row);
    owner_[static_cast<std::size_t>(row)] = rank;
    for (std::int32_t head = 0; head < request_.model.query_heads; ++head) q_from_.at(rank, row, head) = 0;
    for (std::int32_t head = 0; head < request_.model.kv_heads; ++head) kv_from_.at(rank, row, head) = 0;
  }

  void check_order(const ScheduleStep& step, std::int32_t number) {
    ScheduleStep sorted = step;
    sort_canonically(sorted);
    if (!(sorted == step)) complain("step {} is not sorted", number);
  }

  void move(const Transfer& transfer, std::int32_t step) {
    if (!valid(transfer.span)) return complain("a transfer of step {} lies outside its document", step);
    if (transfer.ready != step + 1) complain("a transfer of step {} is ready at {}", step, transfer.ready);
    if (transfer.targets.empty()) complain("a transfer of step {} has no target", step);
    for (std::size_t i = 0; i < transfer.targets.size(); ++i) {
      const RankRange& range = transfer.targets[i];
      if (range.begin >= range.end || range.begin < 0 || range.end > request_.rank_count) {
        return complain("bad target range in step {}", step);
      }
      if (i > 0 && transfer.targets[i - 1].end >= range.begin)
        complain("target ranges of step {} touch", step);
      for (std::int32_t target = range.begin; target < range.end; ++target) deliver(transfer, target, step);
    }
  }

  void deliver(const Transfer& transfer, std::int32_t target, std::int32_t step) {
    if (target == transfer.source) complain("rank {} sends to itself in step {}", target, step);
    for (std::int64_t token = transfer.span.begin; token < transfer.span.end; ++token) {
      const std::int64_t r = row(transfer.span.document, token);
      for (std::int32_t head = transfer.heads.begin; head < transfer.heads.end; ++head) {
        if (transfer.tensor == TensorKind::o) {
          deliver_output(transfer.source, target, r, head, step);
          continue;
        }
        const bool keys = transfer.tensor == TensorKind::kv;
        Flags& from = keys ? kv_from_ : q_from_;
        if (from.at(transfer.source, r, head) > step)
          complain("rank {} does not hold row {}", transfer.source, r);
        (keys ? kv_used_ : q_used_).at(transfer.source, r, head) = 1;
        if (from.at(target, r, head) != kNever)
          complain("row {} head {} reaches rank {} twice", r, head, target);
        from.at(target, r, head) = step + 1;
      }
    }
  }

  void deliver_output(std::int32_t source, std::int32_t target, std::int64_t r, std::int32_t head,
                      std::int32_t step) {
    if (owner_[static_cast<std::size_t>(r)] != target) complain("output of row {} goes to a stranger", r);
    if (done_.at(source, r, head) != allowed(r)) complain("output of row {} leaves unfinished", r);
    if (out_from_.at(target, r, head) != kNever) complain("output of row {} arrives twice", r);
    out_from_.at(target, r, head) = step + 1;
  }

  /// Keys that the query of global row `r` may see.
  std::int32_t allowed(std::int64_t r) const {
    std::size_t i = 0;
    for (; r >= request_.lengths[i]; ++i) r -= request_.lengths[i];
    std::int32_t count = 0;
    for (std::int64_t key = 0; key <= r; ++key) count += sees(request_.model, r, key) ? 1 : 0;
    return count;
  }

  void compute(const AttentionTask& task, std::int32_t step) {
    if (!valid(task.query) || !valid(task.key) || task.query.document != task.key.document) {
      return complain("a task of step {} has bad spans", step);
    }
    std::vector<bool> key_seen(static_cast<std::size_t>(task.key.length()), false);
    for (std::int64_t i = task.query.begin; i < task.query.end; ++i) {
      bool query_sees = false;
      for (std::int64_t j = task.key.begin; j < task.key.end; ++j) {
        if (!sees(request_.model, i, j)) continue;
        query_sees = key_seen[static_cast<std::size_t>(j - task.key.begin)] = true;
        pair(task, row(task.query.document, i), row(task.key.document, j), step);
      }
      if (!query_sees)
        complain("a task of rank {} in step {} has a query row that sees nothing", task.rank, step);
    }
    if (std::find(key_seen.begin(), key_seen.end(), false) != key_seen.end()) {
      complain("a task of rank {} in step {} has a key row that nobody sees", task.rank, step);
    }
  }

  void pair(const AttentionTask& task, std::int64_t i, std::int64_t j, std::int32_t step) {
    const std::int32_t group = request_.model.query_heads / request_.model.kv_heads;
    for (std::int32_t head = task.heads.begin; head < task.heads.end; ++head) {
      if (q_from_.at(task.rank, i, head) > step)
        complain("rank {} lacks query {} in step {}", task.rank, i, step);
      if (kv_from_.at(task.rank, j, head / group) > step) {
        complain("rank {} lacks key {} in step {}", task.rank, j, step);
      }
      q_used_.at(task.rank, i, head) = 1;
      kv_used_.at(task.rank, j, head / group) = 1;
      ++done_.at(task.rank, i, head);
      ++computed_.at(static_cast<std::size_t>((head * rows_ + i) * rows_ + j));
    }
  }

  void check_coverage() {
    std::int64_t base = 0;
    for (const std::int64_t length : request_.lengths) {
      for (std::int64_t i = 0; i < length; ++i) check_row(base, i, length);
      base += length;
    }
  }

  void check_row(std::int64_t base, std::int64_t i, std::int64_t length) {
    const std::int32_t owner = owner_[static_cast<std::size_t>(base + i)];
    for (std::int32_t head = 0; head < request_.model.query_heads; ++head) {
      for (std::int64_t j = 0; j < length; ++j) {
        const auto index = static_cast<std::size_t>((head * rows_ + base + i) * rows_ + base + j);
        const std::int32_t expected = sees(request_.model, i, j) ? 1 : 0;
        if (computed_[index] != expected) {
          complain("pair ({}, {}) head {} is computed {} times", base + i, base + j, head, computed_[index]);
        }
      }
      const bool at_home = done_.at(owner, base + i, head) == allowed(base + i);
      const bool came_home = out_from_.at(owner, base + i, head) != kNever;
      if (at_home == came_home) complain("output of row {} head {} is not home exactly once", base + i, head);
    }
  }

  void check_use() {
    for (std::int32_t rank = 0; rank < request_.rank_count; ++rank) {
      for (std::int64_t r = 0; r < rows_; ++r) {
        if (owner_[static_cast<std::size_t>(r)] == rank) continue;
        for (std::int32_t head = 0; head < request_.model.query_heads; ++head) {
          if (q_from_.at(rank, r, head) != kNever && q_used_.at(rank, r, head) == 0) {
            complain("rank {} receives query {} for nothing", rank, r);
          }
        }
        for (std::int32_t head = 0; head < request_.model.kv_heads; ++head) {
          if (kv_from_.at(rank, r, head) != kNever && kv_used_.at(rank, r, head) == 0) {
            complain("rank {} receives key {} for nothing", rank, r);
          }
        }
      }
    }
  }

  const WaveRequest& request_;
  const SequenceLayout& layout_;
  const CommSchedule& schedule_;
  std::int64_t rows_;
  std::vector<std::int32_t> owner_;
  Flags q_from_, kv_from_;  // first step in which the rank may use the row
  Flags q_used_, kv_used_;
  Flags done_;      // pairs that the rank computed for the query row
  Flags out_from_;  // at the owner: when the finished output came
  std::vector<std::int32_t> computed_;
  std::vector<std::string> complaints_;
};

}  // namespace

std::vector<std::string> complaints_about(const WaveRequest& request, const SequenceLayout& layout,
                                          const CommSchedule& schedule) {
  return Interpreter(request, layout, schedule).run();
}

std::int64_t kv_rows(const CommSchedule& schedule) {
  std::int64_t rows = 0;
  for (const ScheduleStep& step : schedule.steps) {
    for (const Transfer& transfer : step.transfers) {
      if (transfer.tensor != TensorKind::kv) continue;
      rows += transfer.span.length() * transfer.heads.count() * target_count(transfer);
    }
  }
  return rows;
}

}  // namespace strata::testing
