// SPDX-License-Identifier: Apache-2.0
#include "planner/report/wave_metrics.hpp"

#include <algorithm>
#include <numeric>

#include "core/base/check.hpp"
#include "core/schedule/rank_set.hpp"

namespace strata {

namespace {

Bytes slice_bytes(TensorKind tensor, const TokenSpan& span, HeadRange heads, const ModelShape& model) {
  return {checked_product(span.length(), heads.count(), wire_bytes(tensor, model))};
}

void add_at_level(LevelBytes& bytes, LinkLevel level, Bytes amount) {
  switch (level) {
    case LinkLevel::device:
      bytes.device += amount;
      return;
    case LinkLevel::node:
      bytes.node += amount;
      return;
    case LinkLevel::network:
      bytes.network += amount;
      return;
  }
}

}  // namespace

std::int64_t wire_bytes(TensorKind tensor, const ModelShape& model) {
  const std::int64_t element = element_bytes(model.element_type);
  const std::int64_t k = model.head_dim;
  const std::int64_t v = model.value_head_dim;
  constexpr std::int64_t kFloat = 4;
  switch (tensor) {
    case TensorKind::q:
      return k * element;
    case TensorKind::kv:
      return (k + v) * element;
    case TensorKind::o:
    case TensorKind::o_part:
      return v * element + kFloat;
    case TensorKind::d_o:
      return v * element + 2 * kFloat;
    case TensorKind::dq:
      return k * kFloat;
    case TensorKind::dkv:
      return (k + v) * kFloat;
  }
  STRATA_CHECK(false, "tensor kind {} has no wire format", static_cast<int>(tensor));
}

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
        add_at_level(bytes, routes.between(transfer.source, target).level, amount);
      });
    }
    for (const Reduction& reduction : step.reductions) {
      const Bytes amount = slice_bytes(reduction.tensor, reduction.span, reduction.heads, model);
      each_rank(reduction.sources, [&](std::int32_t source) {
        add_at_level(bytes, routes.between(source, reduction.target).level, amount);
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
      pairs[static_cast<std::size_t>(task.rank)] +=
          pair_count(mask, task.query, task.key) * task.heads.count();
    }
  }
  return pairs;
}

double imbalance(const std::vector<std::int64_t>& loads) {
  const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  if (total == 0) return 1;
  const std::int64_t largest = *std::max_element(loads.begin(), loads.end());
  return static_cast<double>(largest) * static_cast<double>(loads.size()) / static_cast<double>(total);
}

std::int64_t transfer_count(const CommSchedule& schedule) {
  std::int64_t count = 0;
  for (const ScheduleStep& step : schedule.steps) {
    count += static_cast<std::int64_t>(step.transfers.size() + step.reductions.size());
  }
  return count;
}

}  // namespace strata
