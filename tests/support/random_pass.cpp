// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random_pass.hpp"

#include <tuple>
#include <utility>

#include "core/base/check.hpp"

namespace strata::test {

RandomPass::RandomPass(const Wave& wave, const ModelShape& model, const ScheduleStyle& style,
                       std::uint64_t seed)
    : wave_(wave), model_(model), style_(style), seed_(seed), ranks_(wave.placement.rank_count()) {
  std::int64_t rows = 0;
  for (const std::int64_t length : wave.lengths) {
    first_row_.push_back(rows);
    rows += length;
  }
  owner_.resize(static_cast<std::size_t>(rows));
  for (std::int32_t rank = 0; rank < ranks_; ++rank) {
    for (const TokenSpan& span : wave.placement.spans[static_cast<std::size_t>(rank)]) {
      const auto at = std::lower_bound(wave.documents.begin(), wave.documents.end(), span.document);
      const std::int64_t first = first_row_[static_cast<std::size_t>(at - wave.documents.begin())];
      std::fill_n(owner_.begin() + first + span.begin, span.length(), rank);
    }
  }
  query_need_ = RowGrid(ranks_, rows, model.query_heads, kNever);
  key_need_ = RowGrid(ranks_, rows, model.kv_heads, kNever);
  query_last_ = RowGrid(ranks_, rows, model.query_heads, -1);
  key_last_ = RowGrid(ranks_, rows, model.kv_heads, -1);
  pairs_ = RowGrid(ranks_, rows, model.query_heads, 0);
  queries_ = owned(model.query_heads);
  gradients_ = queries_;
  keys_ = owned(model.kv_heads);
}

RowGrid RandomPass::owned(std::int32_t heads) const {
  RowGrid held(ranks_, static_cast<std::int64_t>(owner_.size()), heads, kNever);
  for (std::size_t row = 0; row < owner_.size(); ++row) {
    for (std::int32_t head = 0; head < heads; ++head) {
      held.at(owner_[row], static_cast<std::int64_t>(row), head) = 0;
    }
  }
  return held;
}

bool RandomPass::is_local(const AttentionTask& task) const {
  const auto at = std::lower_bound(wave_.documents.begin(), wave_.documents.end(), task.query.document);
  const std::int64_t first = first_row_[static_cast<std::size_t>(at - wave_.documents.begin())];
  for (const TokenSpan& span : {task.query, task.key}) {
    for (std::int64_t row = span.begin; row < span.end; ++row) {
      if (owner_[static_cast<std::size_t>(first + row)] != task.rank) return false;
    }
  }
  return true;
}

void RandomPass::add_task(const AttentionTask& task, std::int32_t step) {
  STRATA_CHECK(step >= 1 || is_local(task), "a task in step 0 with rows of others");
  if (tasks_.size() <= static_cast<std::size_t>(step)) tasks_.resize(static_cast<std::size_t>(step) + 1);
  tasks_[static_cast<std::size_t>(step)].push_back(task);
  const auto at = std::lower_bound(wave_.documents.begin(), wave_.documents.end(), task.query.document);
  const std::int64_t first = first_row_[static_cast<std::size_t>(at - wave_.documents.begin())];
  const auto use = [&](RowGrid& need, RowGrid& last, const TokenSpan& span, HeadRange heads) {
    for (std::int64_t row = first + span.begin; row < first + span.end; ++row) {
      for (std::int32_t head = heads.begin; head < heads.end; ++head) {
        need.at(task.rank, row, head) = std::min(need.at(task.rank, row, head), step);
        last.at(task.rank, row, head) = std::max(last.at(task.rank, row, head), step);
      }
    }
  };
  use(query_need_, query_last_, task.query, task.heads);
  use(key_need_, key_last_, task.key, model_.kv_heads_of(task.heads));
  for (std::int64_t row = task.query.begin; row < task.query.end; ++row) {
    const TokenSpan query{task.query.document, row, row + 1};
    const auto pairs = static_cast<std::int32_t>(pair_count(model_.mask(), query, task.key));
    for (std::int32_t head = task.heads.begin; head < task.heads.end; ++head) {
      pairs_.at(task.rank, first + row, head) += pairs;
    }
  }
}

void RandomPass::keep_inputs(const RandomPass& forward) {
  queries_ = forward.queries_;
  keys_ = forward.keys_;
  for (RowGrid* grid : {&queries_, &keys_}) {
    for (std::int32_t rank = 0; rank < ranks_; ++rank) {
      for (std::int64_t row = 0; row < static_cast<std::int64_t>(owner_.size()); ++row) {
        for (std::int32_t head = 0; head < grid->heads(); ++head) {
          if (grid->at(rank, row, head) != kNever) grid->at(rank, row, head) = 0;
        }
      }
    }
  }
}

template <typename Visit>
void RandomPass::each_cell(TensorKind tensor, std::int32_t heads, Visit visit) {
  for (std::size_t document = 0; document < first_row_.size(); ++document) {
    Dice dice(seed_, {static_cast<std::int64_t>(tensor), static_cast<std::int64_t>(document)});
    const std::vector<std::int64_t> rows = dice.cuts(wave_.lengths[document], 2);
    const std::vector<std::int64_t> head_cuts = dice.cuts(heads, 1);
    for (std::size_t r = 0; r + 1 < rows.size(); ++r) {
      for (std::size_t h = 0; h + 1 < head_cuts.size(); ++h) {
        for (std::int64_t row = rows[r]; row < rows[r + 1]; ++row) {
          for (std::int64_t head = head_cuts[h]; head < head_cuts[h + 1]; ++head) {
            visit(Cell{document, first_row_[document] + row, static_cast<std::int32_t>(head),
                       static_cast<std::int64_t>(r), static_cast<std::int64_t>(h)});
          }
        }
      }
    }
  }
}

RandomPass::Choice RandomPass::choice(TensorKind tensor, const Cell& cell, std::int32_t rank) const {
  Dice dice(seed_, {static_cast<std::int64_t>(tensor), static_cast<std::int64_t>(cell.document),
                    cell.row_block, cell.head_block, rank, 7});
  Choice how;
  Dice hub(seed_, {static_cast<std::int64_t>(tensor), static_cast<std::int64_t>(cell.document), 31});
  how.source = (style_.hub ? hub : dice).small(0, ranks_ - 1);
  how.relay = dice.one_in(style_.hub ? 2 : style_.relay);
  how.relay_rank = style_.hub ? how.source : dice.small(0, ranks_ - 1);
  how.slack = dice.one_in(style_.slack) ? dice.small(1, 2) : 0;
  how.late = dice.one_in(style_.late) ? dice.small(1, 2) : 0;
  how.lane = dice.small(0, style_.lanes - 1);
  how.finished = dice.one_in(2);
  return how;
}

void RandomPass::deliver(TensorKind tensor, RowGrid& held, RowGrid& need) {
  each_cell(tensor, held.heads(), [&](const Cell& cell) {
    std::vector<std::pair<std::int32_t, std::int32_t>> wanting;  // step, rank
    for (std::int32_t rank = 0; rank < ranks_; ++rank) {
      if (need.at(rank, cell.row, cell.head) == kNever || held.at(rank, cell.row, cell.head) != kNever)
        continue;
      const bool early = style_.hub && choice(tensor, cell, rank).source == rank;
      wanting.emplace_back(early ? 1 : need.at(rank, cell.row, cell.head), rank);
    }
    std::sort(wanting.begin(), wanting.end());
    for (const auto& [step, rank] : wanting) bring(tensor, cell, rank, step, held, need);
  });
  if (style_.waste > 0) waste(tensor, held);
}

/// Gets the row to `rank` so that it is usable by step `by`.
void RandomPass::bring(TensorKind tensor, const Cell& cell, std::int32_t rank, std::int32_t by, RowGrid& held,
                       RowGrid& need) {
  const Choice how = choice(tensor, cell, rank);
  const auto lacks = [&](std::int32_t other) { return held.at(other, cell.row, cell.head) == kNever; };
  std::int32_t source = owner_[static_cast<std::size_t>(cell.row)];
  const std::int32_t other = how.relay_rank;
  if (how.relay && by >= 2 && other != rank && lacks(other) &&
      need.at(other, cell.row, cell.head) == kNever) {
    send(tensor, cell, source, other, by - 1, choice(tensor, cell, other), held);
    source = other;
  } else if (!lacks(how.source) && held.at(how.source, cell.row, cell.head) < by) {
    source = how.source;
  }
  send(tensor, cell, source, rank, by, how, held);
}

void RandomPass::send(TensorKind tensor, const Cell& cell, std::int32_t source, std::int32_t target,
                      std::int32_t by, const Choice& how, RowGrid& held) {
  const std::int32_t step = std::max(held.at(source, cell.row, cell.head), by - 1 - how.slack);
  const std::int32_t ready = std::min(by, step + 1 + how.late);
  held.at(target, cell.row, cell.head) = ready;
  add_unit(tensor, cell, step, source, target, how, ready);
}

/// Rows that arrive for nothing, as `exchange: full` allows.
void RandomPass::waste(TensorKind tensor, RowGrid& held) {
  const auto last = static_cast<std::int32_t>(tasks_.size()) - 1;
  if (last < 1) return;
  each_cell(tensor, held.heads(), [&](const Cell& cell) {
    Dice dice(seed_, {static_cast<std::int64_t>(tensor), cell.row_block, cell.head_block, 11});
    const std::int32_t rank = dice.small(0, ranks_ - 1);
    if (!dice.one_in(style_.waste) || held.at(rank, cell.row, cell.head) != kNever) return;
    send(tensor, cell, owner_[static_cast<std::size_t>(cell.row)], rank, last, choice(tensor, cell, rank),
         held);
  });
}

void RandomPass::return_outputs() {
  each_cell(TensorKind::o, model_.query_heads, [&](const Cell& cell) {
    const std::int32_t owner = owner_[static_cast<std::size_t>(cell.row)];
    const std::int64_t token = cell.row - first_row_[cell.document];
    const TokenSpan query{0, token, token + 1}, all{0, 0, wave_.lengths[cell.document]};
    for (std::int32_t rank = 0; rank < ranks_; ++rank) {
      const std::int32_t last = query_last_.at(rank, cell.row, cell.head);
      if (rank == owner || last < 0) continue;
      const Choice how = choice(TensorKind::o, cell, rank);
      const bool whole = pairs_.at(rank, cell.row, cell.head) == pair_count(model_.mask(), query, all);
      const std::int32_t step = last + 1 + how.slack;
      add_unit(whole && how.finished ? TensorKind::o : TensorKind::o_part, cell, step, rank, owner, how,
               step + 1 + how.late);
    }
  });
}

void RandomPass::return_query_gradients() {
  each_cell(TensorKind::dq, model_.query_heads, [&](const Cell& cell) {
    const std::int32_t owner = owner_[static_cast<std::size_t>(cell.row)];
    for (std::int32_t rank = 0; rank < ranks_; ++rank) {
      const std::int32_t last = query_last_.at(rank, cell.row, cell.head);
      if (rank == owner || last < 0) continue;
      const Choice how = choice(TensorKind::dq, cell, rank);
      const std::int32_t step = last + 1 + how.slack;
      add_unit(TensorKind::dq, cell, step, owner, rank, how, step + 1 + how.late);
    }
  });
}

void RandomPass::return_key_gradients() {
  each_cell(TensorKind::dkv, model_.kv_heads, [&](const Cell& cell) { return_key_gradient(cell); });
}

/// Shares go home on their own or by way of any rank that has not sent its own yet.
void RandomPass::return_key_gradient(const Cell& cell) {
  const std::int32_t owner = owner_[static_cast<std::size_t>(cell.row)];
  std::vector<std::int32_t> earliest(static_cast<std::size_t>(ranks_), -1);  // step in which it may be sent
  std::vector<bool> sent(static_cast<std::size_t>(ranks_));
  for (std::int32_t rank = 0; rank < ranks_; ++rank) {
    const std::int32_t last = key_last_.at(rank, cell.row, cell.head);
    if (rank != owner && last >= 0) earliest[static_cast<std::size_t>(rank)] = last + 1;
  }
  for (;;) {
    std::int32_t next = -1;
    for (std::int32_t rank = 0; rank < ranks_; ++rank) {
      const auto r = static_cast<std::size_t>(rank);
      if (earliest[r] < 0 || sent[r]) continue;
      if (next < 0 || earliest[r] < earliest[static_cast<std::size_t>(next)]) next = rank;
    }
    if (next < 0) return;
    const Choice how = choice(TensorKind::dkv, cell, next);
    const std::int32_t step = earliest[static_cast<std::size_t>(next)] + how.slack;
    const std::int32_t ready = step + 1 + how.late;
    std::int32_t target = owner;
    const auto other = static_cast<std::size_t>(how.relay_rank);
    if (how.relay && how.relay_rank != next && how.relay_rank != owner && !sent[other]) {
      target = how.relay_rank;
      earliest[other] = std::max(earliest[other], ready);
    }
    sent[static_cast<std::size_t>(next)] = true;
    add_unit(TensorKind::dkv, cell, step, target, next, how, ready);
  }
}

void RandomPass::add_unit(TensorKind tensor, const Cell& cell, std::int32_t step, std::int32_t single,
                          std::int32_t peer, const Choice& how, std::int32_t ready) {
  const std::int64_t token = cell.row - first_row_[cell.document];
  units_.push_back({tensor,
                    step,
                    how.lane,
                    ready,
                    single,
                    peer,
                    cell.document,
                    token,
                    token + 1,
                    {cell.head, cell.head + 1}});
}

/// Units that travel alike become one: rows, then heads; peers are joined when the records are written.
void RandomPass::join_units() {
  const auto way = [](const Unit& unit) {
    return std::tie(unit.tensor, unit.step, unit.lane, unit.ready, unit.single, unit.peer, unit.document);
  };
  Dice dice(seed_, {13});
  const auto join = [&](auto less, auto joins, auto extend) {
    std::sort(units_.begin(), units_.end(), less);
    std::size_t kept = 0;
    for (std::size_t i = 1; i < units_.size(); ++i) {
      const bool alike = way(units_[kept]) == way(units_[i]) && joins(units_[kept], units_[i]);
      if (alike && !dice.one_in(style_.cut)) {
        extend(units_[kept], units_[i]);
      } else {
        units_[++kept] = units_[i];
      }
    }
    if (!units_.empty()) units_.resize(kept + 1);
  };
  join(
      [&](const Unit& a, const Unit& b) {
        return std::tuple(way(a), a.heads, a.begin) < std::tuple(way(b), b.heads, b.begin);
      },
      [](const Unit& a, const Unit& b) { return a.heads == b.heads && a.end == b.begin; },
      [](Unit& a, const Unit& b) { a.end = b.end; });
  join(
      [&](const Unit& a, const Unit& b) {
        return std::tuple(way(a), a.begin, a.end, a.heads) < std::tuple(way(b), b.begin, b.end, b.heads);
      },
      [](const Unit& a, const Unit& b) {
        return a.begin == b.begin && a.end == b.end && a.heads.end == b.heads.begin;
      },
      [](Unit& a, const Unit& b) { a.heads.end = b.heads.end; });
}

std::vector<ScheduleStep> RandomPass::steps() {
  join_units();
  auto count = static_cast<std::int32_t>(tasks_.size());
  for (const Unit& unit : units_) count = std::max(count, unit.step + 1);
  std::vector<ScheduleStep> steps(static_cast<std::size_t>(count));
  for (std::size_t step = 0; step < tasks_.size(); ++step) steps[step].tasks = tasks_[step];
  for (Unit& unit : units_) unit.ready = std::min(unit.ready, count);
  const auto slice = [](const Unit& unit) {
    return std::tie(unit.tensor, unit.step, unit.lane, unit.ready, unit.single, unit.document, unit.begin,
                    unit.end, unit.heads);
  };
  std::sort(units_.begin(), units_.end(), [&](const Unit& a, const Unit& b) {
    return std::tuple(slice(a), a.peer) < std::tuple(slice(b), b.peer);
  });
  Dice dice(seed_, {17});
  for (std::size_t i = 0; i < units_.size();) {
    const Unit& unit = units_[i];
    std::vector<std::int32_t> peers;
    do {
      peers.push_back(units_[i++].peer);
    } while (i < units_.size() && slice(units_[i]) == slice(unit) && !dice.one_in(style_.cut));
    const TokenSpan span{wave_.documents[unit.document], unit.begin, unit.end};
    ScheduleStep& step = steps[static_cast<std::size_t>(unit.step)];
    if (unit.tensor == TensorKind::dq || unit.tensor == TensorKind::dkv) {
      step.reductions.push_back(
          {unit.single, rank_ranges(peers), unit.tensor, span, unit.heads, unit.lane, unit.ready});
    } else {
      step.transfers.push_back(
          {unit.single, rank_ranges(peers), unit.tensor, span, unit.heads, unit.lane, unit.ready});
    }
  }
  for (ScheduleStep& step : steps) sort_canonically(step);
  return steps;
}

std::vector<ScheduleStep> RandomPass::forward_steps() {
  deliver(TensorKind::q, queries_, query_need_);
  deliver(TensorKind::kv, keys_, key_need_);
  return_outputs();
  return steps();
}

std::vector<ScheduleStep> RandomPass::backward_steps() {
  deliver(TensorKind::q, queries_, query_need_);
  deliver(TensorKind::kv, keys_, key_need_);
  deliver(TensorKind::d_o, gradients_, query_need_);
  return_query_gradients();
  return_key_gradients();
  return steps();
}

}  // namespace strata::test
