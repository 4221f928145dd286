// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator/simulator.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>

#include "core/base/check.hpp"
#include "cost_models/simulator/simulator_engine.hpp"
#include "cost_models/simulator/steady_layers.hpp"

namespace strata {
namespace {

/// So many layers are tried in turn, while they are at most half of all.
constexpr std::array<std::int32_t, 2> kShortLayers = {8, 16};

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
  LayerGrowth growth;  // without ranks when nothing was left out
  std::vector<TimelineEvent> events;
  std::int64_t instructions = 0;
  bool settled = true;
  std::int64_t stopped_ns = 0;  // not 0: the step takes at least so long, and nothing else is known
};

std::vector<RankLoad> rank_loads(const SimulatedLayers& simulated, const ProgramTotals& totals,
                                 std::int32_t layers) {
  std::vector<RankLoad> loads;
  for (std::size_t rank = 0; rank < simulated.times.size(); ++rank) {
    const RankTimes& time = simulated.times[rank];
    const LayerGrowth::Rank growth =
        simulated.growth.ranks.empty() ? LayerGrowth::Rank{} : simulated.growth.ranks[rank];
    const auto after_all = [&](std::int64_t ns, std::int64_t added) {
      return Duration{grown(ns, added, simulated.growth.layers, layers - simulated.layers)};
    };
    RankLoad load;
    load.end = after_all(time.end_ns, growth.end_ns);
    load.busy = after_all(time.busy_ns, growth.busy_ns);
    load.exposed = after_all(time.exposed_ns, growth.exposed_ns);
    load.forward = after_all(time.forward_ns, growth.forward_ns);
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

/// What is known of a step that takes longer than was asked.
Simulation stopped(Duration at, const SimulatorWork& work) {
  Simulation simulation;
  simulation.stopped_at = simulation.prediction.step_time = at;
  simulation.work = work;
  return simulation;
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

/// Whether a device serves several ranks.
bool devices_are_shared(const Topology& topology) {
  std::vector<std::int32_t> devices = topology.rank_device;
  std::sort(devices.begin(), devices.end());
  return std::adjacent_find(devices.begin(), devices.end()) != devices.end();
}

bool anything_is_exchanged(const std::vector<SimulatedWave>& waves) {
  for (const SimulatedWave& wave : waves) {
    for (const std::vector<SimulatedPass>* passes : {&wave.forward, &wave.backward}) {
      for (const SimulatedPass& pass : *passes) {
        if (!pass.exchanges.empty()) return true;
      }
    }
  }
  return false;
}

std::int64_t events_of(const std::vector<SimulatedWave>& waves) {
  std::int64_t events = 0;
  for (const SimulatedWave& wave : waves) events += wave.events;
  return events;
}

/// Decides how many layers to simulate, and does.
class LayerRunner {
 public:
  LayerRunner(const std::vector<SimulatedWave>& waves, const Topology& topology, const RouteTable& routes,
              const CostProfile& profile, const SimulatorOptions& options)
      : waves_(waves), topology_(topology), routes_(routes), profile_(profile), options_(options) {}

  SimulatedLayers run(std::int32_t layers) {
    const std::int64_t events = events_of(waves_);
    const bool shared = devices_are_shared(topology_);
    const bool dear = events > options_.most_events / layers;
    if (options_.exact || events <= options_.free_events / layers || (shared && !dear)) {
      return simulate(layers);
    }
    const bool apart = !anything_is_exchanged(waves_);
    const bool unsettled_do = dear && 2 * kShortLayers.back() <= layers;
    std::unique_ptr<SimulatorEngine> longer;  // the last one where it can become one of more layers
    std::vector<SimulatedLayers> tried;
    for (const std::int32_t count : kShortLayers) {
      if (2 * count > layers) break;
      SimulatorEngine::Settings wanted = settings(count, true, dear ? 0 : layers);
      wanted.stop_unsteady = !unsettled_do && !options_.plain;
      wanted.apart = apart;
      const auto engine = engine_of(std::move(longer), wanted);
      longer = copy_to_extend(*engine);
      SimulatedLayers& simulated = tried.emplace_back(finished(*engine, count));
      if (simulated.stopped_ns > 0) return std::move(simulated);
      if (shared || engine->is_unsteady()) continue;
      const auto growth = steady_growth(engine->marks(), apart);
      if (!growth) continue;
      simulated.growth = *growth;
      return std::move(simulated);
    }
    if (unsettled_do) return unsettled(tried.front(), std::move(tried.back()));
    const auto engine = engine_of(std::move(longer), settings(layers, false, layers));
    return finished(*engine, layers);
  }
  const SimulatorWork& work() const { return work_; }

 private:
  /// `step_layers`: how many layers are sure to take at least their work each.
  SimulatorEngine::Settings settings(std::int32_t layers, bool mark, std::int32_t step_layers) const {
    return {layers, options_.record, options_.batch_ends,    options_.recompute != Recompute::none,
            mark,   options_.plain,  options_.stop_after.ns, step_layers};
  }

  /// `begun` with more layers, or else a new one.
  std::unique_ptr<SimulatorEngine> engine_of(std::unique_ptr<SimulatorEngine> begun,
                                             const SimulatorEngine::Settings& wanted) const {
    if (begun == nullptr)
      return std::make_unique<SimulatorEngine>(waves_, topology_, routes_, profile_, wanted);
    begun->extend(wanted);
    return begun;
  }

  /// More layers begin as these did: a copy from before the first rank turns back. Null where some rank is
  /// already further.
  std::unique_ptr<SimulatorEngine> copy_to_extend(SimulatorEngine& engine) const {
    if (options_.plain) return nullptr;
    engine.run_to_last_forward();
    if (engine.stopped_ns() > 0 || !engine.is_extensible()) return nullptr;
    return std::make_unique<SimulatorEngine>(engine);
  }

  SimulatedLayers finished(SimulatorEngine& engine, std::int32_t layers) {
    engine.run();
    const FluidWork& fluid = engine.fluid_work();
    work_.add({engine.events(), engine.flows(), fluid.components, fluid.flows + fluid.resources});
    return {layers, engine.times(),     {}, engine.take_events(), engine.instructions(),
            true,   engine.stopped_ns()};
  }

  SimulatedLayers simulate(std::int32_t layers) {
    SimulatorEngine engine(waves_, topology_, routes_, profile_, settings(layers, false, layers));
    return finished(engine, layers);
  }

  /// What the longer run took more.
  static SimulatedLayers unsettled(const SimulatedLayers& shorter, SimulatedLayers longer) {
    longer.settled = false;
    longer.growth.layers = longer.layers - shorter.layers;
    for (std::size_t rank = 0; rank < longer.times.size(); ++rank) {
      const RankTimes& less = shorter.times[rank];
      const RankTimes& more = longer.times[rank];
      const auto added = [](std::int64_t from, std::int64_t to) {
        return std::max<std::int64_t>(0, to - from);
      };
      longer.growth.ranks.push_back({added(less.end_ns, more.end_ns), added(less.busy_ns, more.busy_ns),
                                     added(less.exposed_ns, more.exposed_ns),
                                     added(less.forward_ns, more.forward_ns)});
    }
    return longer;
  }

  const std::vector<SimulatedWave>& waves_;
  const Topology& topology_;
  const RouteTable& routes_;
  const CostProfile& profile_;
  const SimulatorOptions& options_;
  SimulatorWork work_;
};

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
                                    {options.include_linear, options.recompute, options.record}, totals));
  }
  const Duration floor = device_floor(totals, topology, layers);
  if (floor > options.stop_after) return stopped(floor, {});
  LayerRunner runner(compiled, topology, routes, profile, options);
  SimulatedLayers simulated = runner.run(layers);
  if (simulated.stopped_ns > 0) return stopped({simulated.stopped_ns}, runner.work());

  Simulation simulation;
  simulation.work = runner.work();
  simulation.simulated_layers = simulated.layers;
  simulation.settled = simulated.settled;
  simulation.ranks = rank_loads(simulated, totals, layers);
  simulation.prediction = predict(simulation.ranks, totals, topology, layers);
  if (simulation.prediction.step_time > options.stop_after) {
    return stopped(simulation.prediction.step_time, runner.work());
  }
  simulation.prediction.settled = simulated.settled;
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
