// SPDX-License-Identifier: Apache-2.0
// Hand-made programs, machines and a profile in which every time can be worked out on paper: one byte per
// nanosecond, one FLOP per nanosecond, one nanosecond per pair, and nothing else costs anything.
#pragma once

#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/problem/topology.hpp"
#include "core/program/rank_program.hpp"
#include "cost_models/profile/cost_profile.hpp"
#include "cost_models/simulator/simulator.hpp"

namespace strata {

inline AttentionTable unit_table(Pass pass) {
  AttentionTable table;
  table.pass = pass;
  table.element_type = ElementType::f32;
  table.head_dim = table.value_head_dim = 1;
  table.tile_rows = 4;
  table.full.query_lengths = table.full.key_lengths = {1, 1 << 20};
  table.full.ns_per_pair = {1, 1, 1, 1};
  table.diagonal_lengths = {1, 1 << 20};
  table.diagonal_ns_per_pair = {1, 1};
  return table;
}

inline CostProfile unit_profile() {
  CostProfile profile;
  profile.name = "unit";
  profile.attention = {unit_table(Pass::forward), unit_table(Pass::backward)};
  profile.covers = table_coverage(profile.attention);
  profile.covers.devices = {"unit"};
  const RowRate rows{.launch_ns = 0, .range_ns = 0, .bytes_per_second = 1e9};
  profile.copy = profile.merge = profile.add = profile.cast = profile.delta = profile.zero = rows;
  profile.linear_flops_per_second = 1e9;
  return profile;
}

inline ModelShape unit_model(std::int32_t layers = 1) {
  ModelShape model;
  model.layers = layers;
  model.hidden = 1;
  model.ffn = 1;
  model.head_dim = model.value_head_dim = 1;
  model.element_type = ElementType::f32;
  return model;
}

/// Rows of the programs below: f32, one head, width 1.
inline constexpr std::int64_t kRowBytes = 4;

inline RankProgram empty_program(std::int32_t rank) {
  RankProgram program;
  program.rank = rank;
  program.element_type = ElementType::f32;
  Buffer buffer;
  buffer.role = BufferRole::kv;
  buffer.rows = 1 << 20;
  buffer.heads = {0, 1};
  buffer.width = 1;
  program.buffers = {buffer, buffer};
  return program;
}

inline std::vector<RankProgram> empty_programs(std::int32_t ranks) {
  std::vector<RankProgram> programs;
  programs.reserve(static_cast<std::size_t>(ranks));
  for (std::int32_t rank = 0; rank < ranks; ++rank) programs.push_back(empty_program(rank));
  return programs;
}

/// `work` ns of one execution unit, in at most `items` pieces at a time.
inline Instruction compute(double work, std::int64_t items = 1, std::vector<std::int32_t> wait_for = {}) {
  TokenWork linear;
  linear.tokens = items;
  linear.flops = {work};
  return {linear, kComputeStream, std::move(wait_for)};
}

struct PeerBytes {
  std::int32_t peer = 0;
  std::int64_t bytes = 0;  ///< multiple of 4
};

inline Exchange make_exchange(std::int32_t step, std::int32_t lane, const std::vector<PeerBytes>& sends,
                              const std::vector<PeerBytes>& receives) {
  Exchange exchange;
  exchange.step = step;
  exchange.lane = lane;
  for (const PeerBytes& send : sends) exchange.sends.push_back({send.peer, 0, 0, send.bytes / kRowBytes});
  for (const PeerBytes& receive : receives)
    exchange.receives.push_back({receive.peer, 1, 0, receive.bytes / kRowBytes});
  return exchange;
}

inline Instruction exchange(std::int32_t step, std::int32_t lane, const std::vector<PeerBytes>& sends,
                            const std::vector<PeerBytes>& receives, std::vector<std::int32_t> wait_for = {}) {
  return {make_exchange(step, lane, sends, receives), lane_stream(lane), std::move(wait_for)};
}

/// A copy that reads and writes `bytes` each.
inline Instruction copy(std::int64_t bytes, std::int32_t stream = kComputeStream,
                        std::vector<std::int32_t> wait_for = {}) {
  CopyRows rows;
  rows.copies = {{0, 1, 0, 0, bytes / kRowBytes, {0, 1}}};
  return {rows, stream, std::move(wait_for)};
}

struct Cable {
  std::int64_t latency_ns = 0;
  double bytes_per_ns = 1;
};

/// Device d hangs on one switch by cables[d], both directions; one rank and `cores` units per device.
inline Topology star(const std::vector<Cable>& cables, std::int32_t cores = 1) {
  Topology topology;
  topology.name = "star";
  topology.nodes = {"node"};
  topology.switches = {"switch"};
  const auto hub = static_cast<std::int32_t>(cables.size());
  for (std::int32_t d = 0; d < hub; ++d) {
    topology.devices.push_back({"device" + std::to_string(d), 0, cores, 1.0, Bytes{}});
    topology.rank_device.push_back(d);
    const Cable& cable = cables[static_cast<std::size_t>(d)];
    const BytesPerSecond bandwidth{cable.bytes_per_ns * 1e9};
    topology.links.push_back({d, hub, LinkLevel::node, {cable.latency_ns}, bandwidth});
    topology.links.push_back({hub, d, LinkLevel::node, {cable.latency_ns}, bandwidth});
  }
  return topology;
}

/// `ranks` ranks on one device.
inline Topology shared_device(std::int32_t ranks, std::int32_t cores) {
  Topology topology;
  topology.name = "shared";
  topology.nodes = {"node"};
  topology.devices = {{"device", 0, cores, 1.0, Bytes{}}};
  topology.rank_device.assign(static_cast<std::size_t>(ranks), 0);
  return topology;
}

/// Only the forward pass, one layer.
inline Simulation simulate_forward(const std::vector<RankProgram>& programs, const Topology& topology,
                                   const CostProfile& profile = unit_profile()) {
  return simulate_step({programs}, topology, unit_model(), profile);
}

inline const TimelineEvent& event_of(const Simulation& simulation, std::int32_t rank,
                                     std::int32_t instruction, Pass pass = Pass::forward,
                                     std::int32_t layer = 0, std::int32_t wave = 0) {
  for (const TimelineEvent& event : simulation.timeline.events) {
    if (event.rank == rank && event.instruction == instruction && event.pass == pass &&
        event.layer == layer && event.wave == wave) {
      return event;
    }
  }
  throw std::out_of_range("no such event");
}

/// {posted, matched, end} of a forward instruction.
struct Times {
  std::int64_t posted = 0, matched = 0, end = 0;
  bool operator==(const Times&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Times& times) {
    return out << "posted " << times.posted << " matched " << times.matched << " end " << times.end;
  }
};
inline Times times_of(const Simulation& simulation, std::int32_t rank, std::int32_t instruction,
                      Pass pass = Pass::forward, std::int32_t layer = 0, std::int32_t wave = 0) {
  const TimelineEvent& event = event_of(simulation, rank, instruction, pass, layer, wave);
  return {event.posted_ns, event.matched_ns, event.end_ns};
}

}  // namespace strata
