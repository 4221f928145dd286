// SPDX-License-Identifier: Apache-2.0
// The working forms of a wave and of a schedule that the checks share.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "core/base/bucket_sort.hpp"
#include "core/verify/verify_detail.hpp"

namespace strata::detail {

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
    // In leaps that double, so that a step pays for its own tasks and not for all that their ranks own.
    std::size_t leap = 1;
    while (at_ + leap < spans.size() && before(spans[at_ + leap - 1])) at_ += std::exchange(leap, 2 * leap);
    const auto end = std::min(at_ + leap, spans.size());
    at_ = static_cast<std::size_t>(std::partition_point(spans.begin() + static_cast<std::ptrdiff_t>(at_),
                                                        spans.begin() + static_cast<std::ptrdiff_t>(end),
                                                        before) -
                                   spans.begin());
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

}  // namespace strata::detail
