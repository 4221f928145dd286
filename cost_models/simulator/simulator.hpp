// SPDX-License-Identifier: Apache-2.0
// Event-driven simulation of all ranks' programs on a virtual clock of integer nanoseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/program/timeline.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {

/// So many events take a few hundredths of a second of one processor.
inline constexpr std::int64_t kFreeEvents = 1 << 16;
/// So many take some seconds.
inline constexpr std::int64_t kMostEvents = 1 << 24;

struct SimulatorOptions {
  std::int32_t layers = 0;     ///< 0: as the model says
  bool include_linear = true;  ///< whether TokenWork.linear takes time
  /// What backward repeats of forward, layer by layer, before it begins (see below).
  Recompute recompute = Recompute::none;
  bool record = true;      ///< keep the timeline's events; the search needs only the totals
  bool exact = false;      ///< simulate every layer
  bool batch_ends = true;  ///< many flows that share start and end together if they almost do
  /// For tests: the same results the long way. All shares are found by FairShare, layers that take the same
  /// course as an earlier one are simulated all the same, and every number of layers from the start to the
  /// end.
  bool plain = false;
  /// A step of at most so many instructions and flows, all layers, is simulated in full anyway.
  std::int64_t free_events = kFreeEvents;
  /// A step of more than so many, all layers, is never simulated in full, unless `exact`.
  std::int64_t most_events = kMostEvents;
  /// The simulation stops as soon as it is known that the step takes longer. A search that has found a step
  /// of this time need not know better. A step that takes at most so long is simulated as ever.
  Duration stop_after{kLongestNs};
};

/// One rank over the whole step, all layers.
struct RankLoad {
  Duration end;
  Duration busy;           ///< at least one instruction other than an Exchange was running
  Duration exposed;        ///< an Exchange was in flight and nothing else was running
  Duration forward;        ///< spent in forward pass-layers; the rest of `end` is backward and recomputation
  std::int64_t pairs = 0;  ///< allowed pairs x heads of its forward attention, one layer, all waves
  bool operator==(const RankLoad&) const = default;
};

/// What a simulation has cost, all its runs of fewer and of more layers together.
struct SimulatorWork {
  std::int64_t events = 0;  ///< of the clock
  std::int64_t flows = 0;   ///< instructions that take time, and transfers
  /// Times that flows which share were settled because one of them came, went or changed.
  std::int64_t settlings = 0;
  std::int64_t solver_steps = 0;  ///< flows and resources in these settlings

  void add(const SimulatorWork& other) {
    events += other.events;
    flows += other.flows;
    settlings += other.settlings;
    solver_steps += other.solver_steps;
  }
};

struct Simulation {
  Timeline timeline;  ///< of the simulated layers, whose backward comes in the order layers - 1 ... 0
  /// Of the whole step, all layers, without memory (memory_cost.hpp). `forward` is that of the rank that ends
  /// last.
  Prediction prediction;
  std::vector<RankLoad> ranks;
  std::int32_t simulated_layers = 0;
  bool settled = true;            ///< false: layers were left out before all ranks kept one rhythm
  std::int64_t instructions = 0;  ///< simulated, all ranks, waves and simulated layers
  double extrapolated_share = 0;  ///< of all device work: costs from outside the profile's measured range
  bool measured = false;          ///< the profile's
  SimulatorWork work;
  /// Not 0 exactly when the step takes longer than `stop_after`. It then takes at least so long, which is
  /// longer than `stop_after` as well. step_time is this time then; timeline, ranks and the rest of the
  /// prediction are empty.
  Duration stopped_at;
};

/// Simulates `waves[wave][rank]`.
///
/// Order. A rank runs its waves in order, each as all layers forward then all layers backward (last first);
/// one of those runs of a program is a pass-layer. A pass-layer starts the moment the rank's previous one has
/// ended completely; ranks meet in Exchanges and nowhere else. Inside a pass-layer an instruction starts, its
/// `posted`, when the previous one of its stream and everything it waits for have ended.
///
/// Devices. Instructions and same-device transfers share their device's execution units and memory bandwidth
/// max-min fairly; an instruction alone runs on min(cores, its work items) units. Waiting for memory does not
/// occupy a unit.
///
/// Exchanges. An Exchange meets its peers' Exchanges of the same step and lane; `matched` is when the last
/// peer has posted. The bytes of a pair and direction are one flow, which starts when both ends have posted,
/// plus the later issue time, plus the latency of the route from its sender to its receiver. Flows share
/// links max-min fairly under the profile's per-peer cap; inside a device a flow is a copy by `copy_units`
/// execution units. An Exchange ends when its issue time has passed and all its flows, both directions, have
/// ended. From posting to end it holds `communication_units` of its device. At most half of a device is ever
/// withheld from compute.
///
/// Recomputation. Before a rank runs a layer's backward it repeats, as a pass-layer of its own, what its
/// `recompute` says: `selective` the layer's linear work alone, `full` its whole forward program, exchanges
/// included. Its time is part of `backward` and its bytes are part of `bytes_by_level`, but kv_bytes counts
/// forward once. The timeline has no events of it: executors do not recompute, so a timeline that is to be
/// joined with a measured one is made with `none`.
///
/// Shortcuts. tests/planner/search/simulator_shortcuts_test.cpp holds both against the long way, over
/// recorded packs, all strategies and random machines.
///
/// Layers left out, unless `exact`. A step of more than `free_events`, on devices that serve one rank each,
/// is simulated with 8 and then 16 layers, while these are at most half. The layers are steady when every
/// rank's last increments from layer to layer agree, and those of all ranks with each other, in every wave
/// and pass (steady_layers.hpp). Then the other layers add as much each. Else all are simulated, and so they
/// are on shared devices. The step is off by less than 2 %; the most that was seen is 0.001 %. In a step of
/// more than `most_events` every eight further layers add what 16 layers take longer than 8, and `settled` is
/// false. It is off by 0.1 % where every rank has a device of its own, by 7 % where ranks share devices.
///
/// Starts and ends put together, unless `batch_ends` is off: where more than 256 flows share, those that come
/// or end within 1/128 of a duration of each other do so together (fluid.hpp). The step is off by less than
/// 1 %; the most that was seen is 0.18 %.
///
/// Layers that take their course to the nanosecond as an earlier one of their pass did are counted instead of
/// simulated. That is no shortcut: the results are the same (simulator_repeats.cpp). No more are two others:
/// the runs of 8, 16 and all layers begin as one, and part where the first rank has the last forward layer of
/// the first wave before it; and a run of few layers ends with the first pass that has not settled.
///
/// The step is never predicted shorter than the work of its busiest device.
///
/// Programs must have passed verification: STRATA_CHECK when ranks do not meet or wait for each other in a
/// circle.
Simulation simulate_step(const std::vector<std::vector<RankProgram>>& waves, const Topology& topology,
                         const ModelShape& model, const CostProfile& profile,
                         const SimulatorOptions& options = {});

}  // namespace strata
