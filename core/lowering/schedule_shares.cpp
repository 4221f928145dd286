// SPDX-License-Identifier: Apache-2.0
#include "core/lowering/schedule_shares.hpp"

#include <algorithm>

#include "core/schedule/rank_set.hpp"

namespace strata::detail {

namespace {

/// Calls visit(record, step, position) for the records that `list` names in every step.
template <typename Record, typename Visit>
void each_record(const std::vector<ScheduleStep>& steps, std::vector<Record> ScheduleStep::*list,
                 Visit visit) {
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const std::vector<Record>& records = steps[s].*list;
    for (std::size_t i = 0; i < records.size(); ++i) {
      visit(records[i], static_cast<std::int32_t>(s), static_cast<std::int32_t>(i));
    }
  }
}

std::int32_t lanes_of(const std::vector<ScheduleStep>& steps) {
  std::int32_t lanes = 1;
  const auto count = [&](const auto& record, std::int32_t, std::int32_t) {
    lanes = std::max(lanes, record.lane + 1);
  };
  each_record(steps, &ScheduleStep::transfers, count);
  each_record(steps, &ScheduleStep::reductions, count);
  return lanes;
}

}  // namespace

ScheduleShares::ScheduleShares(const std::vector<ScheduleStep>& steps, std::int32_t rank_count)
    : steps_(steps),
      lane_count_(lanes_of(steps)),
      sent_(rank_count,
            [&](auto visit) {
              each_record(steps, &ScheduleStep::transfers,
                          [&](const Transfer& transfer, std::int32_t step, std::int32_t position) {
                            visit(transfer.source, step, position);
                          });
            }),
      received_(rank_count,
                [&](auto visit) {
                  each_record(steps, &ScheduleStep::transfers,
                              [&](const Transfer& transfer, std::int32_t step, std::int32_t position) {
                                each_rank(transfer.targets,
                                          [&](std::int32_t rank) { visit(rank, step, position); });
                              });
                }),
      given_(rank_count,
             [&](auto visit) {
               each_record(steps, &ScheduleStep::reductions,
                           [&](const Reduction& reduction, std::int32_t step, std::int32_t position) {
                             each_rank(reduction.sources,
                                       [&](std::int32_t rank) { visit(rank, step, position); });
                           });
             }),
      collected_(rank_count,
                 [&](auto visit) {
                   each_record(steps, &ScheduleStep::reductions,
                               [&](const Reduction& reduction, std::int32_t step, std::int32_t position) {
                                 visit(reduction.target, step, position);
                               });
                 }),
      tasks_(rank_count, [&](auto visit) {
        std::int32_t before = -1;
        each_record(steps, &ScheduleStep::tasks,
                    [&](const AttentionTask& task, std::int32_t step, std::int32_t position) {
                      if (position == 0 || task.rank != before) visit(task.rank, step, position);
                      before = task.rank;
                    });
      }) {}

bool ScheduleShares::has_partial_outputs(std::int32_t rank) const {
  if (tasks_.positions(rank).size() > 1) return true;
  const auto steps = received_.steps(rank);
  const auto positions = received_.positions(rank);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const ScheduleStep& step = steps_[static_cast<std::size_t>(steps[i])];
    const Transfer& transfer = step.transfers[static_cast<std::size_t>(positions[i])];
    if (transfer.tensor == TensorKind::o_part) return true;
  }
  return false;
}

ShareWalk::ShareWalk(const ScheduleShares& shares, std::int32_t rank)
    : shares_(shares),
      rank_(rank),
      sent_(shares.sent_.begin(rank)),
      received_(shares.received_.begin(rank)),
      given_(shares.given_.begin(rank)),
      collected_(shares.collected_.begin(rank)),
      tasks_(shares.tasks_.begin(rank)) {}

StepShare ShareWalk::next() {
  StepShare share;
  share.sent = shares_.sent_.take(rank_, step_, sent_);
  share.received = shares_.received_.take(rank_, step_, received_);
  share.given = shares_.given_.take(rank_, step_, given_);
  share.collected = shares_.collected_.take(rank_, step_, collected_);
  const auto tasks = shares_.tasks_.take(rank_, step_, tasks_);
  if (!tasks.empty()) {
    const auto& all = shares_.steps_[static_cast<std::size_t>(step_)].tasks;
    share.first_task = share.end_task = static_cast<std::size_t>(tasks.front());
    while (share.end_task < all.size() && all[share.end_task].rank == rank_) ++share.end_task;
  }
  ++step_;
  return share;
}

}  // namespace strata::detail
