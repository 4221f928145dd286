// SPDX-License-Identifier: Apache-2.0
// What an Exchange moves, peer by peer, and when its data may start: the parts that the simulator turns into
// flows.
#pragma once

#include <cstdint>
#include <vector>

#include "core/problem/route_table.hpp"
#include "core/program/rank_program.hpp"
#include "cost_models/cost/instruction_cost.hpp"

namespace strata {

/// All parts of one Exchange to and from one peer.
struct PeerTraffic {
  std::int32_t peer = 0;
  std::int64_t sent_bytes = 0;
  std::int64_t received_bytes = 0;
  bool operator==(const PeerTraffic&) const = default;
};
/// The traffic with every peer that the exchange names, also with 0 bytes; ascending by peer.
std::vector<PeerTraffic> peer_traffic(const RankProgram& program, const Exchange& exchange);

/// The time from posting until data may move: launch_ns + parts * part_ns, rounded up.
Duration issue_time(const Exchange& exchange, const CostProfile& profile);

/// A transfer between two ranks of one device: a copy that reads and writes `bytes` each. Its work is that of
/// `copy_units` execution units for the time the copy takes.
InstructionCost device_transfer_cost(std::int64_t bytes, const CostProfile& profile);

/// Time of one transfer with nothing else going on: route latency + bytes at the narrowest of link and peer
/// cap, or the copy time inside a device. For closed forms in search; the simulator shares links instead.
Duration isolated_transfer_time(std::int64_t bytes, const Route& route, const CostProfile& profile);

}  // namespace strata
