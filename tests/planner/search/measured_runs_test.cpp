// SPDX-License-Identifier: Apache-2.0
// Published whole steps of one document on nodes of eight H100s, sequence parallel over all of them, every
// layer recomputed: the simulated step has the right level and the right order. The profile is the shipped
// one, which nobody measured on those machines.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/lowering/lower.hpp"
#include "cost_models/simulator/simulator.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata::testing {
namespace {

ModelShape shape(std::int32_t layers, std::int64_t hidden, std::int64_t ffn, std::int32_t query_heads) {
  ModelShape model;
  model.layers = layers;
  model.hidden = hidden;
  model.ffn = ffn;
  model.query_heads = query_heads;
  model.kv_heads = 8;
  model.head_dim = model.value_head_dim = 128;
  model.element_type = ElementType::bf16;
  return model;
}

double seconds(const ModelShape& model, std::int64_t tokens, const char* machine, Recompute recompute) {
  WaveRequest request;
  request.documents = {0};
  request.lengths = {tokens};
  request.model = model;
  const Topology topology = named_topology(machine);
  request.rank_count = topology.rank_count();
  const Strategy ulysses = strategy_named("ulysses");
  EXPECT_FALSE(ulysses.rejects(request).has_value());
  SimulatorOptions options;
  options.record = false;
  options.recompute = recompute;
  const auto programs = lower_wave(make_wave(ulysses, request, {}), model);
  const Prediction predicted =
      simulate_step({programs}, topology, model, default_profile("h100"), options).prediction;
  return static_cast<double>(predicted.step_time.ns) * 1e-9;
}

TEST(MeasuredRuns, AreSimulatedWithinAFifthAndInTheirOrder) {
  constexpr std::int64_t kMillion = 1 << 20;
  const ModelShape small = shape(36, 4096, 12288, 32);
  const ModelShape large = shape(64, 5120, 25600, 64);
  const double one_node = seconds(small, kMillion, "dgx_h100:1", Recompute::full);
  const double two_nodes = seconds(small, 2 * kMillion, "dgx_h100:2", Recompute::full);
  const double large_model = seconds(large, kMillion, "dgx_h100:1", Recompute::full);
  fmt::print("8B, 1M on 8: {:.1f} s of 364; 8B, 2M on 16: {:.1f} s of 696; 32B, 1M on 8: {:.1f} s of 1295\n",
             one_node, two_nodes, large_model);
  EXPECT_LE(std::abs(one_node / 364 - 1), 0.2);
  EXPECT_LE(std::abs(two_nodes / 696 - 1), 0.2);
  EXPECT_LE(std::abs(large_model / 1295 - 1), 0.2);
  EXPECT_LT(one_node, two_nodes);
  EXPECT_LT(two_nodes, large_model);
  // A quarter of the work less: without recomputation the level would be wrong.
  EXPECT_LT(seconds(small, kMillion, "dgx_h100:1", Recompute::none), 0.85 * one_node);
}

}  // namespace
}  // namespace strata::testing
