// SPDX-License-Identifier: Apache-2.0
// What comes home may be merged. A rank may send `o`, a finished output, only for rows and heads whose pairs
// it computed alone; otherwise the owner would take a share for the whole. Per plane of heads: the rows that
// several ranks compute, then a look-up per `o`.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "core/verify/verify_detail.hpp"
#include "core/verify/verify_planes.hpp"

namespace strata::detail {

namespace {

/// Rows that a rank computes, or sends as finished output (`output`: the number of the move, else -1).
struct Share {
  std::int64_t begin = 0, end = 0;
  HeadRange heads;
  std::int32_t rank = 0;
  std::int32_t output = -1;
};

struct Rows {
  std::int64_t begin = 0, end = 0;
};

/// Rows with shares of at least two ranks, sorted and disjoint. `shares` sorted by (rank, begin).
std::vector<Rows> shared_rows(std::span<const Share> shares) {
  std::vector<std::pair<std::int64_t, std::int32_t>> borders;  // row, +1 or -1
  for (std::size_t i = 0; i < shares.size();) {
    const std::int32_t rank = shares[i].rank;
    while (i < shares.size() && shares[i].rank == rank) {
      const std::int64_t begin = shares[i].begin;
      std::int64_t end = shares[i].end;
      for (++i; i < shares.size() && shares[i].rank == rank && shares[i].begin <= end; ++i) {
        end = std::max(end, shares[i].end);
      }
      borders.emplace_back(begin, 1);
      borders.emplace_back(end, -1);
    }
  }
  std::sort(borders.begin(), borders.end());
  std::vector<Rows> shared;
  std::int32_t ranks = 0;
  for (const auto& [row, change] : borders) {
    if (change > 0 && ranks == 1) shared.push_back({row, row});
    if (change < 0 && ranks == 2) shared.back().end = row;
    ranks += change;
  }
  return shared;
}

/// Rows of at least `most + 1` parts, or nothing. `parts` sorted by begin.
std::optional<Rows> crowded_rows(std::span<const Share> parts, std::int64_t most) {
  std::vector<std::int64_t> ends;  // of the parts that go on, a heap with the least first
  for (const Share& part : parts) {
    while (!ends.empty() && ends.front() <= part.begin) {
      std::pop_heap(ends.begin(), ends.end(), std::greater<>());
      ends.pop_back();
    }
    ends.push_back(part.end);
    std::push_heap(ends.begin(), ends.end(), std::greater<>());
    if (static_cast<std::int64_t>(ends.size()) > most) return Rows{part.begin, ends.front()};
  }
  return std::nullopt;
}

const Rows* first_overlap(const std::vector<Rows>& rows, const Share& share) {
  const auto at = std::partition_point(rows.begin(), rows.end(),
                                       [&](const Rows& other) { return other.end <= share.begin; });
  return at != rows.end() && at->begin < share.end ? &*at : nullptr;
}

}  // namespace

void verify_part_counts(const WaveIndex& wave, const ScheduleIndex& schedule, std::size_t document,
                        Findings& findings) {
  const auto moves = schedule.moves(document, TensorKind::o_part, TensorKind::o_part);
  if (static_cast<std::int64_t>(moves.size()) <= kMaxPartialOutputs) return;
  std::vector<Share> parts;
  for (const Move& move : moves) parts.push_back({move.begin, move.end, move.heads, move.rank, -1});
  const auto by_begin = [](const Share& a, const Share& b) { return a.begin < b.begin; };
  each_plane(
      parts, wave.model().query_heads, [](const Share& part) { return part.heads; }, by_begin,
      [&](HeadRange heads, std::span<const Share> plane) {
        const std::optional<Rows> rows = crowded_rows(plane, kMaxPartialOutputs);
        if (rows) {
          findings.add(
              "parts", schedule.where() + ".steps",
              fmt::format("more than {} ranks send a part of {}, {}", kMaxPartialOutputs,
                          describe(wave.document(document), rows->begin, rows->end), describe(heads)));
        }
        return !rows;
      });
}

void verify_finished_outputs(const WaveIndex& wave, const ScheduleIndex& schedule, std::size_t document,
                             Findings& findings) {
  const auto outputs = schedule.moves(document, TensorKind::o, TensorKind::o);
  if (outputs.empty()) return;
  std::vector<Share> shares;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    shares.push_back(
        {outputs[i].begin, outputs[i].end, outputs[i].heads, outputs[i].rank, static_cast<std::int32_t>(i)});
  }
  for (const TaskRef& ref : schedule.tasks(document)) {
    shares.push_back({ref.task->query.begin, ref.task->query.end, ref.task->heads, ref.task->rank, -1});
  }
  const auto tasks_first = [](const Share& a, const Share& b) {
    if ((a.output < 0) != (b.output < 0)) return a.output < 0;
    return a.rank != b.rank ? a.rank < b.rank : a.begin < b.begin;
  };
  const auto check = [&](HeadRange heads, std::span<const Share> plane) {
    const auto middle =
        std::partition_point(plane.begin(), plane.end(), [](const Share& share) { return share.output < 0; });
    const auto shared = shared_rows({plane.begin(), middle});
    for (auto output = middle; output != plane.end() && !shared.empty(); ++output) {
      const Rows* rows = first_overlap(shared, *output);
      if (rows == nullptr) continue;
      const Move& move = outputs[static_cast<std::size_t>(output->output)];
      findings.add(
          "not_finished", schedule.place(move),
          fmt::format("rank {} sends o, but computes only a part of {}, {}; expected o_part", move.rank,
                      describe(wave.document(document), std::max(rows->begin, output->begin),
                               std::min(rows->end, output->end)),
                      describe(heads)));
      return false;
    }
    return true;
  };
  each_plane(
      shares, wave.model().query_heads, [](const Share& share) { return share.heads; }, tasks_first, check);
}

}  // namespace strata::detail
