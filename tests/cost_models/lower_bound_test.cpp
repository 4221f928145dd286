// SPDX-License-Identifier: Apache-2.0
// The bound's terms by hand, and the promise: no simulated program that computes every allowed pair once is
// faster.
#include "cost_models/lower_bound.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <random>

#include "tests/cost_models/programs.hpp"

namespace strata {
namespace {

TEST(LowerBound, ComputeIsAllPairsAtTheBestRateOnAllUnits) {
  // 100 tokens: 5050 pairs, 3 heads, 2 layers; forward at best 2 ns, backward 5: 212,100 over 2 x 3.5 units.
  ModelShape model = unit_model(2);
  model.query_heads = 3;
  CostProfile profile = unit_profile();
  profile.attention[0].full.ns_per_pair = {9, 2, 4, 3};
  profile.attention[0].diagonal_ns_per_pair = {8, 4};
  profile.attention[1].full.ns_per_pair = {9, 7, 7, 7};
  profile.attention[1].diagonal_ns_per_pair = {8, 5};
  Topology topology = star({{}, {}, {}}, 2);
  topology.devices[0].relative_speed = 2.5;
  topology.rank_device = {0, 1};  // the third device serves nobody
  const LowerBound bound = lower_bound({100}, model, topology, profile, {}, 0, false);
  EXPECT_EQ(bound.compute.ns, 30'299);  // 30,300 less the slack for rounding
  EXPECT_EQ(bound.bound, bound.compute);
  EXPECT_EQ(bound.active, ActiveBound::compute);
}

TEST(LowerBound, LinearWorkCountsForwardAndTwiceBackward) {
  ModelShape model = unit_model();
  const double flops = 3 * linear_flops_per_token(model) * 1000;
  const Topology one = star({{}});
  const std::vector<std::int64_t> ones(1000, 1);  // 1 pair each, 1 ns in each pass
  const LowerBound with = lower_bound(ones, model, one, unit_profile());
  const LowerBound without = lower_bound(ones, model, one, unit_profile(), {}, 0, false);
  EXPECT_EQ(without.compute.ns, 1999);
  EXPECT_NEAR(static_cast<double>(with.compute.ns - without.compute.ns), flops, 1);
}

TEST(LowerBound, ManyLaunchesOfLittleWorkFormAChain) {
  CostProfile profile = unit_profile();
  profile.attention[1].launch_ns = 700;
  const LowerBound bound = lower_bound({1}, unit_model(10), star({{}}), profile, {}, 0, false);
  EXPECT_EQ(bound.chain.ns, 6999);
  EXPECT_EQ(bound.active, ActiveBound::chain);
  EXPECT_EQ(bound.bound, bound.chain);
}

TEST(LowerBound, MemoryAsksForWaves) {
  // A token keeps its input, q, k, v, o, 3 x (1 + 1) inner elements and the log-sum-exp in each of 2 layers:
  // 2 x 48 bytes; 14 parameters of 16 bytes on 2 ranks are 112.
  const ModelShape model = unit_model(2);
  const Topology two = star({{}, {}});
  const auto waves = [&](std::int64_t cap) {
    PlanOptions options;
    options.memory_cap = {cap};
    return lower_bound({60, 40}, model, two, unit_profile(), options).least_waves;
  };
  EXPECT_EQ(lower_bound({60, 40}, model, two, unit_profile()).memory.count, 112 + 50 * 96);
  EXPECT_EQ(waves(0), 1);
  EXPECT_EQ(waves(112 + 50 * 96), 1);
  EXPECT_EQ(waves(112 + 50 * 96 - 1), 2);
  EXPECT_EQ(waves(112 + 13 * 96), 4);
  EXPECT_EQ(waves(111), 0);
}

struct RandomStep {
  std::vector<std::int64_t> lengths;
  std::vector<std::vector<RankProgram>> waves;
  Topology topology;
  ModelShape model;
  CostProfile profile;
};

/// Documents cut into row blocks anywhere, each block on any rank and in any wave; exchanges of no meaning in
/// between.
RandomStep random_step(std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  RandomStep step;
  const std::int32_t ranks = pick(1, 6);
  step.topology = pick(0, 1) == 0
                      ? shared_device(ranks, pick(1, 4))
                      : star(std::vector<Cable>(static_cast<std::size_t>(ranks), {pick(0, 9), 1.0}), 2);
  for (Device& device : step.topology.devices) device.relative_speed = pick(1, 8) * 0.25;
  step.model = unit_model(pick(1, 9));
  step.model.query_heads = step.model.kv_heads = pick(1, 3);
  step.profile = unit_profile();
  for (AttentionTable& table : step.profile.attention) {
    for (double& value : table.full.ns_per_pair) value = pick(10, 40) * 0.1;
    for (double& value : table.diagonal_ns_per_pair) value = pick(10, 40) * 0.1;
    table.launch_ns = pick(0, 1) * pick(1, 900);
  }
  const std::int32_t waves = pick(1, 2);
  for (std::int32_t w = 0; w < waves; ++w) step.waves.push_back(empty_programs(ranks));
  const auto heads = step.model.query_heads;
  for (int d = pick(1, 5); d > 0; --d) {
    const std::int64_t length = pick(1, 400);
    step.lengths.push_back(length);
    for (std::int64_t begin = 0; begin < length;) {
      AttentionBlock block;
      block.query_count = std::min<std::int64_t>(pick(1, 200), length - begin);
      block.key_count = begin + block.query_count;
      block.heads = {0, heads};
      block.lo = -kUnbounded;
      block.hi = begin;
      begin += block.query_count;
      RankProgram& program = step.waves[static_cast<std::size_t>(pick(0, waves - 1))]
                                       [static_cast<std::size_t>(pick(0, ranks - 1))];
      Attention forward;
      forward.queries = {{0, 0, 0}};
      forward.keys = {{1, -1}};
      forward.blocks = {block};
      AttentionBackward backward;
      backward.queries = {{0, 0, 0, 0, 0, 0}};
      backward.keys = forward.keys;
      backward.blocks = {block};
      program.forward.push_back({forward, kComputeStream, {}});
      program.backward.push_back({backward, kComputeStream, {}});
    }
  }
  for (auto& programs : step.waves) {
    for (std::int32_t rank = 0; ranks > 1 && rank < ranks; ++rank) {
      const std::int32_t right = (rank + 1) % ranks, left = (rank + ranks - 1) % ranks;
      auto& forward = programs[static_cast<std::size_t>(rank)].forward;
      forward.insert(forward.begin(), exchange(0, 0, {{right, 40}}, {{left, 40}}));
    }
  }
  return step;
}

TEST(LowerBound, NoSimulatedStepIsFaster) {
  rc::check([](std::uint32_t seed) {
    const RandomStep step = random_step(seed);
    const LowerBound bound = lower_bound(step.lengths, step.model, step.topology, step.profile, {}, 0, false);
    for (const bool exact : {false, true}) {
      SimulatorOptions options;
      options.exact = exact;
      options.include_linear = false;
      const Simulation simulation =
          simulate_step(step.waves, step.topology, step.model, step.profile, options);
      RC_ASSERT(simulation.prediction.step_time >= bound.bound);
    }
  });
}

TEST(LowerBound, OneRankWithOneBigBlockReachesIt) {
  // A single triangle at a constant rate on one unit: the bound is tight but for its rounding slack.
  auto programs = empty_programs(1);
  AttentionBlock block;
  block.query_count = block.key_count = 300;
  block.heads = {0, 1};
  block.lo = -kUnbounded;
  block.hi = 0;
  Attention forward;
  forward.queries = {{0, 0, 0}};
  forward.keys = {{1, -1}};
  forward.blocks = {block};
  AttentionBackward backward;
  backward.queries = {{0, 0, 0, 0, 0, 0}};
  backward.keys = forward.keys;
  backward.blocks = {block};
  programs[0].forward = {{forward, kComputeStream, {}}};
  programs[0].backward = {{backward, kComputeStream, {}}};
  const LowerBound bound = lower_bound({300}, unit_model(6), star({{}}), unit_profile(), {}, 0, false);
  const Simulation simulation = simulate_step({programs}, star({{}}), unit_model(6), unit_profile());
  EXPECT_EQ(simulation.prediction.step_time.ns, 2 * 6 * 45'150);
  EXPECT_EQ(bound.bound.ns, 2 * 6 * 45'150 - 1);
}

}  // namespace
}  // namespace strata
