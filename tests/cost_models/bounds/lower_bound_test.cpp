// SPDX-License-Identifier: Apache-2.0
// The bound's terms by hand, and the promise: no simulated program that computes every allowed pair once is
// faster.
#include "cost_models/bounds/lower_bound.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <random>

#include "tests/cost_models/simulator/programs.hpp"

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

TEST(LowerBound, RecomputationRepeatsForwardWork) {
  // Forward and backward 1 ns a pair: 2000 and linear work of 3 forwards; launches of 300 and 500 a layer.
  CostProfile profile = unit_profile();
  const ModelShape model = unit_model();
  const double flops = linear_flops_per_token(model) * 1000;
  const auto bound = [&](Recompute recompute, bool include_linear) {
    PlanOptions options;
    options.recompute = recompute;
    return lower_bound(std::vector<std::int64_t>(1000, 1), model, star({{}}), profile, options, 0,
                       include_linear);
  };
  EXPECT_NEAR(static_cast<double>(bound(Recompute::none, true).compute.ns), 2000 + 3 * flops, 2);
  EXPECT_NEAR(static_cast<double>(bound(Recompute::selective, true).compute.ns), 2000 + 4 * flops, 2);
  EXPECT_NEAR(static_cast<double>(bound(Recompute::full, true).compute.ns), 3000 + 4 * flops, 2);
  EXPECT_EQ(bound(Recompute::selective, false).compute.ns, 1999);
  EXPECT_EQ(bound(Recompute::full, false).compute.ns, 2999);
  profile.attention[0].launch_ns = 300;
  profile.attention[1].launch_ns = 500;
  EXPECT_EQ(bound(Recompute::selective, false).chain.ns, 499);
  EXPECT_EQ(bound(Recompute::full, false).chain.ns, 599) << "forward twice";
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

/// Linear work of every token: on the rank of its first query, forward once and backward twice.
void add_linear_work(RandomStep& step) {
  const auto append = [&](std::vector<Instruction>& instructions, std::int64_t tokens, double times) {
    TokenWork linear;
    linear.tokens = tokens;
    linear.flops = {times * linear_flops_per_token(step.model) * static_cast<double>(tokens)};
    instructions.push_back({linear, kComputeStream, {}});
  };
  for (auto& programs : step.waves) {
    for (RankProgram& program : programs) {
      std::int64_t tokens = 0;
      for (const Instruction& instruction : program.forward) {
        if (const auto* launch = std::get_if<Attention>(&instruction.op)) {
          tokens += launch->blocks.front().query_count;
        }
      }
      if (tokens == 0) continue;
      append(program.forward, tokens, 1);
      append(program.backward, tokens, 2);
    }
  }
}

TEST(LowerBound, NoSimulatedStepIsFaster) {
  rc::check([](std::uint32_t seed, bool linear) {
    RandomStep step = random_step(seed);
    if (linear) add_linear_work(step);
    const auto recompute = static_cast<Recompute>(seed % 3);
    PlanOptions request;
    request.recompute = recompute;
    const LowerBound bound =
        lower_bound(step.lengths, step.model, step.topology, step.profile, request, 0, linear);
    for (const bool exact : {false, true}) {
      SimulatorOptions options;
      options.exact = exact;
      options.include_linear = linear;
      options.recompute = recompute;
      const Simulation simulation =
          simulate_step(step.waves, step.topology, step.model, step.profile, options);
      RC_ASSERT(simulation.prediction.step_time >= bound.bound);
    }
  });
}

/// Under every recomputation: what it demands is all in the bound.
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
  for (const Recompute recompute : {Recompute::none, Recompute::selective, Recompute::full}) {
    const std::int64_t times = recompute == Recompute::full ? 3 : 2;
    PlanOptions request;
    request.recompute = recompute;
    SimulatorOptions options;
    options.recompute = recompute;
    const LowerBound bound = lower_bound({300}, unit_model(6), star({{}}), unit_profile(), request, 0, false);
    const Simulation simulation =
        simulate_step({programs}, star({{}}), unit_model(6), unit_profile(), options);
    EXPECT_EQ(simulation.prediction.step_time.ns, times * 6 * 45'150);
    EXPECT_EQ(bound.bound.ns, times * 6 * 45'150 - 1);
  }
}

}  // namespace
}  // namespace strata
