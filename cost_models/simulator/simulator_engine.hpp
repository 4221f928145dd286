// SPDX-License-Identifier: Apache-2.0
// The event loop behind simulate_step: runs compiled waves for a number of layers. simulator.hpp states the
// rules.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "core/program/timeline.hpp"
#include "cost_models/simulator/event_queue.hpp"
#include "cost_models/simulator/fluid.hpp"
#include "cost_models/simulator/simulated_program.hpp"
#include "cost_models/simulator/steady_layers.hpp"

namespace strata {

/// One rank's times over the simulated layers.
struct RankTimes {
  std::int64_t end_ns = 0, busy_ns = 0, exposed_ns = 0;
  std::int64_t forward_ns = 0;  ///< in forward pass-layers
};

class SimulatorEngine {
 public:
  struct Settings {
    std::int32_t layers = 1;
    bool record = true;       ///< keep events
    bool batch_ends = true;   ///< see fluid.hpp
    bool recomputes = false;  ///< before each backward pass-layer the wave's `recomputed` passes run
    bool mark = false;        ///< keep `marks`
    bool plain = false;       ///< see SimulatorOptions
    /// The run stops when it is known that the step takes longer.
    std::int64_t stop_after_ns = kLongestNs;
    /// Layers of the step, simulated or not, each of which takes at least its work; 0: only the clock stops.
    std::int32_t step_layers = 0;
    /// The run stops when a pass is seen not to be steady (steady_layers.hpp). Needs `mark`.
    bool stop_unsteady = false;
    bool apart = false;  ///< of steady_layers.hpp
  };

  /// The arguments must outlive the engine.
  SimulatorEngine(const std::vector<SimulatedWave>& waves, const Topology& topology, const RouteTable& routes,
                  const CostProfile& profile, const Settings& settings);

  /// Runs until a rank begins its last forward layer of the first wave; an empty step does not. Afterwards
  /// `run` goes on, or a copy does, with more layers.
  void run_to_last_forward();
  /// Whether no rank has turned to what comes after the first wave's forward layers, so that these can be
  /// more. Ranks without any work do not count.
  bool is_extensible() const;
  /// From now on it is a step of `layers`, not fewer than before, which `settings` say as well; of them
  /// `record` and `batch_ends` stay as they were. What has been done so far counts only as instructions().
  void extend(const Settings& settings);
  /// Runs everything, or stops as the settings say. STRATA_CHECK when ranks wait for each other in a circle.
  void run();
  /// Where the run stopped; 0 when it did not stop. The step takes at least so long, which is longer than
  /// `stop_after_ns`.
  std::int64_t stopped_ns() const { return stopped_ns_; }
  /// Whether it stopped because a pass was not steady.
  bool is_unsteady() const { return unsteady_; }
  const std::vector<RankTimes>& times() const { return times_; }
  const LayerMarks& marks() const { return marks_; }
  std::vector<TimelineEvent> take_events() { return std::move(events_); }
  std::int64_t instructions() const { return finished_; }
  std::int64_t events() const { return popped_; }
  std::int64_t flows() const { return started_; }
  const FluidWork& fluid_work() const { return fluid_.work(); }

 private:
  /// A wave's stages: every layer forward, then of every layer, last first, what is recomputed and backward.
  struct Stage {
    Pass pass = Pass::forward;
    bool recomputed = false;  // what backward repeats of forward
    std::int32_t layer = 0;
  };
  struct ExchangeState {
    std::int64_t issue_end_ns = 0;
    std::int64_t matched_ns = 0;
    std::int32_t unmatched = 0;  // peers that have not posted
    std::int32_t flows = 0;      // matched and not ended
    bool posted = false;
  };
  struct RankState {
    std::int32_t wave = 0;
    std::int32_t stage = 0;  // of this wave, see `Stage`
    const SimulatedPass* pass = nullptr;
    std::int32_t left = 0;  // instructions that have not ended
    std::vector<std::int32_t> waits;
    std::vector<std::int64_t> posted_ns;
    std::vector<ExchangeState> exchanges;
    std::int32_t computing = 0, exchanging = 0;
    std::int64_t counted_to_ns = 0;  // busy and exposed time are counted up to here
    std::int64_t stage_begin_ns = 0;
  };
  /// An instruction of `rank` (peer < 0), or the bytes from `rank` to `peer` with the Exchange of either.
  struct FlowOwner {
    std::int32_t rank = 0, index = 0;
    std::int32_t peer = -1, peer_index = 0;
    std::int64_t bytes = 0;
  };
  struct Ready {
    std::int32_t rank = 0, instruction = 0;
  };

  bool is_over();
  void begin();
  void take_event();
  void place_events();
  void add_resources();
  void add_least_times();
  std::int64_t least_left_ns(std::int32_t rank) const;
  Stage stage_at(std::int32_t number) const;
  const SimulatedPass& pass_of(std::int32_t rank) const;
  void leave_stage(std::int32_t rank);
  void leave_pass(const RankState& state);
  void begin_stages(std::int32_t rank);
  void end_stage(std::int32_t rank);
  void run_ready();
  void post(Ready ready);
  void post_exchange(std::int32_t rank, std::int32_t index);
  void match(std::int32_t rank, std::int32_t index, const SimulatedPeer& peer);
  void announce_flow(std::int32_t source, std::int32_t index, std::int32_t target, std::int32_t target_index,
                     std::int64_t bytes, std::int64_t issue_end_ns);
  void start_transfer(const FlowOwner& owner);
  void start_flow(const FlowOwner& owner, double work, double cap);
  void end_flow(std::int32_t flow);
  void finish_if_done(std::int32_t rank, std::int32_t index);
  void finish(std::int32_t rank, std::int32_t instruction);
  void hold_units(std::int32_t rank, std::int32_t change);
  void count_time(std::int32_t rank);
  void record(std::int32_t rank, std::int32_t instruction);
  void check_finished() const;
  // simulator_repeats.cpp
  bool begins_layer(std::int32_t stage) const;
  void follow_lead(std::int32_t rank);
  bool append_ranks(std::vector<std::int64_t>& state) const;
  void append_queue(const std::vector<std::int32_t>& flow_names, std::vector<std::int64_t>& state) const;
  void look_for_repeats();
  void skip(std::int32_t periods);
  void skip_rank(std::size_t rank, std::int32_t periods);

  const std::vector<SimulatedWave>& waves_;
  const Topology& topology_;
  const RouteTable& routes_;
  const CostProfile& profile_;
  Settings settings_;
  std::int32_t layers_;
  std::int32_t stages_;  // of a wave
  bool begun_ = false;
  bool began_last_forward_ = false;  // a rank began its last forward layer of the first wave
  bool unsteady_ = false;

  std::int64_t now_ns_ = 0;
  std::int64_t finished_ = 0, popped_ = 0, started_ = 0;
  std::int64_t stopped_ns_ = 0;
  std::vector<std::int64_t> least_ns_;  // [(wave, pass) * ranks + rank] of a layer; empty: not asked for
  EventQueue queue_;
  FluidSystem fluid_;
  std::vector<RankState> ranks_;
  std::vector<RankTimes> times_;
  LayerMarks marks_;
  std::vector<std::int32_t> pass_left_;  // [2 * wave + backward] ranks that have left the pass
  std::deque<Ready> ready_;
  std::vector<FlowOwner> flow_owners_;  // [flow]
  std::vector<FlowOwner> transfers_;    // announced, waiting for their start
  std::vector<std::int32_t> free_transfers_;
  std::vector<std::int32_t> core_resource_, memory_resource_;  // [device]; memory -1: never the limit
  std::vector<std::int32_t> held_;                             // [device] posted Exchanges
  std::vector<ResourceUse> uses_;                              // scratch
  std::vector<std::int32_t> links_;                            // scratch
  std::vector<TimelineEvent> events_;
  std::vector<std::int64_t> wave_events_;  // [wave] where its events begin

  /// The engine as it was when the first rank began a layer.
  struct Snapshot {
    std::vector<std::int64_t> state;  // empty: there is none
    std::int64_t now_ns = 0;
    std::int32_t lead_stage = 0;
    std::int64_t finished = 0;
    std::vector<RankTimes> times;
  };
  std::int32_t lead_wave_ = 0, lead_stage_ = 0;  // of the rank that is furthest
  bool lead_began_layer_ = false;
  Snapshot snapshot_;
};

}  // namespace strata
