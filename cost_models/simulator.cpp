// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/check.hpp"
#include "cost_models/simulator_engine.hpp"
#include "cost_models/steady_layers.hpp"

namespace strata {
namespace {

/// So many layers are tried in turn, while they are at most half of all.
constexpr std::array<std::int32_t, 2> kShortLayers = {8, 16};

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

/// What the engine found, and what the layers that it left out add.
struct SimulatedLayers {
  std::int32_t layers = 0;
  std::vector<RankTimes> times;
  std::vector<RankGrowth> growth;  // [rank] of kSteadyIncrements layers; empty when nothing was left out
  std::vector<TimelineEvent> events;
  std::int64_t instructions = 0;
};

std::vector<RankLoad> rank_loads(const SimulatedLayers& simulated, const ProgramTotals& totals,
                                 std::int32_t layers) {
  std::vector<RankLoad> loads;
  for (std::size_t rank = 0; rank < simulated.times.size(); ++rank) {
    const RankTimes& time = simulated.times[rank];
    const RankGrowth growth = simulated.growth.empty() ? RankGrowth{} : simulated.growth[rank];
    const std::int64_t more = layers - simulated.layers;
    RankLoad load;
    load.end = {grown(time.end_ns, growth.end_ns, more)};
    load.busy = {grown(time.busy_ns, growth.busy_ns, more)};
    load.exposed = {grown(time.exposed_ns, growth.exposed_ns, more)};
    load.forward = {grown(time.forward_ns, growth.forward_ns, more)};
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

SimulatedLayers run_layers(SimulatorEngine& engine, std::int32_t layers) {
  engine.run();
  return {layers, engine.times(), {}, engine.take_events(), engine.instructions()};
}

/// Whether no rank shares a device with another or exchanges anything.
bool ranks_are_apart(const std::vector<SimulatedWave>& waves, const Topology& topology) {
  std::vector<std::int32_t> devices = topology.rank_device;
  std::sort(devices.begin(), devices.end());
  if (std::adjacent_find(devices.begin(), devices.end()) != devices.end()) return false;
  for (const SimulatedWave& wave : waves) {
    for (const std::vector<SimulatedPass>* passes : {&wave.forward, &wave.backward}) {
      for (const SimulatedPass& pass : *passes) {
        if (!pass.exchanges.empty()) return false;
      }
    }
  }
  return true;
}

std::int64_t events_of(const std::vector<SimulatedWave>& waves) {
  std::int64_t events = 0;
  for (const SimulatedWave& wave : waves) events += wave.events;
  return events;
}

}  // namespace

Simulation simulate_step(const std::vector<std::vector<RankProgram>>& waves, const Topology& topology,
                         const ModelShape& model, const CostProfile& profile,
                         const SimulatorOptions& options) {
  const std::int32_t layers = options.layers > 0 ? options.layers : model.layers;
  const RouteTable routes(topology);
  ProgramTotals totals;
  totals.rank_pairs.assign(topology.rank_device.size(), 0);
  totals.device_work_ns.assign(topology.devices.size(), 0);
  std::vector<SimulatedWave> compiled;
  for (const std::vector<RankProgram>& programs : waves) {
    STRATA_CHECK(programs.size() == topology.rank_device.size(), "a wave has {} programs for {} ranks",
                 programs.size(), topology.rank_device.size());
    compiled.push_back(compile_wave(programs, topology, routes, model, profile,
                                    {options.include_linear, options.recompute}, totals));
  }

  const bool apart = ranks_are_apart(compiled, topology);
  const auto simulate = [&](std::int32_t count) {
    SimulatorEngine engine(compiled, topology, routes, profile,
                           {count, options.record, options.batch_ends, options.recompute != Recompute::none});
    SimulatedLayers simulated = run_layers(engine, count);
    if (count == layers) return simulated;
    const auto growth = steady_growth(engine.marks(), apart);
    if (!growth) return SimulatedLayers{};
    simulated.growth = *growth;
    return simulated;
  };
  SimulatedLayers simulated;
  if (!options.exact && events_of(compiled) > options.free_events / layers) {
    for (const std::int32_t count : kShortLayers) {
      if (simulated.layers == 0 && 2 * count <= layers) simulated = simulate(count);
    }
  }
  if (simulated.layers == 0) simulated = simulate(layers);

  Simulation simulation;
  simulation.simulated_layers = simulated.layers;
  simulation.ranks = rank_loads(simulated, totals, layers);
  simulation.prediction = predict(simulation.ranks, totals, topology, layers);
  simulation.instructions = simulated.instructions;
  if (totals.work_ns > 0) {
    simulation.extrapolated_share =
        static_cast<double>(totals.extrapolated_ns) / static_cast<double>(totals.work_ns);
    simulation.prediction.extrapolated_share = simulation.extrapolated_share;
  }
  simulation.measured = profile.provenance.measured;
  simulation.timeline.source = "simulator";
  simulation.timeline.layers = simulation.simulated_layers;
  simulation.timeline.linear_included = options.include_linear;
  simulation.timeline.events = std::move(simulated.events);
  describe_machine(topology, simulation.timeline);
  return simulation;
}

}  // namespace strata
