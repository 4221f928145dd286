// SPDX-License-Identifier: Apache-2.0
// Data flow, document by document and tensor by tensor. Inputs (q, kv, d_o): a rank has the rows it owns and
// those it received; tasks and forwarding transfers demand them. Outputs (o, dq, dkv) are the mirror image:
// tasks, and partial sums that a rank received, demand that the rank sends the rows home afterwards; owned
// rows are home already. A chain of sums cannot go in circles: what arrives must be ready when it is sent on,
// so steps grow along the chain, and it ends only at a rank that need not send on, the owner.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/verify/verify_detail.hpp"
#include "core/verify/verify_ledger.hpp"

namespace strata::detail {

namespace {

constexpr std::int32_t kAlways = std::numeric_limits<std::int32_t>::min();

/// Visits owners and moves by ascending begin, so that every rank's supply comes out sorted. At equal begins
/// moves come first: there the owner leaves the ranks that receive the rows before.
template <typename OnOwner, typename OnMove>
void merge_by_begin(std::span<const OwnedSpan> owners, std::span<const Move> moves, OnOwner on_owner,
                    OnMove on_move) {
  std::size_t at = 0;
  for (const Move& move : moves) {
    while (at < owners.size() && owners[at].begin < move.begin) on_owner(owners[at++]);
    on_move(move);
  }
  while (at < owners.size()) on_owner(owners[at++]);
}

/// The flow of one pass: the moves of `schedule`, the tasks of `computing`, which is the same or, when
/// backward repeats the tasks of forward, forward.
class FlowCheck {
 public:
  FlowCheck(const WaveIndex& wave, const ScheduleIndex& schedule, const ScheduleIndex& computing,
            Findings& findings)
      : wave_(wave),
        schedule_(schedule),
        computing_(computing),
        findings_(findings),
        all_used_(wave.wave().schedule.exchange == ExchangeMode::needed),
        ledger_(wave.rank_count()) {}

  /// `kept`: an earlier pass whose received rows are still there, or null.
  void check_input(std::size_t document, TensorKind tensor, const ScheduleIndex* kept) {
    start(document, tensor);
    const bool kept_moves = kept != nullptr && !kept->moves(document, tensor, tensor).empty();
    if (!kept_moves && stays_with_owners(tensor)) return;
    settle([&] { fill_input(kept); }, all_used_,
           [&](std::int32_t rank, const CoverProblem& problem) { report_input(rank, problem); });
  }

  /// Tensors `first` to `last` carry the same output, in transfers to or reductions at `Move::rank`.
  void check_output(std::size_t document, TensorKind first, TensorKind last) {
    start(document, first);
    if (stays_with_owners(last)) return;
    settle([&] { fill_output(last); }, true,
           [&](std::int32_t rank, const CoverProblem& problem) { report_output(rank, problem); });
  }

  bool full() const { return findings_.full(); }

 private:
  void start(std::size_t document, TensorKind tensor) {
    document_ = document;
    tensor_ = tensor;
    moves_ = schedule_.moves(document);
    tasks_ = computing_.tasks(document);
  }

  /// Of tensors `tensor_` to `last` nothing moves, and tasks want only rows that their rank owns.
  bool stays_with_owners(TensorKind last) const {
    return !counts_kv_heads(tensor_) && computing_.queries_are_owned(document_) &&
           schedule_.moves(document_, tensor_, last).empty();
  }

  /// Once joined, which is fast, and again piece by piece when there is something to report.
  template <typename Fill, typename Report>
  void settle(Fill fill, bool all_used, Report report) {
    const HeadRange heads{0, wave_.head_count(tensor_)};
    ledger_.join(true);
    fill();
    if (ledger_.settle(heads, all_used, [](std::int32_t, const CoverProblem&) {})) return;
    ledger_.join(false);
    fill();
    ledger_.settle(heads, all_used, report);
  }

  void fill_input(const ScheduleIndex* kept) {
    if (kept != nullptr) {
      for (const Move& move : kept->moves(document_, tensor_, tensor_)) supply_targets(move, 0, kKept);
    }
    const auto moves = schedule_.moves(document_, tensor_, tensor_);
    merge_by_begin(
        wave_.owners(document_), moves, [&](const OwnedSpan& piece) { supply_owner(piece); },
        [&](const Move& move) { supply_targets(move, move.ready, number(move)); });
    OwnerCursor owner(wave_.owners(document_));
    for (const Move& move : moves) {
      if (owner.sole_owner(move.begin, move.end) == move.rank) continue;
      ledger_.demand(move.rank, {move.begin, move.end, move.heads, move.step, number(move)});
    }
    demand_by_tasks([](const TaskRef& ref) { return ref.step; });
  }

  void fill_output(TensorKind last) {
    const bool sums = tensor_ == TensorKind::dq || tensor_ == TensorKind::dkv;
    const auto moves = schedule_.moves(document_, tensor_, last);
    merge_by_begin(
        wave_.owners(document_), moves, [&](const OwnedSpan& piece) { supply_owner(piece); },
        [&](const Move& move) {
          const Region region{move.begin, move.end, move.heads, -move.step, number(move)};
          if (sums) {
            ledger_.supply(*move.peers, region);
          } else {
            ledger_.supply(move.rank, region);
          }
        });
    OwnerCursor owner(wave_.owners(document_));
    for (const Move& move : moves) {
      if (!sums || owner.sole_owner(move.begin, move.end) == move.rank) continue;
      ledger_.demand(move.rank, {move.begin, move.end, move.heads, -move.ready, number(move)});
    }
    demand_by_tasks([](const TaskRef& ref) { return -(ref.step + 1); });
  }

  std::int32_t number(const Move& move) const { return static_cast<std::int32_t>(&move - moves_.data()); }

  void supply_owner(const OwnedSpan& piece) {
    ledger_.supply(piece.rank, {piece.begin, piece.end, {}, kAlways, kOwned});
  }

  void supply_targets(const Move& move, std::int32_t ready, std::int32_t origin) {
    ledger_.supply(*move.peers, {move.begin, move.end, move.heads, ready, origin});
  }

  template <typename Step>
  void demand_by_tasks(Step step) {
    const bool keys = counts_kv_heads(tensor_);
    HeadRange query_heads, heads;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      const AttentionTask& task = *tasks_[i].task;
      const TokenSpan& span = keys ? task.key : task.query;
      if (query_heads != task.heads) {
        query_heads = task.heads;
        heads = keys ? wave_.model().kv_heads_of(task.heads) : task.heads;
      }
      ledger_.demand(task.rank,
                     {span.begin, span.end, heads, step(tasks_[i]), ~static_cast<std::int32_t>(i)});
    }
  }

  /// Where a demand, or a supply with an origin >= 0, was made.
  std::string place(const Region& region) const {
    if (region.origin >= 0) return schedule_.place(moves_[static_cast<std::size_t>(region.origin)]);
    const std::int32_t task = ~region.origin;
    return schedule_.place(tasks_[static_cast<std::size_t>(task)]);
  }

  std::string what(const CoverProblem& problem) const {
    return fmt::format("{} {}, {}", to_string(tensor_),
                       describe(wave_.document(document_), problem.begin, problem.end),
                       describe(problem.heads));
  }

  void report_input(std::int32_t rank, const CoverProblem& problem) {
    const std::string rows = what(problem);
    const auto is_move = [](const Region& region) { return region.origin >= 0; };
    const bool sends = is_move(problem.a);
    switch (problem.fault) {
      case CoverFault::none:
        return;
      case CoverFault::doubled: {
        const Region& again = is_move(problem.b) ? problem.b : problem.a;
        const Region& before = is_move(problem.b) ? problem.a : problem.b;
        if (before.origin == kOwned) {
          findings_.add("received_by_owner", place(again),
                        fmt::format("rank {} receives {}, which it owns", rank, rows));
        } else {
          findings_.add("received_twice", place(again),
                        fmt::format("rank {} receives {}, which it has from {}", rank, rows,
                                    before.origin == kKept ? "forward" : place(before).substr(1)));
        }
        return;
      }
      case CoverFault::missing:
        findings_.add("not_held", place(problem.a),
                      fmt::format("rank {} {} {}, which it neither owns nor receives", rank,
                                  sends ? "sends" : "reads", rows));
        return;
      case CoverFault::late:
        findings_.add("not_held", place(problem.a),
                      fmt::format("rank {} {} {} in step {}, but {} makes it usable in step {}", rank,
                                  sends ? "sends" : "reads", rows, problem.a.step, place(problem.b).substr(1),
                                  problem.b.step));
        return;
      case CoverFault::unused:
        findings_.add(
            "not_needed", place(problem.a),
            fmt::format("rank {} receives {}, but neither computes with it nor sends it on", rank, rows));
        return;
    }
  }

  void report_output(std::int32_t rank, const CoverProblem& problem) {
    const std::string rows = what(problem);
    switch (problem.fault) {
      case CoverFault::none:
        return;
      case CoverFault::doubled: {
        const bool second = problem.b.origin >= 0;
        const Region& again = second ? problem.b : problem.a;
        const Region& before = second ? problem.a : problem.b;
        if (before.origin == kOwned) {
          findings_.add("returned_by_owner", place(again),
                        fmt::format("rank {} sends {} away, but owns it", rank, rows));
        } else {
          findings_.add(
              "returned_twice", place(again),
              fmt::format("rank {} sends {}, which it sends in {} too", rank, rows, place(before).substr(1)));
        }
        return;
      }
      case CoverFault::missing:
        findings_.add(
            "not_returned", place(problem.a),
            fmt::format("rank {} gets a share of {} here, but never sends it to the owner", rank, rows));
        return;
      case CoverFault::late:
        findings_.add("returned_early", place(problem.b),
                      fmt::format("rank {} sends {} in step {}, before {} has added to it (step {})", rank,
                                  rows, -problem.b.step, place(problem.a).substr(1), -problem.a.step));
        return;
      case CoverFault::unused:
        findings_.add("nothing_to_return", place(problem.a),
                      fmt::format("rank {} sends {}, but has no share of it", rank, rows));
        return;
    }
  }

  const WaveIndex& wave_;
  const ScheduleIndex& schedule_;
  const ScheduleIndex& computing_;
  Findings& findings_;
  bool all_used_;
  Ledger ledger_;
  std::size_t document_ = 0;
  TensorKind tensor_ = TensorKind::q;
  std::span<const Move> moves_;
  std::span<const TaskRef> tasks_;
};

}  // namespace

void verify_forward_flow(const WaveIndex& wave, const ScheduleIndex& forward, Documents documents,
                         Findings& findings) {
  FlowCheck flow(wave, forward, forward, findings);
  for (std::size_t i = documents.begin; i < documents.end && !flow.full(); ++i) {
    flow.check_input(i, TensorKind::q, nullptr);
    flow.check_input(i, TensorKind::kv, nullptr);
    flow.check_output(i, TensorKind::o, TensorKind::o_part);
    verify_finished_outputs(wave, forward, i, findings);
    verify_part_counts(wave, forward, i, findings);
  }
}

void verify_backward_flow(const WaveIndex& wave, const ScheduleIndex& forward, const ScheduleIndex& backward,
                          Findings& findings) {
  const ScheduleIndex* kept = wave.wave().backward.kv == BackwardKeep::retain ? &forward : nullptr;
  FlowCheck flow(wave, backward, backward, findings);
  for (std::size_t i = 0; i < wave.document_count() && !flow.full(); ++i) {
    flow.check_input(i, TensorKind::q, kept);
    flow.check_input(i, TensorKind::kv, kept);
    flow.check_input(i, TensorKind::d_o, nullptr);
    flow.check_output(i, TensorKind::dq, TensorKind::dq);
    flow.check_output(i, TensorKind::dkv, TensorKind::dkv);
  }
}

void verify_gradient_flow(const WaveIndex& wave, const ScheduleIndex& forward, const ScheduleIndex& gradients,
                          Documents documents, Findings& findings) {
  FlowCheck flow(wave, gradients, forward, findings);
  for (std::size_t i = documents.begin; i < documents.end && !flow.full(); ++i) {
    flow.check_input(i, TensorKind::d_o, nullptr);
    flow.check_output(i, TensorKind::dq, TensorKind::dq);
    flow.check_output(i, TensorKind::dkv, TensorKind::dkv);
  }
}

}  // namespace strata::detail
