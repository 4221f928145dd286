// SPDX-License-Identifier: Apache-2.0
#include "tests/core/plan/random_plan.hpp"

#include <random>

#include "core/base/digest.hpp"
#include "core/plan/plan_json.hpp"

namespace strata::test {

namespace {

/// Uniform numbers without the standard's distributions, which differ between libraries.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  std::int32_t small(std::int32_t high) { return static_cast<std::int32_t>(between(0, high)); }
  bool coin() { return between(0, 1) == 1; }
  double real() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }

 private:
  std::mt19937_64 engine_;
};

TokenSpan random_span(Dice& dice) {
  const std::int64_t begin = dice.between(0, 5000);
  return {dice.small(9), begin, begin + dice.between(0, 5000)};
}

HeadRange random_heads(Dice& dice) {
  const std::int32_t begin = dice.small(7);
  return {begin, begin + 1 + dice.small(7)};
}

std::vector<RankRange> random_ranges(Dice& dice) {
  if (dice.coin()) {
    const std::int32_t rank = dice.small(63);
    return {{rank, rank + 1}};
  }
  const std::int32_t begin = dice.small(20);
  if (dice.coin()) return {{begin, begin + 2 + dice.small(9)}};
  return {{begin, begin + 1}, {begin + 3, begin + 4 + dice.small(20)}};
}

ScheduleStep random_step(Dice& dice, std::int32_t index, bool backward) {
  ScheduleStep step;
  step.collective = static_cast<CollectiveKind>(dice.small(2));
  for (std::int64_t i = dice.between(0, 6); i > 0; --i) {
    step.transfers.push_back({dice.small(63), random_ranges(dice), static_cast<TensorKind>(dice.small(6)),
                              random_span(dice), random_heads(dice), dice.small(1),
                              index + 1 + (dice.coin() ? 0 : dice.small(3))});
  }
  for (std::int64_t i = dice.between(0, 6); i > 0; --i) {
    step.tasks.push_back({dice.small(63), random_span(dice), random_span(dice), random_heads(dice)});
  }
  for (std::int64_t i = backward ? dice.between(0, 3) : 0; i > 0; --i) {
    step.reductions.push_back({dice.small(63), random_ranges(dice), TensorKind::dkv, random_span(dice),
                               random_heads(dice), dice.small(1), index + 1 + dice.small(1)});
  }
  return step;
}

Wave random_wave(Dice& dice, const Batch& batch, std::int32_t rank_count) {
  Wave wave;
  const std::vector<std::int64_t> lengths = batch.document_lengths();
  for (std::size_t document = 0; document < lengths.size(); ++document) {
    if (!dice.coin()) continue;
    wave.documents.push_back(static_cast<std::int32_t>(document));
    wave.lengths.push_back(lengths[document]);
  }
  for (std::int64_t i = dice.between(0, 3); i > 0; --i) {
    wave.groups.push_back({{dice.small(7), dice.small(7)}, {{"ring", 2}, {"ulysses", 1}}, wave.documents});
  }
  wave.placement.spans.resize(static_cast<std::size_t>(rank_count));
  for (auto& spans : wave.placement.spans) {
    for (std::int64_t i = dice.between(0, 2); i > 0; --i) spans.push_back(random_span(dice));
  }
  wave.schedule.exchange = dice.coin() ? ExchangeMode::full : ExchangeMode::needed;
  const std::int32_t steps = dice.small(4);
  for (std::int32_t i = 0; i < steps; ++i) wave.schedule.steps.push_back(random_step(dice, i, false));
  wave.backward.kv = dice.coin() ? BackwardKeep::retain : BackwardKeep::refetch;
  wave.backward.gradient_return = static_cast<GradientReturn>(dice.small(2));
  if (wave.backward.gradient_return == GradientReturn::explicit_steps) {
    for (std::int32_t i = 0; i < steps; ++i) wave.backward.steps.push_back(random_step(dice, i, true));
  }
  return wave;
}

Batch random_batch(Dice& dice) {
  Batch batch;
  batch.step = dice.between(0, 1'000'000);
  batch.fixed_packs = dice.coin();
  batch.packs.resize(batch.fixed_packs ? static_cast<std::size_t>(dice.between(1, 3)) : 1);
  for (auto& pack : batch.packs) {
    for (std::int64_t i = dice.between(1, 6); i > 0; --i) pack.push_back(dice.between(1, 2147483647));
  }
  return batch;
}

Topology random_topology(Dice& dice) {
  Topology topology = named_topology(dice.coin() ? "dgx_h100:2" : "cpu:3x4:2");
  for (Device& device : topology.devices) device.relative_speed = 0.25 + dice.real();
  for (Link& link : topology.links) link.bandwidth.value = (1.0 + 500.0 * dice.real()) * 1e9;
  return topology;
}

PlanOptions random_options(Dice& dice) {
  PlanOptions options;
  options.memory_cap.count = dice.coin() ? dice.between(1, std::int64_t{1} << 40) : 0;
  options.device_cap = options.memory_cap.count == 0 && dice.coin();
  options.recompute = static_cast<Recompute>(dice.small(2));
  options.offload_activations = options.recompute == Recompute::full && dice.coin();
  options.logits = dice.coin() ? Logits::full : Logits::chunked;
  options.state_shards = dice.small(64);
  options.state_bytes_per_parameter = 18 * dice.real();
  return options;
}

Prediction random_prediction(Dice& dice) {
  Prediction predicted;
  predicted.step_time = {dice.between(0, 1 << 30)};
  predicted.forward = {1};
  predicted.backward = {2};
  predicted.imbalance = 1.0 + dice.real();
  predicted.peak_memory = {3};
  predicted.memory = {{11}, {12}, {13}, std::nullopt, std::nullopt};
  if (dice.coin()) predicted.memory.logits = Bytes{14};
  if (dice.coin()) predicted.memory.communicators = Bytes{dice.between(0, 9)};
  predicted.memory_rank = dice.small(7);
  predicted.arena = {4};
  predicted.kv_bytes = {5};
  predicted.bytes_by_level = {{6}, {7}, {8}};
  predicted.extrapolated_share = dice.real();
  predicted.settled = dice.coin();
  return predicted;
}

}  // namespace

Plan random_plan(std::uint64_t seed) {
  Dice dice(seed);
  Plan plan;
  plan.batch = random_batch(dice);
  plan.topology = random_topology(dice);
  plan.model = named_model(dice.coin() ? "tiny" : "llama3_70b");
  if (dice.coin()) plan.model.attention = AttentionKind::window, plan.model.window = dice.between(1, 9000);
  plan.options = random_options(dice);
  plan.options.strategies = {"ring", "a \"quoted\\ name\t"};
  plan.options.seed = ~std::uint64_t{0} - static_cast<std::uint64_t>(dice.between(0, 9));
  if (dice.coin()) plan.profile = embed_profile(R"({"a":[1,2.5,-0.0],"b":{"c":null}})");
  plan.lowering_version = dice.small(9);
  plan.strategy = "zigzag_ring";
  for (std::int64_t i = dice.between(0, 3); i > 0; --i) {
    plan.waves.push_back(random_wave(dice, plan.batch, plan.topology.rank_count()));
    plan.program_digests.push_back({"0123", "4567"});
  }
  plan.predicted = random_prediction(dice);
  plan.bounds = {
      {9}, std::nullopt, dice.real() - 0.5, dice.coin() ? ActiveBound::compute : ActiveBound::chain};
  if (dice.coin()) plan.bounds.in_family = Duration{dice.between(0, 99)};
  plan.candidates = {{"ring", Duration{7}, std::nullopt}, {"ulysses", std::nullopt, "8 heads"}};
  plan.candidates.front().settled = dice.coin();
  if (dice.coin()) plan.candidates.push_back({"allgather", std::nullopt, std::nullopt, true, Duration{9}});
  if (plan.profile.digest.empty()) plan.profile.digest = digest_of("a profile too large to embed");
  plan.digests = input_digests(plan);
  return plan;
}

Plan small_plan() {
  Plan plan;
  plan.batch.packs = {{100}};
  plan.topology = named_topology("cpu:1x2");
  plan.model = named_model("tiny");
  plan.strategy = "ring";
  Wave wave;
  wave.documents = {0};
  wave.lengths = {100};
  wave.groups = {{{0, 1}, {{"ring", 2}}, {0}}};
  wave.placement.spans = {{{0, 0, 50}}, {{0, 50, 100}}};
  wave.schedule.steps.resize(1);
  wave.schedule.steps[0].transfers = {{0, {{1, 2}}, TensorKind::kv, {0, 0, 50}, {0, 2}, 0, 1}};
  wave.schedule.steps[0].tasks = {{0, {0, 0, 50}, {0, 0, 50}, {0, 4}}};
  plan.waves = {wave};
  plan.program_digests = {{"00", "11"}};
  if (plan.profile.digest.empty()) plan.profile.digest = digest_of("a profile too large to embed");
  plan.digests = input_digests(plan);
  return plan;
}

}  // namespace strata::test
