// SPDX-License-Identifier: Apache-2.0
// Peak memory: every term by hand, the sum, the fullest rank, and the caps of ranks and devices.
#include "cost_models/cost/memory_cost.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "core/base/checked.hpp"
#include "tests/cost_models/simulator/programs.hpp"

namespace strata {
namespace {

Buffer buffer(BufferRole role, std::int64_t rows, bool persistent) {
  Buffer made;
  made.role = role;
  made.rows = rows;
  made.heads = {0, 1};
  made.width = 64;  // 256 bytes a row in f32
  made.persistent = persistent;
  return made;
}

RankProgram program() {
  RankProgram made;
  made.buffers = {buffer(BufferRole::q, 10, true),      buffer(BufferRole::kv, 20, true),
                  buffer(BufferRole::o, 10, true),      buffer(BufferRole::kv, 40, false),
                  buffer(BufferRole::o_acc, 10, false), buffer(BufferRole::dq, 10, true)};
  made.local.q = 0;
  made.arena = {100'000};
  return made;
}

/// A rank that owns 10 tokens: q and o of 64 floats, kv of twice as many.
ModelShape model(std::int32_t layers) {
  ModelShape made;
  made.layers = layers;
  made.hidden = 100;
  made.ffn = 300;
  made.head_dim = made.value_head_dim = 64;
  made.element_type = ElementType::f32;
  return made;
}

constexpr std::int64_t kTokens = 10;
constexpr std::int64_t kInput = 4 * 100, kRows = 4 * 4 * 64, kInner = 4 * 3 * 400, kLse = 4;

MemoryTerms terms(const ModelShape& shape, const PlanOptions& options,
                  const Topology& topology = named_topology("dgx_h100:1")) {
  return rank_memory(program(), shape, options, topology);
}

PlanOptions recomputing(Recompute recompute) {
  PlanOptions options;
  options.recompute = recompute;
  return options;
}

PlanOptions capped(std::int64_t bytes) {
  PlanOptions options;
  options.memory_cap = {bytes};
  return options;
}

TEST(MemoryCost, LayersKeepTheirPersistentForwardTensors) {
  // q, kv and o: 40 rows of 256 bytes. Received kv that is fetched again, running values and gradients are
  // not kept.
  EXPECT_EQ(retained_bytes(program()).count, 40 * 256);
  RankProgram retaining = program();
  retaining.buffers[3].persistent = true;
  EXPECT_EQ(retained_bytes(retaining).count, 80 * 256);
}

TEST(MemoryCost, StateIsSharedByAllRanksUnlessSaidOtherwise) {
  ModelShape shape = model(2);
  // A layer: 100 x (64 x 4 + 3 x 300); embedding and output 100 each per word.
  const std::int64_t layer = 100 * (256 + 900);
  EXPECT_EQ(terms(shape, {}).state.count, 16 * 2 * layer / 8);
  shape.vocabulary = 1000;
  EXPECT_EQ(terms(shape, {}).state.count, 16 * (2 * layer + 2 * 1000 * 100) / 8);
  PlanOptions options;
  options.state_shards = 3;
  options.state_bytes_per_parameter = 2.5;
  EXPECT_EQ(terms(model(2), options).state.count, (5 * layer + 2) / 3);
}

TEST(MemoryCost, WithoutRecomputationEveryLayerKeepsEverythingOfItsTokens) {
  const MemoryTerms made = terms(model(5), {});
  EXPECT_EQ(made.activations.count, kTokens * 5 * (kInput + kRows + kInner));
  // Arena and four more layers, without the own rows that are counted above.
  EXPECT_EQ(made.attention.count, 100'000 + 4 * 40 * 256 - kTokens * 5 * kRows);
}

TEST(MemoryCost, SelectiveRecomputationKeepsInputsAndAttentionAndOneLayersRest) {
  const MemoryTerms made = terms(model(5), recomputing(Recompute::selective));
  EXPECT_EQ(made.activations.count, kTokens * (5 * (kInput + kRows) + kInner));
  EXPECT_EQ(made.attention, terms(model(5), {}).attention);
}

TEST(MemoryCost, FullRecomputationKeepsInputsAndOneLayer) {
  PlanOptions options = recomputing(Recompute::full);
  EXPECT_EQ(terms(model(5), options).activations.count, kTokens * (5 * kInput + kInner));
  EXPECT_EQ(terms(model(5), options).attention.count, 100'000);
  options.offload_activations = true;
  EXPECT_EQ(terms(model(5), options).activations.count, kTokens * (kInput + kInner));
}

TEST(MemoryCost, LogitsAreLeftOutWithoutAVocabularyOrWhenTheLossIsChunked) {
  ModelShape shape = model(1);
  EXPECT_EQ(terms(shape, {}).logits, std::nullopt);
  shape.vocabulary = 1000;
  EXPECT_EQ(terms(shape, {}).logits, Bytes{kTokens * 1000 * 4});
  PlanOptions options;
  options.logits = Logits::chunked;
  EXPECT_EQ(terms(shape, options).logits, std::nullopt);
}

TEST(MemoryCost, CommunicatorsAreCountedForGpusByTheirPeers) {
  RankProgram talking = program();
  Exchange exchange;
  exchange.sends = {{1, 0, 0, 1}, {2, 0, 0, 1}, {1, 0, 0, 1}};
  talking.forward.push_back({exchange, 1, {}});
  const auto buffers = [&](const Topology& topology) {
    return rank_memory(talking, model(1), {}, topology).communicators;
  };
  EXPECT_EQ(buffers(named_topology("dgx_h100:2")), Bytes{2 * (std::int64_t{448} << 20)});
  exchange.receives = {{9, 0, 0, 1}, {10, 0, 0, 1}};
  talking.backward.push_back({exchange, 1, {}});
  EXPECT_EQ(buffers(named_topology("dgx_h100:2")),
            Bytes{(2 * std::int64_t{448} << 20) + (std::int64_t{512} << 20)});
  EXPECT_EQ(terms(model(1), {}).communicators, Bytes{});
  EXPECT_EQ(buffers(named_topology("cpu:1x16")), std::nullopt);
}

TEST(MemoryCost, TheTotalIsTheSumOfTheTermsThatAreThere) {
  EXPECT_EQ((MemoryTerms{{1}, {20}, {300}, Bytes{4000}, Bytes{50000}}).total().count, 54321);
  EXPECT_EQ((MemoryTerms{{1}, {20}, {300}, std::nullopt, std::nullopt}).total().count, 321);
}

TEST(MemoryCost, WhatCannotBeCountedIsAboveEveryCap) {
  ModelShape shape = model(1 << 20);
  shape.hidden = shape.ffn = std::numeric_limits<std::int32_t>::max();
  RankProgram large = program();
  large.buffers[0].rows = std::int64_t{1} << 31;
  const MemoryTerms made =
      rank_memory(large, shape, recomputing(Recompute::full), named_topology("dgx_h100:1"));
  EXPECT_EQ(made.activations.count, kUncountable);
  EXPECT_EQ(made.state.count, kUncountable);
  EXPECT_EQ(made.total().count, kUncountable);
  EXPECT_EQ(most_tokens(shape, capped(std::int64_t{1} << 58), named_topology("dgx_h100:1")), 0);
}

/// Ranks 0 and 1 on one device, rank 2 on another, with the memory given.
MemoryPrediction three_ranks(std::int64_t a, std::int64_t b, std::int64_t c) {
  MemoryPrediction memory;
  std::int32_t rank = 0;
  for (const std::int64_t bytes : {a, b, c}) {
    RankProgram made = program();
    made.rank = rank++;
    memory.add(0, made, {{bytes}, {}, {}, std::nullopt, std::nullopt});
  }
  return memory;
}

Topology two_devices(std::int64_t first, std::int64_t second) {
  Topology topology;
  topology.nodes = {"n"};
  topology.devices = {{"gpu0", 0, 1, 1, {first}}, {"gpu1", 0, 1, 1, {second}}};
  topology.rank_device = {0, 0, 1};
  return topology;
}

TEST(MemoryCost, TheFullestRankIsThatOfTheWaveInWhichItHoldsMost) {
  MemoryPrediction memory = three_ranks(100, 70, 30);
  RankProgram made = program();
  made.rank = 1;
  made.arena = {200'000};
  memory.add(1, made, {{80}, {40}, {}, std::nullopt, std::nullopt});
  EXPECT_EQ(memory.wave, (std::vector<std::int32_t>{0, 1, 0}));
  Prediction predicted;
  set_memory(memory, predicted);
  EXPECT_EQ(predicted.memory_rank, 1);
  EXPECT_EQ(predicted.peak_memory.count, 120);
  EXPECT_EQ(predicted.memory.activations.count, 40);
  EXPECT_EQ(predicted.arena.count, 200'000);
}

TEST(MemoryCost, RanksOfADeviceShareItsMemory) {
  PlanOptions device;
  device.device_cap = true;
  const MemoryPrediction memory = three_ranks(60, 50, 100);
  EXPECT_FALSE(memory_excess(memory, device, two_devices(110, 100)));
  const auto shared = memory_excess(memory, device, two_devices(109, 100));
  ASSERT_TRUE(shared);
  EXPECT_EQ(shared->needed.count, 110);
  EXPECT_EQ(shared->ranks, 2);
  EXPECT_EQ(shared->rank, 0);
  EXPECT_EQ(shared->cap, "the memory of device gpu0");
  const auto worst = memory_excess(memory, device, two_devices(109, 50));
  ASSERT_TRUE(worst);
  EXPECT_EQ(worst->rank, 2) << "the one that is exceeded most";
  EXPECT_FALSE(memory_excess(memory, device, two_devices(0, 100))) << "not stated";
  EXPECT_FALSE(memory_excess(memory, {}, two_devices(1, 1))) << "no cap was asked for";
}

TEST(MemoryCost, AGivenCapIsPerRankWhateverTheDeviceHas) {
  const MemoryPrediction memory = three_ranks(60, 50, 100);
  EXPECT_FALSE(memory_excess(memory, capped(100), two_devices(1, 1)));
  const auto excess = memory_excess(memory, capped(99), two_devices(1000, 1000));
  ASSERT_TRUE(excess);
  EXPECT_EQ(excess->rank, 2);
  EXPECT_EQ(excess->allowed.count, 99);
}

TEST(MemoryCost, TheLeastATokenNeedsIsWhatNoScheduleSaves) {
  const ModelShape shape = model(5);
  EXPECT_EQ(least_token_memory(shape, {}, 7).count, 7 * 5 * (kInput + kRows + kInner + kLse));
  EXPECT_EQ(least_token_memory(shape, recomputing(Recompute::selective), 7).count,
            7 * (5 * (kInput + kRows + kLse) + kInner));
  EXPECT_EQ(least_token_memory(shape, recomputing(Recompute::full), 7).count,
            7 * (5 * kInput + kInner + kRows + kLse));
}

TEST(MemoryCost, TheMostTokensAreThoseWhoseLeastFitsBesideTheState) {
  const ModelShape shape = model(5);
  PlanOptions options;
  const Topology topology = two_devices(5'000'000, 3'000'000);
  EXPECT_EQ(most_tokens(shape, options, topology), std::numeric_limits<std::int64_t>::max());
  const std::int64_t state = state_memory(shape, options, 3).count;
  const std::int64_t token = least_token_memory(shape, options, 1).count;
  options.memory_cap = {state + 4 * token + 1};
  EXPECT_EQ(most_tokens(shape, options, topology), 12);
  options.memory_cap = {state - 1};
  EXPECT_EQ(most_tokens(shape, options, topology), 0);
  options.memory_cap = {};
  options.device_cap = true;
  EXPECT_EQ(most_tokens(shape, options, topology), std::max<std::int64_t>(0, 5'000'000 - 2 * state) / token +
                                                       std::max<std::int64_t>(0, 3'000'000 - state) / token);
  EXPECT_EQ(most_tokens(shape, options, two_devices(5'000'000, 0)), std::numeric_limits<std::int64_t>::max());
}

}  // namespace
}  // namespace strata
