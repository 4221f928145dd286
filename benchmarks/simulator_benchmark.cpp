// SPDX-License-Identifier: Apache-2.0
// Instructions per second of the simulator, programs to timeline, on rings and all-to-alls of 64 ranks. Rates
// are printed as items_per_second; nothing gates on them.
#include <benchmark/benchmark.h>

#include "core/problem/topology.hpp"
#include "cost_models/simulator/simulator.hpp"

namespace strata {
namespace {

constexpr std::int64_t kRows = 2048;

ModelShape model() {
  ModelShape shape;
  shape.layers = 8;
  shape.hidden = 4096;
  shape.ffn = 14336;
  shape.query_heads = 32;
  shape.kv_heads = 8;
  shape.head_dim = shape.value_head_dim = 128;
  return shape;
}

Buffer rows_of(BufferRole role, std::int32_t heads, std::int32_t width) {
  Buffer buffer;
  buffer.role = role;
  buffer.type = ElementType::bf16;
  buffer.rows = kRows;
  buffer.heads = {0, heads};
  buffer.width = width;
  return buffer;
}

AttentionBlock full_block() {
  AttentionBlock block;
  block.query_count = block.key_count = kRows;
  block.heads = {0, 32};
  block.lo = -kUnbounded;
  block.hi = kUnbounded;
  return block;
}

/// Every step sends the slice in hand to the right and computes on it; two slices of buffer take turns.
std::vector<Instruction> ring_pass(std::int32_t rank, std::int32_t ranks, bool backward) {
  std::vector<Instruction> instructions;
  std::int32_t arrived = -1, computed = -1;
  for (std::int32_t step = 0; step < ranks; ++step) {
    const std::int32_t held = 1 + step % 2, coming = 1 + (step + 1) % 2;
    const std::int32_t needed = arrived;
    if (step + 1 < ranks) {
      Exchange exchange;
      exchange.step = step;
      exchange.sends = {{(rank + 1) % ranks, held, 0, kRows}};
      exchange.receives = {{(rank + ranks - 1) % ranks, coming, 0, kRows}};
      std::vector<std::int32_t> waits;
      if (computed >= 0) waits.push_back(computed);
      instructions.push_back({exchange, lane_stream(0), waits});
      arrived = static_cast<std::int32_t>(instructions.size()) - 1;
    }
    std::vector<std::int32_t> waits;
    if (needed >= 0) waits.push_back(needed);
    if (backward) {
      AttentionBackward launch;
      launch.queries = {{0, 3, 4, 3, 4, 0}};
      launch.keys = {{held, -1}};
      launch.blocks = {full_block()};
      instructions.push_back({launch, kComputeStream, waits});
    } else {
      Attention launch;
      launch.queries = {{0, 3, 4}};
      launch.keys = {{held, -1}};
      launch.blocks = {full_block()};
      launch.merge = true;
      instructions.push_back({launch, kComputeStream, waits});
    }
    computed = static_cast<std::int32_t>(instructions.size()) - 1;
  }
  return instructions;
}

RankProgram program(std::int32_t rank) {
  RankProgram made;
  made.rank = rank;
  made.element_type = ElementType::bf16;
  made.buffers = {rows_of(BufferRole::q, 32, 128), rows_of(BufferRole::kv, 8, 256),
                  rows_of(BufferRole::kv, 8, 256), rows_of(BufferRole::o, 32, 128),
                  rows_of(BufferRole::lse, 32, 1)};
  return made;
}

std::vector<RankProgram> ring(std::int32_t ranks) {
  std::vector<RankProgram> programs;
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    programs.push_back(program(rank));
    programs.back().forward = ring_pass(rank, ranks, false);
    programs.back().backward = ring_pass(rank, ranks, true);
  }
  return programs;
}

/// One exchange of everyone with everyone; `ragged`: every pair moves another number of rows.
std::vector<RankProgram> all_to_all(std::int32_t ranks, bool ragged) {
  std::vector<RankProgram> programs;
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    Exchange exchange;
    for (std::int32_t peer = 0; peer < ranks; ++peer) {
      if (peer == rank) continue;
      const auto rows = [&](std::int32_t from, std::int32_t to) {
        return ragged ? 1 + (from * 7919 + to * 104729) % 2003 : 256;
      };
      exchange.sends.push_back({peer, 1, 0, rows(rank, peer)});
      exchange.receives.push_back({peer, 2, 0, rows(peer, rank)});
    }
    programs.push_back(program(rank));
    programs.back().forward = {{exchange, lane_stream(0), {}}};
  }
  return programs;
}

void simulate(benchmark::State& state, const std::vector<RankProgram>& programs, bool record, bool exact) {
  const Topology topology = named_topology("dgx_h100:8");
  const CostProfile profile = default_profile(topology);
  SimulatorOptions options;
  options.record = record;
  options.exact = exact;
  std::int64_t instructions = 0;
  while (state.KeepRunning()) {
    const Simulation simulation = simulate_step({programs}, topology, model(), profile, options);
    benchmark::DoNotOptimize(simulation.prediction.step_time);
    instructions += simulation.instructions;
  }
  state.SetItemsProcessed(instructions);
}

void ring_of_64(benchmark::State& state) { simulate(state, ring(64), true, false); }
void ring_of_64_all_layers(benchmark::State& state) { simulate(state, ring(64), true, true); }
void ring_of_64_totals_only(benchmark::State& state) { simulate(state, ring(64), false, false); }
void all_to_all_of_64_even(benchmark::State& state) { simulate(state, all_to_all(64, false), false, false); }
void all_to_all_of_64_ragged(benchmark::State& state) { simulate(state, all_to_all(64, true), false, false); }
BENCHMARK(ring_of_64)->Unit(benchmark::kMillisecond);
BENCHMARK(ring_of_64_all_layers)->Unit(benchmark::kMillisecond);
BENCHMARK(ring_of_64_totals_only)->Unit(benchmark::kMillisecond);
BENCHMARK(all_to_all_of_64_even)->Unit(benchmark::kMillisecond);
BENCHMARK(all_to_all_of_64_ragged)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace strata
