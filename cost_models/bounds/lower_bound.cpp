// SPDX-License-Identifier: Apache-2.0
#include "cost_models/bounds/lower_bound.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/check.hpp"
#include "core/base/checked.hpp"
#include "cost_models/cost/memory_cost.hpp"

namespace strata {
namespace {

/// Covers what rounding of sums and the simulator's forgiven fractions of a nanosecond can take away.
constexpr double kRoundingSlack = 1e-9;

Duration rounded_down(double ns) { return {whole_ns(std::floor(ns * (1 - kRoundingSlack)))}; }

struct MachineRate {
  double units = 0;       ///< execution units at the profile's speed, all devices that serve ranks
  double best_units = 0;  ///< of the fastest one
};

MachineRate machine_rate(const Topology& topology) {
  std::vector<bool> used(topology.devices.size(), false);
  for (const std::int32_t device : topology.rank_device) used[static_cast<std::size_t>(device)] = true;
  MachineRate rate;
  for (std::size_t d = 0; d < used.size(); ++d) {
    if (!used[d]) continue;
    const double units = topology.devices[d].cores * topology.devices[d].relative_speed;
    rate.units += units;
    rate.best_units = std::max(rate.best_units, units);
  }
  return rate;
}

}  // namespace

LowerBound lower_bound(const std::vector<std::int64_t>& document_lengths, const ModelShape& model,
                       const Topology& topology, const CostProfile& profile, const PlanOptions& options,
                       std::int32_t layers, bool include_linear) {
  STRATA_CHECK(topology.rank_count() > 0, "a lower bound needs at least one rank, topology '{}' has none",
               topology.name);
  ModelShape shape = model;
  if (layers > 0) shape.layers = layers;
  std::int64_t pairs = 0, tokens = 0;
  for (const std::int64_t length : document_lengths) {
    pairs += document_pair_count(shape.mask(), length);
    tokens += length;
  }
  const MachineRate machine = machine_rate(topology);
  LowerBound bound;

  // Compute. Every allowed pair of every head is computed once per layer and pass, by an instruction whose
  // cost is at least its pairs times the smallest entry of the table (a lookup interpolates between entries,
  // all other terms are not negative); its work divided by the device's relative speed is done by execution
  // units of one device. Linear work is costed per token and does not depend on the schedule. At no time do
  // more units work than the devices with ranks have, each at its relative speed. So time >= work / units.
  //
  // Recomputation. Before the backward of every layer of every wave a rank repeats what the request demands
  // of its own forward program, whatever that is: all of its linear work where anything is recomputed, and
  // under `full` all of its attention too. So a schedule's forward linear work, and under `full` its forward
  // attention, is done exactly twice, at the same cost, and the sums above grow by just that.
  const double forward_attention = options.recompute == Recompute::full ? 2 : 1;
  const double forward_linear = options.recompute == Recompute::none ? 1 : 2;
  double attention_ns = 0, launch_ns = 0;
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    const AttentionTableChoice choice =
        find_attention_table(profile, pass, shape.element_type, shape.head_dim, shape.value_head_dim);
    const double times = pass == Pass::forward ? forward_attention : 1;
    attention_ns += times * static_cast<double>(pairs) * shape.query_heads * best_ns_per_pair(*choice.table) *
                    choice.scale;
    launch_ns = std::max(launch_ns, times * choice.table->launch_ns);
  }
  double linear_ns = 0;
  if (include_linear) {
    // Backward is twice forward.
    linear_ns = (forward_linear + 2) * linear_flops_per_token(shape) * static_cast<double>(tokens) /
                profile.linear_flops_per_second * 1e9;
  }
  bound.compute = rounded_down((attention_ns + linear_ns) * shape.layers / machine.units);

  // Chain. Some rank runs an attention instruction in its program, which serves every layer, and its
  // pass-layers follow each other, those that repeat forward among them. Each of those instructions costs at
  // least its launch, spread over at most one device's units. Forward and backward may fall to different
  // ranks, so only the longer of the two chains counts.
  if (pairs > 0) bound.chain = rounded_down(launch_ns * shape.layers / machine.best_units);

  bound.bound = std::max(bound.compute, bound.chain);
  bound.active = bound.compute >= bound.chain ? ActiveBound::compute : ActiveBound::chain;

  // Memory. Every token of a wave has one owner, which holds at least least_token_memory for it; some rank
  // owns at least the mean. Every rank holds its share of the state.
  const std::int32_t ranks = topology.rank_count();
  bound.memory = {checked_sum(state_memory(shape, options, ranks).count,
                              least_token_memory(shape, options, (tokens + ranks - 1) / ranks).count)};
  const std::int64_t room = most_tokens(shape, options, topology);
  bound.least_waves = room == 0 ? 0 : std::max<std::int64_t>(1, (tokens - 1) / room + 1);
  return bound;
}

}  // namespace strata
