// SPDX-License-Identifier: Apache-2.0
// Programs as the simulator runs them: costs looked up once, dependencies as counters, Exchanges joined with
// their partners, all in flat arrays that every layer uses again.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/problem/route_table.hpp"
#include "core/program/rank_program.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {

struct SimulatedInstruction {
  std::int64_t work_ns = 0;    ///< of one execution unit of its own device
  double cap = 1;              ///< execution units it can use
  double memory_weight = 0;    ///< bytes of memory traffic per ns and unit
  std::int32_t exchange = -1;  ///< index into SimulatedPass::exchanges
  std::int32_t waits = 0;      ///< instructions that must end first
  std::int32_t successor_begin = 0, successor_end = 0;
};

/// What an event of the timeline says of its instruction.
struct InstructionLoad {
  std::int64_t bytes = 0;  ///< sent
  double flops = 0;
};

struct SimulatedExchange {
  std::int32_t instruction = 0;
  std::int32_t step = 0, lane = 0;
  std::int32_t peer_begin = 0, peer_end = 0;
  std::int64_t issue_ns = 0;
};

struct SimulatedPeer {
  std::int32_t rank = 0;
  std::int32_t exchange = 0;  ///< the partner in that rank's program
  std::int64_t sent_bytes = 0, received_bytes = 0;
};

/// One rank's program of one pass.
struct SimulatedPass {
  std::vector<SimulatedInstruction> instructions;
  std::vector<InstructionLoad> loads;  ///< as many, or none
  std::vector<std::int32_t> successors;
  std::vector<std::int32_t> ready;  ///< instructions without waits
  std::vector<SimulatedExchange> exchanges;
  std::vector<SimulatedPeer> peers;
  std::int64_t first_event = 0;  ///< among the events of one layer of the wave
};

struct SimulatedWave {
  std::vector<SimulatedPass> forward, backward;  ///< [rank]
  std::vector<SimulatedPass> recomputed;         ///< [rank] what runs before backward; empty: nothing does
  std::int64_t instructions = 0;  ///< of one layer, both passes, all ranks, without the recomputed ones
  std::int64_t events = 0;        ///< instructions and flows of one layer, recomputed ones included
};

/// What the programs ask for, whatever the clock says: per layer, summed over waves.
struct ProgramTotals {
  std::vector<std::int64_t> rank_pairs;      ///< forward attention pairs x heads
  std::vector<std::int64_t> device_work_ns;  ///< work of instructions and of transfers inside the device
  std::int64_t work_ns = 0, extrapolated_ns = 0;
  LevelBytes bytes_by_level;  ///< forward, recomputed and backward
  Bytes kv_bytes;             ///< forward, tensor kv, once
};

/// Throws InputError: a time beyond kLongestNs would not add up with others.
[[noreturn]] void throw_too_long();

/// Which parts of a program are costed.
struct CompileOptions {
  bool include_linear = true;  ///< whether TokenWork.linear takes time
  Recompute recompute = Recompute::none;
  bool loads = true;  ///< fill SimulatedPass::loads
};

/// Throws via STRATA_CHECK when the ranks' Exchanges do not fit together, and when the work is too long.
SimulatedWave compile_wave(const std::vector<RankProgram>& programs, const Topology& topology,
                           const RouteTable& routes, const ModelShape& model, const CostProfile& profile,
                           const CompileOptions& options, ProgramTotals& totals);

}  // namespace strata
