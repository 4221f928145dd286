// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator.hpp"

#include <algorithm>
#include <cmath>

#include "core/check.hpp"
#include "cost_models/simulator_engine.hpp"

namespace strata {
namespace {

/// Up to this many layers all are simulated; of more, this many.
constexpr std::int32_t kMostExactLayers = 4;
constexpr std::int32_t kSteadyLayers = 3;

double imbalance(const std::vector<std::int64_t>& pairs) {
  std::int64_t total = 0, largest = 0;
  for (const std::int64_t count : pairs) {
    total += count;
    largest = std::max(largest, count);
  }
  if (total == 0) return 1;
  return static_cast<double>(largest) * static_cast<double>(pairs.size()) / static_cast<double>(total);
}

/// No device gets through its work faster than all its units do.
Duration device_floor(const ProgramTotals& totals, const Topology& topology, std::int32_t layers) {
  std::int64_t floor = 0;
  for (std::size_t d = 0; d < topology.devices.size(); ++d) {
    if (totals.device_work_ns[d] > kLongestNs / layers) throw_too_long();
    floor = std::max(floor, totals.device_work_ns[d] * layers / topology.devices[d].cores);
  }
  return {floor};
}

std::vector<RankLoad> rank_loads(const std::vector<RankTimes>& times, const ProgramTotals& totals,
                                 std::int64_t more_layers) {
  std::vector<RankLoad> loads;
  for (std::size_t rank = 0; rank < times.size(); ++rank) {
    const RankTimes& time = times[rank];
    const auto more = static_cast<double>(more_layers);
    const auto steady =
        static_cast<double>(time.steady_forward_ns) + static_cast<double>(time.steady_backward_ns);
    if (static_cast<double>(time.end_ns) + more * steady > static_cast<double>(kLongestNs)) {
      throw_too_long();
    }
    RankLoad load;
    load.end = {time.end_ns + more_layers * (time.steady_forward_ns + time.steady_backward_ns)};
    load.busy = {time.busy_ns + more_layers * time.steady_busy_ns};
    load.exposed = {time.exposed_ns + more_layers * time.steady_exposed_ns};
    load.forward = {time.forward_ns + more_layers * time.steady_forward_ns};
    load.pairs = totals.rank_pairs[rank];
    loads.push_back(load);
  }
  return loads;
}

Prediction predict(const std::vector<RankLoad>& ranks, const ProgramTotals& totals, const Topology& topology,
                   std::int32_t layers) {
  Prediction prediction;
  const auto last = std::max_element(ranks.begin(), ranks.end(),
                                     [](const RankLoad& a, const RankLoad& b) { return a.end < b.end; });
  prediction.step_time = last->end;
  prediction.forward = last->forward;
  prediction.step_time = std::max(prediction.step_time, device_floor(totals, topology, layers));
  prediction.backward = prediction.step_time - prediction.forward;
  prediction.imbalance = imbalance(totals.rank_pairs);
  prediction.kv_bytes = totals.kv_bytes;
  prediction.bytes_by_level = {totals.bytes_by_level.device * layers, totals.bytes_by_level.node * layers,
                               totals.bytes_by_level.network * layers};
  return prediction;
}

/// The shape of the machine as timelines state it.
void describe_machine(const Topology& topology, Timeline& timeline) {
  std::vector<bool> used(topology.devices.size(), false);
  timeline.device_count = 0;
  timeline.cores_per_device = 1;
  for (const std::int32_t device : topology.rank_device) {
    const auto index = static_cast<std::size_t>(device);
    if (!used[index]) ++timeline.device_count;
    used[index] = true;
    timeline.cores_per_device = std::max(timeline.cores_per_device, topology.devices[index].cores);
  }
  timeline.rank_count = topology.rank_count();
}

}  // namespace

Simulation simulate_step(const std::vector<std::vector<RankProgram>>& waves, const Topology& topology,
                         const ModelShape& model, const CostProfile& profile,
                         const SimulatorOptions& options) {
  const std::int32_t layers = options.layers > 0 ? options.layers : model.layers;
  const bool all = options.exact || layers <= kMostExactLayers;
  const RouteTable routes(topology);
  ProgramTotals totals;
  totals.rank_pairs.assign(topology.rank_device.size(), 0);
  totals.device_work_ns.assign(topology.devices.size(), 0);
  std::vector<SimulatedWave> compiled;
  for (const std::vector<RankProgram>& programs : waves) {
    STRATA_CHECK(programs.size() == topology.rank_device.size(), "a wave has {} programs for {} ranks",
                 programs.size(), topology.rank_device.size());
    compiled.push_back(
        compile_wave(programs, topology, routes, model, profile, options.include_linear, totals));
  }

  Simulation simulation;
  simulation.simulated_layers = all ? layers : kSteadyLayers;
  SimulatorEngine engine(compiled, topology, routes, profile, simulation.simulated_layers, options.record);
  engine.run();

  simulation.ranks = rank_loads(engine.times(), totals, layers - simulation.simulated_layers);
  simulation.prediction = predict(simulation.ranks, totals, topology, layers);
  simulation.instructions = engine.instructions();
  if (totals.work_ns > 0) {
    simulation.extrapolated_share =
        static_cast<double>(totals.extrapolated_ns) / static_cast<double>(totals.work_ns);
    simulation.prediction.extrapolated_share = simulation.extrapolated_share;
  }
  simulation.measured = profile.provenance.measured;
  simulation.timeline.source = "simulator";
  simulation.timeline.layers = simulation.simulated_layers;
  simulation.timeline.linear_included = options.include_linear;
  simulation.timeline.events = engine.take_events();
  describe_machine(topology, simulation.timeline);
  return simulation;
}

}  // namespace strata
