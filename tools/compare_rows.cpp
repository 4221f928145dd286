// SPDX-License-Identifier: Apache-2.0
#include "tools/compare_rows.hpp"

#include <chrono>
#include <utility>

#include "core/base/check.hpp"
#include "core/base/parallel_for.hpp"
#include "cost_models/bounds/lower_bound.hpp"
#include "planner/search/prediction.hpp"

namespace strata::tools {

CompareRows::CompareRows(std::size_t batches, std::size_t strategies)
    : strategies_(strategies), rows_(batches * strategies) {}

void CompareRows::put(std::size_t batch, std::size_t strategy, CompareRow row) {
  const std::lock_guard lock(mutex_);
  rows_[batch * strategies_ + strategy] = std::move(row);
}

std::vector<CompareRow> CompareRows::finished() const {
  const std::lock_guard lock(mutex_);
  std::vector<CompareRow> rows;
  for (const std::optional<CompareRow>& row : rows_) {
    if (row) rows.push_back(*row);
  }
  return rows;
}

namespace {

CompareRow compare(const Strategy& strategy, const PlanRequest& request, Duration bound) {
  CompareRow row;
  row.step = request.batch.step;
  row.strategy = strategy.name;
  row.lower_bound = bound;
  const auto start = std::chrono::steady_clock::now();
  const StrategyOutcome outcome = plan_with(strategy, request.batch, request);
  row.plan_time_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start).count();
  row.times = outcome.times;
  if (outcome.rejection) {
    row.rejected = outcome.rejection->reason;
    row.lacks_memory = outcome.lacks_memory;
  } else {
    row.predicted = outcome.predicted;
    row.gap = gap_of(row.predicted.step_time, {std::max<std::int64_t>(1, bound.ns)});
  }
  return row;
}

}  // namespace

void compare_batches(const PlanRequest& base, const std::vector<Batch>& batches,
                     const std::vector<Strategy>& strategies, std::int32_t threads, CompareRows& rows,
                     const std::function<void()>& finished) {
  parallel_for(std::ssize(batches), threads, [&](std::int64_t number) {
    const auto batch = static_cast<std::size_t>(number);
    PlanRequest request = base;
    request.batch = batches[batch];
    const Duration bound = lower_bound(request.batch.document_lengths(), request.model, request.topology,
                                       request.profile, request.options)
                               .bound;
    for (std::size_t strategy = 0; strategy < strategies.size(); ++strategy) {
      CompareRow row = compare(strategies[strategy], request, bound);
      row.batch = batch;
      rows.put(batch, strategy, std::move(row));
      finished();
    }
  });
}

}  // namespace strata::tools
