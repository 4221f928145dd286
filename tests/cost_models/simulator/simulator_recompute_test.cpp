// SPDX-License-Identifier: Apache-2.0
// Recomputation by hand: what backward repeats of forward, how long that takes, what it sends.
#include <gtest/gtest.h>

#include "core/program/timeline.hpp"
#include "tests/cost_models/simulator/programs.hpp"

namespace strata {
namespace {

SimulatorOptions with(Recompute recompute) {
  SimulatorOptions options;
  options.recompute = recompute;
  return options;
}

TEST(Recompute, SelectiveRepeatsTheLinearWorkAndFullTheWholeLayer) {
  // Forward 10 of linear work, a copy of 2 x 8 and 4 more of linear work; backward 30. Three layers.
  auto programs = empty_programs(1);
  programs[0].forward = {compute(10), copy(8), compute(4)};
  programs[0].backward = {compute(30)};
  const auto simulate = [&](Recompute recompute) {
    return simulate_step({programs}, star({{}}), unit_model(3), unit_profile(), with(recompute));
  };
  const Prediction none = simulate(Recompute::none).prediction;
  EXPECT_EQ(none.forward.ns, 3 * 30);
  EXPECT_EQ(none.backward.ns, 3 * 30);
  const Prediction selective = simulate(Recompute::selective).prediction;
  EXPECT_EQ(selective.forward.ns, 3 * 30);
  EXPECT_EQ(selective.backward.ns, 3 * (14 + 30));
  const Prediction full = simulate(Recompute::full).prediction;
  EXPECT_EQ(full.forward.ns, 3 * 30);
  EXPECT_EQ(full.backward.ns, 3 * (30 + 30));
  EXPECT_EQ(full.step_time.ns, 3 * 90);
}

TEST(Recompute, SlowDevicesRepeatSlowly) {
  Topology topology = star({{}});
  topology.devices[0].relative_speed = 0.5;
  auto programs = empty_programs(1);
  programs[0].forward = {compute(100)};
  programs[0].backward = {compute(200)};
  for (const Recompute recompute : {Recompute::selective, Recompute::full}) {
    const Simulation simulation =
        simulate_step({programs}, topology, unit_model(), unit_profile(), with(recompute));
    EXPECT_EQ(simulation.prediction.step_time.ns, 200 + 200 + 400);
    EXPECT_EQ(simulation.ranks[0].busy.ns, 800);
  }
}

/// Rank 0 computes 100, rank 1 300, then 0 sends 52 bytes to 1; backward 10 on both, and 1 sends 8 to 0.
std::vector<RankProgram> pair_of_ranks() {
  auto programs = empty_programs(2);
  programs[0].forward = {compute(100), exchange(0, 0, {{1, 52}}, {}, {0})};
  programs[1].forward = {compute(300), exchange(0, 0, {}, {{0, 52}}, {0})};
  programs[0].backward = {compute(10), exchange(0, 0, {}, {{1, 8}}, {0})};
  programs[1].backward = {compute(10), exchange(0, 0, {{0, 8}}, {}, {0})};
  return programs;
}

TEST(Recompute, FullRepeatsTheExchangesTooAndRanksMeetInThemAgain) {
  // Forward meets at 300 and ends at 352. Again: 652 and 704. Backward: 714, and 8 bytes more: 722.
  const auto simulate = [&](Recompute recompute) {
    return simulate_step({pair_of_ranks()}, star({{}, {}}), unit_model(), unit_profile(), with(recompute));
  };
  const Simulation none = simulate(Recompute::none);
  const Simulation selective = simulate(Recompute::selective);
  const Simulation full = simulate(Recompute::full);
  EXPECT_EQ(none.prediction.step_time.ns, 352 + 18);
  // Rank 0 repeats 100, rank 1 300: 652 + 10 + 8.
  EXPECT_EQ(selective.prediction.step_time.ns, 352 + 300 + 18);
  EXPECT_EQ(full.prediction.step_time.ns, 704 + 18);
  EXPECT_EQ(full.prediction.forward.ns, 352);
  EXPECT_EQ(full.ranks[0].exposed.ns, 252 + 252 + 8);

  EXPECT_EQ(none.prediction.bytes_by_level.node.count, 52 + 8);
  EXPECT_EQ(selective.prediction.bytes_by_level.node.count, 52 + 8);
  EXPECT_EQ(full.prediction.bytes_by_level.node.count, 52 + 52 + 8);
  for (const Simulation* simulation : {&none, &selective, &full}) {
    EXPECT_EQ(simulation->prediction.kv_bytes.count, 52);
    EXPECT_EQ(simulation->prediction.imbalance, none.prediction.imbalance);
    EXPECT_EQ(simulation->prediction.peak_memory, none.prediction.peak_memory);
  }
  EXPECT_EQ(none.instructions, 8);
  EXPECT_EQ(selective.instructions, 8 + 2);
  EXPECT_EQ(full.instructions, 8 + 4);
}

TEST(Recompute, TheTimelineHoldsEveryInstructionOnceUnderItsOwnKey) {
  const Simulation none =
      simulate_step({pair_of_ranks()}, star({{}, {}}), unit_model(3), unit_profile(), with(Recompute::none));
  const Simulation full =
      simulate_step({pair_of_ranks()}, star({{}, {}}), unit_model(3), unit_profile(), with(Recompute::full));
  ASSERT_EQ(full.timeline.events.size(), none.timeline.events.size());
  for (std::size_t i = 0; i < full.timeline.events.size(); ++i) {
    const TimelineEvent& a = none.timeline.events[i];
    const TimelineEvent& b = full.timeline.events[i];
    EXPECT_FALSE(key_less(a, b) || key_less(b, a)) << i;
    EXPECT_TRUE(b.pass == Pass::backward || a == b) << i;
  }
  // Layer 2 turns at 3 x 352; its backward begins when 352 have been repeated.
  EXPECT_EQ(times_of(full, 0, 0, Pass::backward, 2).posted, 4 * 352);
  EXPECT_EQ(times_of(full, 0, 0, Pass::backward, 1).posted, 5 * 352 + 18);
  EXPECT_EQ(full.timeline.makespan(), full.prediction.step_time);
}

TEST(Recompute, LayersThatAreLeftOutRepeatToo) {
  for (const Recompute recompute : {Recompute::selective, Recompute::full}) {
    SimulatorOptions options = with(recompute);
    options.free_events = 0;
    const Simulation fast = simulate_step({pair_of_ranks(), pair_of_ranks()}, star({{}, {}}), unit_model(40),
                                          unit_profile(), options);
    options.exact = true;
    const Simulation slow = simulate_step({pair_of_ranks(), pair_of_ranks()}, star({{}, {}}), unit_model(40),
                                          unit_profile(), options);
    EXPECT_LT(fast.simulated_layers, 40);
    EXPECT_EQ(slow.simulated_layers, 40);
    EXPECT_EQ(fast.prediction, slow.prediction);
    EXPECT_EQ(fast.ranks, slow.ranks);
  }
}

}  // namespace
}  // namespace strata
