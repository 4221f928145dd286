// SPDX-License-Identifier: Apache-2.0
// The numbers of a plan that follow from its waves and inputs without a simulation: bytes by level, KV bytes,
// imbalance, gap, and the candidate that won. All sums are checked for overflow; the inputs may be absurd.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/base/checked.hpp"
#include "core/problem/route_table.hpp"
#include "core/schedule/rank_set.hpp"
#include "core/verify/verify_detail.hpp"

namespace strata::detail {

namespace {

/// Payload of one row and head on the wire; comm_schedule.hpp states the formats. A second count, independent
/// of wire_bytes on purpose: a slip in that one shows as a difference.
std::int64_t row_bytes(TensorKind tensor, const ModelShape& model) {
  constexpr std::int64_t kFloat = 4;
  const std::int64_t element = element_bytes(model.element_type);
  const std::int64_t k = model.head_dim;
  const std::int64_t v = model.value_head_dim;
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
  return 0;
}

/// Payload of one layer, forward and backward, and the forward pairs of every rank.
class Sums {
 public:
  Sums(const Plan& plan, const std::vector<CommSchedule>& backward)
      : model_(plan.model),
        routes_(plan.topology),
        pairs_(static_cast<std::size_t>(plan.topology.rank_count())) {
    for (const Wave& wave : plan.waves) {
      add_forward(wave.schedule);
      add_traffic(wave.schedule);
      // Backward repeats the exchanges of forward where whole layers are computed again.
      if (plan.options.recompute == Recompute::full) add_traffic(wave.schedule);
    }
    for (const CommSchedule& schedule : backward) add_traffic(schedule);
  }

  const Total& kv() const { return kv_; }
  const Total& level(LinkLevel level) const { return levels_[static_cast<std::size_t>(level)]; }

  /// Largest / mean of the pairs; 1 when there are none, NaN when they do not fit. Independent of `imbalance`
  /// (core/plan/plan.hpp), as all sums here.
  double imbalance() const {
    Total sum;
    std::int64_t largest = 0;
    for (const Total& pairs : pairs_) {
      if (!pairs.fits()) return std::nan("");
      sum.add(pairs.value(), 1);
      largest = std::max(largest, pairs.value());
    }
    if (!sum.fits()) return std::nan("");
    if (sum.value() == 0) return 1;
    return static_cast<double>(largest) * static_cast<double>(pairs_.size()) /
           static_cast<double>(sum.value());
  }

 private:
  void add_forward(const CommSchedule& schedule) {
    for (const ScheduleStep& step : schedule.steps) {
      for (const AttentionTask& task : step.tasks) {
        pairs_[static_cast<std::size_t>(task.rank)].add(pair_count(model_.mask(), task.query, task.key),
                                                        task.heads.count());
      }
      for (const Transfer& transfer : step.transfers) {
        if (transfer.tensor != TensorKind::kv) continue;
        kv_.add(transfer.span.length() * transfer.heads.count(), target_count(transfer),
                row_bytes(TensorKind::kv, model_));
      }
    }
  }

  void add_traffic(const CommSchedule& schedule) {
    for (const ScheduleStep& step : schedule.steps) {
      for (const Transfer& transfer : step.transfers) {
        Peers peers{};
        each_rank(transfer.targets, [&](std::int32_t target) {
          ++peers[static_cast<std::size_t>(routes_.between(transfer.source, target).level)];
        });
        add_slice(transfer, peers);
      }
      for (const Reduction& reduction : step.reductions) {
        Peers peers{};
        each_rank(reduction.sources, [&](std::int32_t source) {
          ++peers[static_cast<std::size_t>(routes_.between(source, reduction.target).level)];
        });
        add_slice(reduction, peers);
      }
    }
  }

  /// By level: how many ranks send or get the slice on a route of that level, always from sender to receiver.
  using Peers = std::array<std::int64_t, 3>;

  template <typename Record>
  void add_slice(const Record& record, const Peers& peers) {
    const std::int64_t rows = record.span.length() * record.heads.count();
    for (std::size_t level = 0; level < peers.size(); ++level) {
      levels_[level].add(rows, peers[level], row_bytes(record.tensor, model_));
    }
  }

  const ModelShape& model_;
  RouteTable routes_;
  Total kv_;
  std::array<Total, 3> levels_;  // by LinkLevel
  std::vector<Total> pairs_;     // by rank
};

bool nearly_equal(double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(1.0, std::abs(b)); }

void verify_candidates(const Plan& plan, Findings& findings) {
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < plan.candidates.size(); ++i) {
    const Candidate& candidate = plan.candidates[i];
    const std::string place = fmt::format("candidates[{}]", i);
    const int known = static_cast<int>(candidate.step_time.has_value()) +
                      static_cast<int>(candidate.rejected.has_value()) +
                      static_cast<int>(candidate.slower_than.has_value());
    if (known != 1) {
      findings.add("candidates", place,
                   fmt::format("{} needs either a step time, a reason against it or a time that it exceeds",
                               candidate.strategy));
    }
    if (!candidate.step_time && !candidate.settled) {
      findings.add("candidates", place,
                   fmt::format("{} is {}, but has a time that is not settled", candidate.strategy,
                               candidate.rejected ? "rejected" : "slower than another"));
    }
    if (candidate.strategy != plan.strategy) continue;
    ++chosen;
    if (candidate.settled != plan.predicted.settled) {
      findings.add("candidates", place,
                   fmt::format("{} was chosen with settled {}, but the plan predicts settled {}",
                               candidate.strategy, candidate.settled, plan.predicted.settled));
    }
    if (candidate.step_time == plan.predicted.step_time) continue;
    findings.add("candidates", place,
                 fmt::format("{} was chosen with {}, but the plan predicts {} ns", candidate.strategy,
                             candidate.step_time ? fmt::format("{} ns", candidate.step_time->ns)
                                                 : std::string("no step time"),
                             plan.predicted.step_time.ns));
  }
  if (chosen != 1) {
    findings.add("candidates", "candidates",
                 fmt::format("{} entries for the chosen strategy '{}'", chosen, plan.strategy));
  }
}

/// The peak is the sum of its terms, and its rank exists. The caps hold for that rank; whether the terms
/// are right and the ranks of a device fit together is for those who can lower the plan.
void verify_memory(const Plan& plan, Findings& findings) {
  const Prediction& predicted = plan.predicted;
  const Bytes total = predicted.memory.total();
  if (predicted.peak_memory != total) {
    findings.add("predicted", "predicted.peak_memory_bytes",
                 fmt::format("{}, but the terms add up to {}", predicted.peak_memory.count, total.count));
  }
  if (predicted.memory_rank >= plan.topology.rank_count()) {
    findings.add("predicted", "predicted.memory.rank",
                 fmt::format("rank {} of {}", predicted.memory_rank, plan.topology.rank_count()));
    return;
  }
  Bytes cap = plan.options.memory_cap;
  if (plan.options.device_cap) {
    const std::int32_t device = plan.topology.rank_device[static_cast<std::size_t>(predicted.memory_rank)];
    cap = plan.topology.devices[static_cast<std::size_t>(device)].memory;
  }
  if (cap.count > 0 && std::max(predicted.peak_memory, predicted.arena) > cap) {
    findings.add("memory_cap", "predicted.peak_memory_bytes",
                 fmt::format("{} bytes (arena {}), over the cap of {}", predicted.peak_memory.count,
                             predicted.arena.count, cap.count));
  }
}

void verify_times_and_memory(const Plan& plan, Findings& findings) {
  const Prediction& predicted = plan.predicted;
  const Bounds& bounds = plan.bounds;
  Total passes;
  passes.add(predicted.forward.ns, 1);
  passes.add(predicted.backward.ns, 1);
  if (!passes.is(predicted.step_time.ns)) {
    findings.add("predicted", "predicted.step_time_ns",
                 fmt::format("{}, but forward and backward take {} and {}", predicted.step_time.ns,
                             predicted.forward.ns, predicted.backward.ns));
  }
  verify_memory(plan, findings);
  if (bounds.lower_bound > predicted.step_time) {
    findings.add("bounds", "bounds.lower_bound_ns",
                 fmt::format("{}, above the predicted step time of {} ns", bounds.lower_bound.ns,
                             predicted.step_time.ns));
  }
  if (bounds.lower_bound.ns <= 0) return;
  const double gap =
      static_cast<double>(predicted.step_time.ns) / static_cast<double>(bounds.lower_bound.ns) - 1;
  if (!nearly_equal(bounds.gap, gap)) {
    findings.add("bounds", "bounds.gap", fmt::format("{}, but the times give {}", bounds.gap, gap));
  }
}

}  // namespace

void verify_numbers(const Plan& plan, const std::vector<CommSchedule>& backward, Findings& findings) {
  const Sums sums(plan, backward);
  const auto compare = [&](const char* name, std::int64_t stated, const Total& actual) {
    if (actual.is(stated)) return;
    findings.add("predicted", fmt::format("predicted.{}", name),
                 fmt::format("{}, but the waves give {}", stated, actual.text()));
  };
  compare("kv_bytes", plan.predicted.kv_bytes.count, sums.kv());
  const auto compare_level = [&](const char* name, Bytes stated, LinkLevel level) {
    Total all_layers;
    all_layers.add(sums.level(level).value(), plan.model.layers);
    compare(name, stated.count, sums.level(level).fits() ? all_layers : sums.level(level));
  };
  compare_level("bytes_by_level.device", plan.predicted.bytes_by_level.device, LinkLevel::device);
  compare_level("bytes_by_level.node", plan.predicted.bytes_by_level.node, LinkLevel::node);
  compare_level("bytes_by_level.network", plan.predicted.bytes_by_level.network, LinkLevel::network);
  if (!nearly_equal(plan.predicted.imbalance, sums.imbalance())) {
    findings.add("predicted", "predicted.imbalance",
                 fmt::format("{}, but the waves give {}", plan.predicted.imbalance, sums.imbalance()));
  }
  verify_times_and_memory(plan, findings);
  verify_candidates(plan, findings);
}

}  // namespace strata::detail
