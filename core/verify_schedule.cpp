// SPDX-License-Identifier: Apache-2.0
// The order of the checks of one wave, and the forms they share.
#include "core/verify_schedule.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/backward_schedule.hpp"
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
  for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) {
    std::sort(pieces_.begin() + static_cast<std::ptrdiff_t>(offsets_[i]),
              pieces_.begin() + static_cast<std::ptrdiff_t>(offsets_[i + 1]));
  }
}

std::int64_t WaveIndex::find(std::int32_t document) const {
  const auto& documents = wave_.documents;
  if (documents.empty() || document < documents.front() || document > documents.back()) return -1;
  if (consecutive_) return document - documents.front();
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

constexpr auto kByTensorAndBegin = [](const Move& a, const Move& b) {
  return a.tensor != b.tensor ? a.tensor < b.tensor : a.begin < b.begin;
};

}  // namespace

ScheduleIndex::ScheduleIndex(const WaveIndex& wave, const CommSchedule& schedule, std::string where)
    : where_(std::move(where)) {
  move_offsets_ = offsets_by_document(wave, [&](auto visit) {
    for (const ScheduleStep& step : schedule.steps) {
      for (const Transfer& transfer : step.transfers) visit(transfer.span.document);
      for (const Reduction& reduction : step.reductions) visit(reduction.span.document);
    }
  });
  task_offsets_ = offsets_by_document(wave, [&](auto visit) {
    for (const ScheduleStep& step : schedule.steps) {
      for (const AttentionTask& task : step.tasks) visit(task.query.document);
    }
  });
  moves_.resize(move_offsets_.back());
  tasks_.resize(task_offsets_.back());
  std::vector<std::size_t> next_move(move_offsets_), next_task(task_offsets_);
  for (std::size_t s = 0; s < schedule.steps.size(); ++s) {
    const ScheduleStep& step = schedule.steps[s];
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
    for (std::size_t i = 0; i < step.tasks.size(); ++i) {
      const auto document = static_cast<std::size_t>(wave.find(step.tasks[i].query.document));
      tasks_[next_task[document]++] = {&step.tasks[i], static_cast<std::int32_t>(s),
                                       static_cast<std::int32_t>(i)};
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

/// Starting a thread costs as much as verifying a few hundred transfers.
bool is_large(const CommSchedule& schedule) {
  constexpr std::size_t kTransfers = 1'000;
  std::size_t transfers = 0;
  for (const ScheduleStep& step : schedule.steps) transfers += step.transfers.size();
  return transfers > kTransfers;
}

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

void verify_backward(const detail::WaveIndex& index, const detail::ScheduleIndex& forward,
                     detail::Findings& findings) {
  const Wave& wave = index.wave();
  const bool is_explicit = wave.backward.gradient_return == GradientReturn::explicit_steps;
  if (!is_explicit && !wave.backward.steps.empty()) {
    findings.add(
        "backward_policy", ".backward",
        fmt::format("{} steps are written down, but the policy derives them", wave.backward.steps.size()));
    return;
  }
  const CommSchedule schedule = derive_backward(wave, index.model());
  const std::string where = is_explicit ? ".backward" : ".backward.derived";
  verify_records(index, schedule, detail::Pass::backward, where, findings);
  if (!findings.empty()) return;
  const detail::ScheduleIndex backward(index, schedule, where);
  if (!same_tasks(wave.schedule, schedule)) verify_coverage(index, backward, findings);
  verify_backward_flow(index, forward, backward, findings);
}

}  // namespace

std::vector<Violation> verify_wave(const Wave& wave, const ModelShape& model, std::int32_t rank_count,
                                   const std::string& place, std::size_t limit) {
  detail::Findings findings(place, limit);
  verify_model(model, findings);
  verify_structure(wave, rank_count, findings);
  if (!findings.empty()) return findings.take();
  const detail::WaveIndex index(wave, model);
  verify_records(index, wave.schedule, detail::Pass::forward, "", findings);
  if (!findings.empty()) return findings.take();
  const detail::ScheduleIndex forward(index, wave.schedule, "");
  // Both halves only read what has been checked so far; of a broken forward half the derived other one says
  // nothing new, so its findings are dropped.
  detail::Findings derived(place, limit);
  const auto forward_half = [&] {
    verify_coverage(index, forward, findings);
    verify_forward_flow(index, forward, findings);
  };
  if (is_large(wave.schedule)) {
    // The longer half runs on this thread, whose memory is warm.
    parallel_for(2, 2, [&](std::int64_t half) {
      if (half == 0) {
        verify_backward(index, forward, derived);
      } else {
        forward_half();
      }
    });
  } else {
    forward_half();
    if (findings.empty()) verify_backward(index, forward, derived);
  }
  return findings.empty() ? derived.take() : findings.take();
}

}  // namespace strata
