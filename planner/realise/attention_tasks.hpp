// SPDX-License-Identifier: Apache-2.0
// Tight attention tasks: rectangles in which every query row sees a key row of the rectangle and every key
// row is seen, as the canonical form of a schedule demands. All masks come in through core/problem/mask.hpp
// only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/problem/mask.hpp"
#include "core/schedule/comm_schedule.hpp"

namespace strata {

/// Sorts `spans` and joins those that touch. They must not overlap.
void join_adjacent(std::vector<TokenSpan>& spans);

/// Removes empty steps from the end, but not the one in which the last transfers are ready: in `full` mode
/// rows may arrive that nobody uses.
void drop_unused_last_steps(CommSchedule& schedule);

/// Which rank computes with which heads under which mask.
struct TaskMaker {
  Mask mask;
  std::int32_t rank = 0;
  HeadRange heads;  ///< query heads

  /// Appends one tight task for each query span x key span of one document that has an allowed pair. Both
  /// lists are sorted by (document, begin) and free of overlaps, hence every allowed pair lands in one task.
  /// The time is linear in the tasks and, but for a logarithm, in the shorter list.
  void append(std::span<const TokenSpan> queries, std::span<const TokenSpan> keys,
              std::vector<AttentionTask>& tasks) const;
};

}  // namespace strata
