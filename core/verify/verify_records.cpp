// SPDX-License-Identifier: Apache-2.0
// Every transfer, reduction and task by itself: values in range, tensors that belong to the pass, tasks
// without a row that sees nothing or is seen by nothing, canonical order. Constant time a record, plus its
// rank ranges.
#include <fmt/format.h>

#include <algorithm>

#include "core/verify/verify_detail.hpp"

namespace strata::detail {

namespace {

/// Tasks that are tight: every query row sees a key row of the task and every key row is seen.
bool is_tight(const Mask& mask, const TokenSpan& query, const TokenSpan& key, std::int64_t length) {
  return contains(queries_that_see(mask, key, length), query) && contains(keys_seen_by(mask, query), key);
}

class RecordCheck {
 public:
  RecordCheck(const WaveIndex& wave, std::size_t steps, Pass pass, const std::string& where,
              Findings& findings)
      : wave_(wave),
        steps_(static_cast<std::int32_t>(steps)),
        pass_(pass),
        where_(where),
        findings_(findings) {}

  void check_moves(const ScheduleStep& step, std::int32_t number) {
    step_ = number;
    check_collective(step);
    check_list("transfers", step.transfers, [&](const Transfer& transfer) { check_transfer(transfer); });
    check_list("reductions", step.reductions,
               [&](const Reduction& reduction) { check_reduction(reduction); });
  }

  void check_tasks(const ScheduleStep& step, std::int32_t number) {
    step_ = number;
    check_list("tasks", step.tasks, [&](const AttentionTask& task) { check_task(task); });
  }

 private:
  template <typename Record, typename Check>
  void check_list(const char* list, const std::vector<Record>& records, Check check_record) {
    list_ = list;
    bool before_failed = false;  // then its place in the order says nothing
    for (std::size_t i = 0; i < records.size(); ++i) {
      index_ = i;
      failed_ = false;
      check_record(records[i]);
      const bool comparable = i > 0 && !failed_ && !before_failed;
      before_failed = failed_;
      if (comparable && !canonical_less(records[i - 1], records[i])) {
        fail("canonical", records[i - 1] == records[i]
                              ? std::string("the same as the entry before it")
                              : std::string("not in canonical order after the entry before it"));
      }
      if (findings_.full()) return;
    }
  }

  void fail(std::string_view rule, std::string message) {
    failed_ = true;
    findings_.add(rule, fmt::format("{}.steps[{}].{}[{}]", where_, step_, list_, index_), std::move(message));
  }

  void check_collective(const ScheduleStep& step) {
    const auto is_kv = [](const Transfer& transfer) { return transfer.tensor == TensorKind::kv; };
    const auto add = [&](std::string message) {
      findings_.add("collective", fmt::format("{}.steps[{}]", where_, step_), std::move(message));
    };
    if (step.collective > CollectiveKind::all_to_all) {
      add(fmt::format("kind {} does not exist", static_cast<int>(step.collective)));
    } else if (step.collective != CollectiveKind::none && step.transfers.empty()) {
      add("a collective without transfers");
    } else if (step.collective != CollectiveKind::none && !step.reductions.empty()) {
      add("reductions are not part of a collective");
    } else if (step.collective == CollectiveKind::all_gather &&
               !std::all_of(step.transfers.begin(), step.transfers.end(), is_kv)) {
      add("an all-gather moves kv only");
    }
  }

  /// Position of the document in the wave when the span lies inside it, else a violation and -1.
  std::int64_t check_span(std::string_view rule, const TokenSpan& span, std::string_view what) {
    const std::int64_t document = wave_.find(span.document);
    if (document < 0) {
      fail(rule, fmt::format("{} of document {}, which is not in the wave", what, span.document));
      return -1;
    }
    const std::int64_t length = wave_.length(static_cast<std::size_t>(document));
    if (span.begin < 0 || span.begin >= span.end || span.end > length) {
      fail(rule, fmt::format("{} {}, empty or outside its {} tokens", what,
                             describe(span.document, span.begin, span.end), length));
      return -1;
    }
    return document;
  }

  bool is_rank(std::int32_t rank) const { return rank >= 0 && rank < wave_.rank_count(); }

  static bool are_heads(HeadRange heads, std::int32_t count) {
    return heads.begin >= 0 && heads.begin < heads.end && heads.end <= count;
  }

  bool check_rank(std::string_view rule, std::int32_t rank, const char* what) {
    if (is_rank(rank)) return true;
    fail(rule, fmt::format("{} rank {} is not below {}", what, rank, wave_.rank_count()));
    return false;
  }

  void check_heads(std::string_view rule, HeadRange heads, std::int32_t count) {
    if (are_heads(heads, count)) return;
    fail(rule, fmt::format("{}, empty or outside the {} heads", describe(heads), count));
  }

  /// The many ends of a transfer or reduction: sorted, disjoint, not adjacent, without the single end.
  bool check_peers(const std::vector<RankRange>& peers, std::int32_t single, const char* what) {
    if (peers.empty()) {
      fail("ranks", fmt::format("no {} ranks", what));
      return false;
    }
    std::int32_t previous = -1;
    for (const RankRange& range : peers) {
      if (range.begin < 0 || range.begin >= range.end || range.end > wave_.rank_count()) {
        fail("ranks", fmt::format("{} ranks [{}, {}), empty or not below {}", what, range.begin, range.end,
                                  wave_.rank_count()));
        return false;
      }
      if (range.begin <= previous) {
        fail("ranks",
             fmt::format("{} ranks [{}, {}) touch or precede those before", what, range.begin, range.end));
        return false;
      }
      if (range.begin <= single && single < range.end) {
        fail("ranks", fmt::format("rank {} would send to itself", single));
      }
      previous = range.end;
    }
    return true;
  }

  void check_timing(std::int32_t lane, std::int32_t ready, bool consumed_at_end) {
    if (lane < 0 || lane >= kMaxLanes) {
      fail("lane", fmt::format("lane {} is not below {}", lane, kMaxLanes));
    }
    const std::int32_t last = consumed_at_end ? steps_ : steps_ - 1;
    if (ready <= step_ || ready > last) {
      fail("ready", fmt::format("ready in step {}, expected {} to {}", ready, step_ + 1, last));
    }
  }

  bool allowed(TensorKind tensor) const {
    switch (tensor) {
      case TensorKind::q:
      case TensorKind::kv:
        return true;
      case TensorKind::o:
      case TensorKind::o_part:
        return pass_ == Pass::forward;
      case TensorKind::d_o:
        return pass_ == Pass::backward;
      case TensorKind::dq:
      case TensorKind::dkv:
        return false;
    }
    return false;
  }

  void check_transfer(const Transfer& transfer) {
    if (!allowed(transfer.tensor)) {
      fail("tensor", transfer.tensor > TensorKind::dkv
                         ? fmt::format("tensor kind {} does not exist", static_cast<int>(transfer.tensor))
                         : fmt::format("{} is not a {} transfer", to_string(transfer.tensor),
                                       pass_ == Pass::forward ? "forward" : "backward"));
      return;
    }
    const std::int64_t document = check_span("span", transfer.span, to_string(transfer.tensor));
    check_heads("heads", transfer.heads, wave_.head_count(transfer.tensor));
    check_rank("ranks", transfer.source, "source");
    const bool reachable = check_peers(transfer.targets, transfer.source, "target");
    const bool output = transfer.tensor == TensorKind::o || transfer.tensor == TensorKind::o_part;
    check_timing(transfer.lane, transfer.ready, output);
    if (output && document >= 0 && reachable) check_owner(transfer, document);
  }

  void check_owner(const Transfer& transfer, std::int64_t document) {
    if (target_count(transfer) != 1) {
      fail("owner", fmt::format("{} goes to {} ranks, expected the owner only", to_string(transfer.tensor),
                                target_count(transfer)));
      return;
    }
    check_owner(transfer.tensor, transfer.span, transfer.targets.front().begin, document);
  }

  void check_owner(TensorKind tensor, const TokenSpan& span, std::int32_t rank, std::int64_t document) {
    const std::int32_t owner = wave_.sole_owner(static_cast<std::size_t>(document), span.begin, span.end);
    if (owner == rank) return;
    const std::string rows = describe(span.document, span.begin, span.end);
    fail("owner", owner < 0 ? fmt::format("{} of {} goes to rank {}, but they have several owners",
                                          to_string(tensor), rows, rank)
                            : fmt::format("{} of {} goes to rank {}, expected their owner {}",
                                          to_string(tensor), rows, rank, owner));
  }

  void check_reduction(const Reduction& reduction) {
    const bool gradient = reduction.tensor == TensorKind::dq || reduction.tensor == TensorKind::dkv;
    if (pass_ == Pass::forward || !gradient) {
      fail("tensor", fmt::format("a reduction of tensor kind {}; only dq and dkv in backward are summed",
                                 static_cast<int>(reduction.tensor)));
      return;
    }
    const std::int64_t document = check_span("span", reduction.span, to_string(reduction.tensor));
    check_heads("heads", reduction.heads, wave_.head_count(reduction.tensor));
    check_rank("ranks", reduction.target, "target");
    check_peers(reduction.sources, reduction.target, "source");
    check_timing(reduction.lane, reduction.ready, true);
    if (reduction.tensor == TensorKind::dq && document >= 0) {
      check_owner(reduction.tensor, reduction.span, reduction.target, document);
    }
  }

  bool is_sound(const AttentionTask& task) const {
    const std::int64_t document = wave_.find(task.query.document);
    if (document < 0 || task.key.document != task.query.document) return false;
    const std::int64_t length = wave_.length(static_cast<std::size_t>(document));
    const auto is_span = [&](const TokenSpan& span) {
      return 0 <= span.begin && span.begin < span.end && span.end <= length;
    };
    return is_rank(task.rank) && are_heads(task.heads, wave_.model().query_heads) && is_span(task.query) &&
           is_span(task.key) && is_tight(wave_.mask(), task.query, task.key, length);
  }

  void check_task(const AttentionTask& task) {
    if (is_sound(task)) return;
    check_rank("task", task.rank, "the task's");
    check_heads("task", task.heads, wave_.model().query_heads);
    const std::int64_t document = check_span("task", task.query, "queries");
    if (check_span("task", task.key, "keys") < 0 || document < 0) return;
    if (task.query.document != task.key.document) {
      fail("task", fmt::format("queries of document {} with keys of document {}", task.query.document,
                               task.key.document));
      return;
    }
    const Mask mask = wave_.mask();
    if (is_tight(mask, task.query, task.key, wave_.length(static_cast<std::size_t>(document)))) return;
    const std::string what =
        fmt::format("queries [{}, {}) with keys [{}, {}) of document {}", task.query.begin, task.query.end,
                    task.key.begin, task.key.end, task.query.document);
    if (pair_count(mask, task.query, task.key) == 0) {
      fail("masked_task", what + ": the mask allows no pair");
    } else {
      fail("loose_task",
           what + ": a query sees none of these keys, or a key is seen by none of these queries");
    }
  }

  const WaveIndex& wave_;
  std::int32_t steps_;
  Pass pass_;
  const std::string& where_;
  Findings& findings_;
  std::int32_t step_ = 0;
  const char* list_ = "";
  std::size_t index_ = 0;
  bool failed_ = false;
};

}  // namespace

void verify_records(const WaveIndex& wave, const std::vector<ScheduleStep>& steps, Pass pass,
                    const std::string& where, Findings& findings) {
  for (std::size_t s = 0; s < steps.size() && !findings.full(); ++s) {
    for (const RecordKind kind : {RecordKind::moves, RecordKind::tasks}) {
      verify_records(wave, steps, s, kind, pass, where, findings);
    }
  }
}

void verify_records(const WaveIndex& wave, const std::vector<ScheduleStep>& steps, std::size_t step,
                    RecordKind kind, Pass pass, const std::string& where, Findings& findings) {
  RecordCheck check(wave, steps.size(), pass, where, findings);
  if (kind == RecordKind::moves) {
    check.check_moves(steps[step], static_cast<std::int32_t>(step));
  } else {
    check.check_tasks(steps[step], static_cast<std::int32_t>(step));
  }
}

}  // namespace strata::detail
