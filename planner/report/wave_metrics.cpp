// SPDX-License-Identifier: Apache-2.0
#include "planner/report/wave_metrics.hpp"

#include "core/schedule/rank_set.hpp"
#include "core/schedule/schedule_counts.hpp"

namespace strata {

Bytes kv_bytes(const CommSchedule& schedule, const ModelShape& model) {
  Bytes total;
  for (const ScheduleStep& step : schedule.steps) {
    for (const Transfer& transfer : step.transfers) {
      if (transfer.tensor != TensorKind::kv) continue;
      total += target_count(transfer) * slice_bytes(transfer.tensor, transfer.span, transfer.heads, model);
    }
  }
  return total;
}

LevelBytes bytes_by_level(const CommSchedule& schedule, const ModelShape& model, const RouteTable& routes) {
  LevelBytes bytes;
  for (const ScheduleStep& step : schedule.steps) {
    for (const Transfer& transfer : step.transfers) {
      const Bytes amount = slice_bytes(transfer.tensor, transfer.span, transfer.heads, model);
      each_rank(transfer.targets, [&](std::int32_t target) {
        bytes.at(routes.between(transfer.source, target).level) += amount;
      });
    }
    for (const Reduction& reduction : step.reductions) {
      const Bytes amount = slice_bytes(reduction.tensor, reduction.span, reduction.heads, model);
      each_rank(reduction.sources, [&](std::int32_t source) {
        bytes.at(routes.between(source, reduction.target).level) += amount;
      });
    }
  }
  return bytes;
}

std::vector<std::int64_t> rank_pairs(const CommSchedule& schedule, const ModelShape& model,
                                     std::int32_t rank_count) {
  std::vector<std::int64_t> pairs(static_cast<std::size_t>(rank_count));
  const Mask mask = model.mask();
  for (const ScheduleStep& step : schedule.steps) {
    for (const AttentionTask& task : step.tasks) {
      pairs[static_cast<std::size_t>(task.rank)] += task_pairs(task, mask);
    }
  }
  return pairs;
}

std::int64_t transfer_count(const CommSchedule& schedule) {
  std::int64_t count = 0;
  for (const ScheduleStep& step : schedule.steps) {
    count += static_cast<std::int64_t>(step.transfers.size() + step.reductions.size());
  }
  return count;
}

}  // namespace strata
