// SPDX-License-Identifier: Apache-2.0
// Which transfers, reductions and tasks of a schedule concern which rank: looked up once for all ranks, so
// that the program of a rank costs what the rank itself sends, receives and computes. Inside of lowering.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/check.hpp"
#include "core/schedule/comm_schedule.hpp"

namespace strata::detail {

/// What of one step concerns one rank. Lists hold positions in the step's transfers or reductions, ascending,
/// which is canonical order.
struct StepShare {
  std::span<const std::int32_t> sent, received;    ///< transfers
  std::span<const std::int32_t> given, collected;  ///< reductions
  std::size_t first_task = 0, end_task = 0;        ///< of the step's tasks

  bool has_tasks() const { return first_task < end_task; }
};

/// Positions of records in their steps' lists, sorted by rank and, for one rank, by step.
class RecordsByRank {
 public:
  /// `each(visit)` calls visit(rank, step, position) for every record, steps and positions ascending, and
  /// does so twice.
  template <typename Each>
  RecordsByRank(std::int32_t rank_count, Each each) : begins_(static_cast<std::size_t>(rank_count) + 1) {
    each([&](std::int32_t rank, std::int32_t step, std::int32_t) {
      STRATA_CHECK(rank >= 0 && rank < rank_count, "step {} names rank {} of {}", step, rank, rank_count);
      ++begins_[static_cast<std::size_t>(rank) + 1];
    });
    for (std::size_t rank = 1; rank < begins_.size(); ++rank) begins_[rank] += begins_[rank - 1];
    steps_.resize(begins_.back());
    positions_.resize(begins_.back());
    std::vector<std::size_t> next(begins_.begin(), begins_.end() - 1);
    each([&](std::int32_t rank, std::int32_t step, std::int32_t position) {
      const std::size_t at = next[static_cast<std::size_t>(rank)]++;
      steps_[at] = step;
      positions_[at] = position;
    });
  }

  std::size_t begin(std::int32_t rank) const { return begins_[static_cast<std::size_t>(rank)]; }
  std::size_t end(std::int32_t rank) const { return begins_[static_cast<std::size_t>(rank) + 1]; }
  std::span<const std::int32_t> positions(std::int32_t rank) const {
    return std::span(positions_).subspan(begin(rank), end(rank) - begin(rank));
  }
  std::span<const std::int32_t> steps(std::int32_t rank) const {
    return std::span(steps_).subspan(begin(rank), end(rank) - begin(rank));
  }
  /// The positions of `rank` in `step`, whose records start at `at`; moves `at` behind them.
  std::span<const std::int32_t> take(std::int32_t rank, std::int32_t step, std::size_t& at) const {
    const std::size_t first = at;
    while (at < end(rank) && steps_[at] == step) ++at;
    return std::span(positions_).subspan(first, at - first);
  }

 private:
  std::vector<std::size_t> begins_;  ///< [rank], and the end
  std::vector<std::int32_t> steps_, positions_;
};

/// The shares of all ranks in the steps of one pass. Time and memory are linear in the number of records,
/// multicasts and reductions counted once for each of their ranks.
class ScheduleShares {
 public:
  /// `steps` must outlive this object.
  ScheduleShares(const std::vector<ScheduleStep>& steps, std::int32_t rank_count);

  const std::vector<ScheduleStep>& steps() const { return steps_; }
  /// One more than the highest lane, at least 1.
  std::int32_t lane_count() const { return lane_count_; }
  /// Whether the outputs of `rank` come in several parts: it computes in several steps, or receives a part.
  bool has_partial_outputs(std::int32_t rank) const;

 private:
  friend class ShareWalk;
  const std::vector<ScheduleStep>& steps_;
  std::int32_t lane_count_ = 1;
  RecordsByRank sent_, received_, given_, collected_;
  RecordsByRank tasks_;  ///< the first task of the rank in the step
};

/// The shares of one rank, step after step.
class ShareWalk {
 public:
  ShareWalk(const ScheduleShares& shares, std::int32_t rank);
  /// The share in the first step; with every further call, in the step after.
  StepShare next();

 private:
  const ScheduleShares& shares_;
  std::int32_t rank_ = 0, step_ = 0;
  std::size_t sent_ = 0, received_ = 0, given_ = 0, collected_ = 0, tasks_ = 0;
};

}  // namespace strata::detail
