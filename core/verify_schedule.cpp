// SPDX-License-Identifier: Apache-2.0
// The order of the checks of one wave, and the forms they share.
#include "core/verify_schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <optional>

#include "core/backward_schedule.hpp"
#include "core/bucket_sort.hpp"
#include "core/parallel_for.hpp"
#include "core/verify_detail.hpp"

namespace strata {

namespace detail {

WaveIndex::WaveIndex(const Wave& wave, const ModelShape& model)
    : wave_(wave), model_(model), mask_(model.mask()), offsets_(wave.documents.size() + 1) {
  const auto& documents = wave.documents;
  consecutive_ = !documents.empty() &&
                 documents.back() - documents.front() + 1 == static_cast<std::int32_t>(documents.size());
  for (const auto& spans : wave.placement.spans) {
    for (const TokenSpan& span : spans) ++offsets_[static_cast<std::size_t>(find(span.document)) + 1];
  }
  for (std::size_t i = 1; i < offsets_.size(); ++i) offsets_[i] += offsets_[i - 1];
  pieces_.resize(offsets_.back());
  std::vector<std::size_t> next(offsets_.begin(), offsets_.end() - 1);
  for (std::size_t rank = 0; rank < wave.placement.spans.size(); ++rank) {
    for (const TokenSpan& span : wave.placement.spans[rank]) {
      const auto document = static_cast<std::size_t>(find(span.document));
      pieces_[next[document]++] = {span.begin, span.end, static_cast<std::int32_t>(rank)};
    }
  }
  BucketSort<OwnedSpan> sort;
  for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) {
    sort.sort(
        {pieces_.data() + offsets_[i], offsets_[i + 1] - offsets_[i]}, wave.lengths[i],
        [](const OwnedSpan& piece) { return piece.begin; }, std::less<>());
  }
}

std::int64_t WaveIndex::search(std::int32_t document) const {
  const auto& documents = wave_.documents;
  const auto at = std::lower_bound(documents.begin(), documents.end(), document);
  return at != documents.end() && *at == document ? at - documents.begin() : -1;
}

std::span<const OwnedSpan> WaveIndex::owners(std::size_t index) const {
  return {pieces_.data() + offsets_[index], offsets_[index + 1] - offsets_[index]};
}

std::int32_t WaveIndex::sole_owner(std::size_t index, std::int64_t begin, std::int64_t end) const {
  const auto pieces = owners(index);
  auto after =
      std::upper_bound(pieces.begin(), pieces.end(), begin,
                       [](std::int64_t value, const OwnedSpan& piece) { return value < piece.begin; });
  if (after == pieces.begin()) return -1;
  --after;
  return end <= after->end ? after->rank : -1;
}

std::int32_t OwnerCursor::sole_owner(std::int64_t begin, std::int64_t end) {
  constexpr std::size_t kNear = 4;
  const bool behind = at_ < owners_.size() && begin < owners_[at_].begin;
  const std::size_t near = std::min(at_ + kNear, owners_.size());
  while (!behind && at_ < near && owners_[at_].end <= begin) ++at_;
  if (behind || at_ == near) {
    at_ = static_cast<std::size_t>(
        std::partition_point(owners_.begin(), owners_.end(),
                             [&](const OwnedSpan& piece) { return piece.end <= begin; }) -
        owners_.begin());
  }
  return at_ < owners_.size() && owners_[at_].begin <= begin && end <= owners_[at_].end ? owners_[at_].rank
                                                                                        : -1;
}

namespace {

/// Offsets of a counting sort by document: `each(visit)` calls visit(document number) once per record.
template <typename Each>
std::vector<std::size_t> offsets_by_document(const WaveIndex& wave, Each each) {
  std::vector<std::size_t> offsets(wave.document_count() + 1);
  each([&](std::int32_t document) { ++offsets[static_cast<std::size_t>(wave.find(document)) + 1]; });
  for (std::size_t i = 1; i < offsets.size(); ++i) offsets[i] += offsets[i - 1];
  return offsets;
}

Move move_of(const Transfer& transfer) {
  return {.begin = transfer.span.begin,
          .end = transfer.span.end,
          .heads = transfer.heads,
          .rank = transfer.source,
          .ready = transfer.ready,
          .tensor = transfer.tensor,
          .peers = &transfer.targets};
}

Move move_of(const Reduction& reduction) {
  return {.begin = reduction.span.begin,
          .end = reduction.span.end,
          .heads = reduction.heads,
          .rank = reduction.target,
          .ready = reduction.ready,
          .tensor = reduction.tensor,
          .peers = &reduction.sources};
}

bool reduces(TensorKind tensor) { return tensor == TensorKind::dq || tensor == TensorKind::dkv; }

/// Goes through the tasks of a step, which ascend by (rank, query), and the spans of their ranks.
class OwnedQueries {
 public:
  explicit OwnedQueries(const SequenceLayout& placement) : placement_(placement) {}
  /// Whether the rank of `task` owns its queries.
  bool next(const AttentionTask& task) {
    const auto& spans = placement_.spans[static_cast<std::size_t>(task.rank)];
    if (task.rank != rank_) at_ = 0;
    rank_ = task.rank;
    const auto before = [&](const TokenSpan& span) {
      return span.document != task.query.document ? span.document < task.query.document
                                                  : span.end <= task.query.begin;
    };
    while (at_ < spans.size() && before(spans[at_])) ++at_;
    return at_ < spans.size() && contains(spans[at_], task.query);
  }

 private:
  const SequenceLayout& placement_;
  std::int32_t rank_ = -1;
  std::size_t at_ = 0;
};

constexpr auto kByTensorAndBegin = [](const Move& a, const Move& b) {
  return a.tensor != b.tensor ? a.tensor < b.tensor : a.begin < b.begin;
};

}  // namespace

ScheduleIndex::ScheduleIndex(const WaveIndex& wave, const std::vector<ScheduleStep>& steps, std::string where)
    : where_(std::move(where)), queries_are_owned_(wave.document_count(), 1) {
  move_offsets_ = offsets_by_document(wave, [&](auto visit) {
    for (const ScheduleStep& step : steps) {
      for (const Transfer& transfer : step.transfers) visit(transfer.span.document);
      for (const Reduction& reduction : step.reductions) visit(reduction.span.document);
    }
  });
  task_offsets_ = offsets_by_document(wave, [&](auto visit) {
    for (const ScheduleStep& step : steps) {
      for (const AttentionTask& task : step.tasks) visit(task.query.document);
    }
  });
  moves_.resize(move_offsets_.back());
  tasks_.resize(task_offsets_.back());
  std::vector<std::size_t> next_move(move_offsets_), next_task(task_offsets_);
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const ScheduleStep& step = steps[s];
    const auto add_moves = [&](const auto& records) {
      for (std::size_t i = 0; i < records.size(); ++i) {
        Move& move = moves_[next_move[static_cast<std::size_t>(wave.find(records[i].span.document))]++];
        move = move_of(records[i]);
        move.step = static_cast<std::int32_t>(s);
        move.index = static_cast<std::int32_t>(i);
      }
    };
    add_moves(step.transfers);
    add_moves(step.reductions);
    OwnedQueries owned(wave.wave().placement);
    for (std::size_t i = 0; i < step.tasks.size(); ++i) {
      const AttentionTask& task = step.tasks[i];
      const auto document = static_cast<std::size_t>(wave.find(task.query.document));
      tasks_[next_task[document]++] = {&task, static_cast<std::int32_t>(s), static_cast<std::int32_t>(i)};
      if (!owned.next(task)) queries_are_owned_[document] = 0;
    }
  }
  for (std::size_t i = 0; i + 1 < move_offsets_.size(); ++i) {
    const auto first = moves_.begin() + static_cast<std::ptrdiff_t>(move_offsets_[i]);
    const auto last = moves_.begin() + static_cast<std::ptrdiff_t>(move_offsets_[i + 1]);
    if (!std::is_sorted(first, last, kByTensorAndBegin)) std::stable_sort(first, last, kByTensorAndBegin);
  }
}

std::span<const Move> ScheduleIndex::moves(std::size_t index) const {
  return {moves_.data() + move_offsets_[index], move_offsets_[index + 1] - move_offsets_[index]};
}

std::span<const Move> ScheduleIndex::moves(std::size_t index, TensorKind first, TensorKind last) const {
  const auto all = moves(index);
  const auto begin =
      std::partition_point(all.begin(), all.end(), [&](const Move& move) { return move.tensor < first; });
  const auto end =
      std::partition_point(begin, all.end(), [&](const Move& move) { return move.tensor <= last; });
  return {begin, end};
}

std::span<const TaskRef> ScheduleIndex::tasks(std::size_t index) const {
  return {tasks_.data() + task_offsets_[index], task_offsets_[index + 1] - task_offsets_[index]};
}

std::string ScheduleIndex::place(const Move& move) const {
  const std::string_view list = reduces(move.tensor) ? "reductions" : "transfers";
  return fmt::format("{}.steps[{}].{}[{}]", where_, move.step, list, move.index);
}

std::string ScheduleIndex::place(const TaskRef& task) const {
  return fmt::format("{}.steps[{}].tasks[{}]", where_, task.step, task.index);
}

std::string describe(std::int32_t document, std::int64_t begin, std::int64_t end) {
  return fmt::format("rows [{}, {}) of document {}", begin, end, document);
}

std::string describe(HeadRange heads) { return fmt::format("heads [{}, {})", heads.begin, heads.end); }

}  // namespace detail

namespace {

/// Derived backward schedules repeat the forward tasks, which have been counted already.
bool same_tasks(const CommSchedule& forward, const CommSchedule& backward) {
  static const std::vector<AttentionTask> kNone;
  const auto tasks = [](const CommSchedule& schedule, std::size_t step) -> const std::vector<AttentionTask>& {
    return step < schedule.steps.size() ? schedule.steps[step].tasks : kNone;
  };
  for (std::size_t step = 0; step < std::max(forward.steps.size(), backward.steps.size()); ++step) {
    if (tasks(forward, step) != tasks(backward, step)) return false;
  }
  return true;
}

bool is_derived(const Wave& wave) { return wave.backward.gradient_return != GradientReturn::explicit_steps; }

/// The whole of backward, step by step as it is written down or derived.
void verify_backward(const detail::WaveIndex& index, const detail::ScheduleIndex& forward,
                     detail::Findings& findings) {
  const Wave& wave = index.wave();
  if (is_derived(wave) && !wave.backward.steps.empty()) {
    findings.add(
        "backward_policy", ".backward",
        fmt::format("{} steps are written down, but the policy derives them", wave.backward.steps.size()));
    return;
  }
  const CommSchedule schedule = derive_backward(wave, index.model());
  const std::string where = is_derived(wave) ? ".backward.derived" : ".backward";
  verify_records(index, schedule.steps, detail::Pass::backward, where, findings);
  if (!findings.empty()) return;
  const detail::ScheduleIndex backward(index, schedule.steps, where);
  if (!same_tasks(wave.schedule, schedule)) verify_coverage(index, backward, index.all_documents(), findings);
  verify_backward_flow(index, forward, backward, findings);
}

/// Forward, then backward; each check only if those before it found nothing.
void verify_in_order(const detail::WaveIndex& index, detail::Findings& findings) {
  const Wave& wave = index.wave();
  verify_records(index, wave.schedule.steps, detail::Pass::forward, "", findings);
  if (!findings.empty()) return;
  const detail::ScheduleIndex forward(index, wave.schedule.steps, "");
  verify_coverage(index, forward, index.all_documents(), findings);
  verify_forward_flow(index, forward, index.all_documents(), findings);
  if (findings.empty()) verify_backward(index, forward, findings);
}

/// Whether all is well with a wave whose backward is derived: the same proof as verify_in_order, split over
/// threads, without a word about what is wrong. It checks of backward what is not forward again.
class QuickProof {
 public:
  explicit QuickProof(const detail::WaveIndex& index)
      : index_(index), wave_(index.wave()), threads_(is_large(wave_.schedule) ? 0 : 1) {}

  bool holds() {
    const auto& steps = wave_.schedule.steps;
    if (!wave_.backward.steps.empty()) return false;
    each(2 * steps.size(), [&](std::size_t job, detail::Findings& findings) {
      const auto kind = job % 2 == 0 ? detail::RecordKind::moves : detail::RecordKind::tasks;
      verify_records(index_, steps, job / 2, kind, detail::Pass::forward, "", findings);
    });
    if (!well_) return false;
    each(2, [&](std::size_t job, detail::Findings& findings) {
      if (job == 0) {
        prepare_gradients(findings);
      } else {
        forward_.emplace(index_, steps, "");
        verify_coverage(index_, *forward_, index_.all_documents(), findings);
      }
    });
    if (!well_) return false;
    constexpr std::size_t kParts = 8;
    const std::size_t documents = index_.document_count();
    const std::size_t parts = std::min(documents, kParts);
    each(2 * parts, [&](std::size_t job, detail::Findings& findings) {
      const std::size_t part = job / 2;
      const detail::Documents range{documents * part / parts, documents * (part + 1) / parts};
      if (job % 2 == 0) {
        verify_gradient_flow(index_, *forward_, *gradients_, range, findings);
      } else {
        verify_forward_flow(index_, *forward_, range, findings);
      }
    });
    return well_;
  }

 private:
  /// Starting a thread costs as much as verifying a few hundred transfers.
  static bool is_large(const CommSchedule& schedule) {
    constexpr std::size_t kTransfers = 1'000;
    std::size_t transfers = 0;
    for (const ScheduleStep& step : schedule.steps) transfers += step.transfers.size();
    return transfers > kTransfers;
  }

  template <typename Job>
  void each(std::size_t count, Job job) {
    parallel_for(static_cast<std::int64_t>(count), threads_, [&](std::int64_t number) {
      detail::Findings findings("", 1);
      if (well_) job(static_cast<std::size_t>(number), findings);
      if (!findings.empty()) well_ = false;
    });
  }

  void prepare_gradients(detail::Findings& findings) {
    steps_ = derive_gradient_moves(wave_, index_.model());
    verify_records(index_, steps_, detail::Pass::backward, "", findings);
    if (findings.empty()) gradients_.emplace(index_, steps_, "");
  }

  const detail::WaveIndex& index_;
  const Wave& wave_;
  std::int32_t threads_;
  std::atomic<bool> well_ = true;
  std::vector<ScheduleStep> steps_;
  std::optional<detail::ScheduleIndex> forward_, gradients_;
};

}  // namespace

std::vector<Violation> verify_wave(const Wave& wave, const ModelShape& model, std::int32_t rank_count,
                                   const std::string& place, std::size_t limit) {
  detail::Findings findings(place, limit);
  verify_model(model, findings);
  verify_structure(wave, rank_count, findings);
  if (!findings.empty()) return findings.take();
  const detail::WaveIndex index(wave, model);
  verify_ownership(index, findings);
  if (!findings.empty()) return findings.take();
  if (is_derived(wave) && QuickProof(index).holds()) return {};
  verify_in_order(index, findings);
  return findings.take();
}

}  // namespace strata
