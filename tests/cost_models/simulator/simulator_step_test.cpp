// SPDX-License-Identifier: Apache-2.0
// What simulate_step says about a whole step: layers that are not simulated, bytes and imbalance, bandwidth
// that doubles, equal results for equal inputs.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <random>

#include "core/program/timeline.hpp"
#include "tests/cost_models/simulator/programs.hpp"

namespace strata {
namespace {

/// However small the step is.
SimulatorOptions exactly(bool exact) {
  SimulatorOptions options;
  options.exact = exact;
  options.free_events = 0;
  return options;
}

TEST(SimulateStep, UnconnectedRanksExtrapolateExactly) {
  // The busiest rank changes between forward and backward: 40 layers x max(10 + 5, 5 + 12).
  auto programs = empty_programs(2);
  programs[0].forward = {compute(10)};
  programs[0].backward = {compute(5)};
  programs[1].forward = {compute(5)};
  programs[1].backward = {compute(12)};
  for (const bool exact : {false, true}) {
    const Simulation simulation =
        simulate_step({programs}, star({{}, {}}), unit_model(40), unit_profile(), exactly(exact));
    EXPECT_EQ(simulation.simulated_layers, exact ? 40 : 8);
    EXPECT_EQ(simulation.prediction.step_time.ns, 680);
    EXPECT_EQ(simulation.prediction.forward.ns, 200);
    EXPECT_EQ(simulation.prediction.backward.ns, 480);
    EXPECT_EQ(simulation.ranks[0].end.ns, 600);
    EXPECT_EQ(simulation.ranks[0].busy.ns, 600);
  }
}

TEST(SimulateStep, ARingInItsSteadyStateExtrapolatesExactly) {
  auto programs = empty_programs(3);
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    const std::int32_t right = (rank + 1) % 3, left = (rank + 2) % 3;
    programs[static_cast<std::size_t>(rank)].forward = {exchange(0, 0, {{right, 400}}, {{left, 400}}),
                                                        compute(100 + 50 * rank), compute(30, 1, {0})};
    programs[static_cast<std::size_t>(rank)].backward = {compute(70 * rank),
                                                         exchange(0, 0, {{left, 40}}, {{right, 40}}, {0})};
  }
  const Topology topology = star({{5, 1}, {5, 1}, {5, 1}});
  const Simulation fast = simulate_step({programs}, topology, unit_model(40), unit_profile(), exactly(false));
  const Simulation slow = simulate_step({programs}, topology, unit_model(40), unit_profile(), exactly(true));
  EXPECT_EQ(fast.prediction, slow.prediction);
  EXPECT_EQ(fast.ranks, slow.ranks);
  EXPECT_EQ(slow.instructions, 5 * fast.instructions);
}

TEST(SimulateStep, LayersThatRepeatAreCountedToTheEndOfTheFirstPassAtMost) {
  // Rank 0 is in backward while rank 1 is in forward, and every layer of both takes 20 ns.
  auto programs = empty_programs(2);
  programs[0].forward = {compute(10)};
  programs[0].backward = {compute(20)};
  programs[1].forward = {compute(20)};
  programs[1].backward = {compute(10)};
  for (const bool plain : {false, true}) {
    SimulatorOptions options = exactly(true);
    options.record = false;
    options.plain = plain;
    const Simulation simulation =
        simulate_step({programs}, star({{}, {}}), unit_model(40), unit_profile(), options);
    EXPECT_EQ(simulation.ranks[0].end.ns, 1200);
    EXPECT_EQ(simulation.ranks[0].forward.ns, 400);
    EXPECT_EQ(simulation.ranks[1].end.ns, 1200);
    EXPECT_EQ(simulation.ranks[1].forward.ns, 800);
  }
}

TEST(SimulateStep, ARankWithNothingToDoLeavesLayersCountedThatRepeat) {
  for (const std::int32_t ranks : {2, 3}) {  // the third has nothing to do
    auto programs = empty_programs(ranks);
    for (std::int32_t rank = 0; rank < 2; ++rank) {
      auto& program = programs[static_cast<std::size_t>(rank)];
      program.forward = {exchange(0, 0, {{1 - rank, 400}}, {{1 - rank, 400}}), compute(30, 1, {0})};
      program.backward = program.forward;
    }
    SimulatorOptions options = exactly(true);
    options.record = false;
    const Topology topology = ranks == 2 ? star({{5, 1}, {5, 1}}) : star({{5, 1}, {5, 1}, {5, 1}});
    const Simulation quick = simulate_step({programs}, topology, unit_model(64), unit_profile(), options);
    options.plain = true;
    const Simulation plain = simulate_step({programs}, topology, unit_model(64), unit_profile(), options);
    EXPECT_EQ(quick.ranks, plain.ranks) << ranks;
    EXPECT_LT(quick.work.events, plain.work.events / 4) << ranks;
  }
}

TEST(SimulateStep, AFewLayersOrAFewEventsAreSimulatedInFull) {
  auto programs = empty_programs(1);
  programs[0].forward = {compute(10)};
  const auto events = [&](std::int32_t layers, std::int64_t free_events) {
    SimulatorOptions options;
    options.free_events = free_events;
    return simulate_step({programs}, star({{}}), unit_model(layers), unit_profile(), options)
        .timeline.events.size();
  };
  EXPECT_EQ(events(15, 0), 15U);
  EXPECT_EQ(events(16, 0), 8U);
  EXPECT_EQ(events(16, 15), 8U);
  EXPECT_EQ(events(16, 16), 16U);
  EXPECT_EQ(events(1000, kFreeEvents), 1000U);
  SimulatorOptions two;
  two.layers = 2;
  EXPECT_EQ(simulate_step({programs}, star({{}}), unit_model(5), unit_profile(), two).prediction.step_time.ns,
            20);
  SimulatorOptions silent;
  silent.record = false;
  EXPECT_TRUE(
      simulate_step({programs}, star({{}}), unit_model(5), unit_profile(), silent).timeline.events.empty());
}

TEST(SimulateStep, RanksThatDriftApartAreSimulatedInFullAsLongAsThatCanBeDone) {
  // Both share one unit and never wait for each other: rank 0 is through while rank 1 still has more than
  // half to do. All work is 10 + 20 + 37 + 50 = 117 a layer.
  auto programs = empty_programs(2);
  programs[0].forward = {compute(10)};
  programs[0].backward = {compute(20)};
  programs[1].forward = {compute(37)};
  programs[1].backward = {compute(50)};
  const auto simulate = [&](const SimulatorOptions& options) {
    return simulate_step({programs}, shared_device(2, 1), unit_model(1000), unit_profile(), options);
  };
  const Simulation full = simulate(exactly(true));
  EXPECT_EQ(full.prediction.step_time.ns, 117'000);
  const Simulation affordable = simulate(exactly(false));
  EXPECT_EQ(affordable.simulated_layers, 1000);
  EXPECT_TRUE(affordable.settled);
  EXPECT_EQ(affordable.ranks, full.ranks);
  SimulatorOptions few = exactly(false);
  few.most_events = 3999;  // four instructions, a thousand layers
  const Simulation dear = simulate(few);
  EXPECT_EQ(dear.simulated_layers, 16);
  EXPECT_FALSE(dear.settled);
  for (std::size_t rank = 0; rank < 2; ++rank) {
    const auto expected = static_cast<double>(full.ranks[rank].end.ns);
    EXPECT_NEAR(static_cast<double>(dear.ranks[rank].end.ns), expected, 0.02 * expected);
    EXPECT_LE(dear.ranks[rank].end, dear.prediction.step_time);
  }
  EXPECT_EQ(dear.prediction.forward + dear.prediction.backward, dear.prediction.step_time);
}

TEST(SimulateStep, EventsAreSortedByTheirKeyAndTheLastOneIsTheMakespan) {
  auto programs = empty_programs(3);
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    programs[static_cast<std::size_t>(rank)].forward = {compute(10 * (3 - rank)), compute(3)};
    programs[static_cast<std::size_t>(rank)].backward = {compute(5)};
  }
  const Simulation simulation =
      simulate_step({programs, programs}, star({{}, {}, {}}), unit_model(2), unit_profile());
  const auto& events = simulation.timeline.events;
  EXPECT_EQ(events.size(), 2U * 2 * 3 * 3);
  EXPECT_EQ(simulation.instructions, 36);
  for (std::size_t i = 1; i < events.size(); ++i) EXPECT_TRUE(key_less(events[i - 1], events[i]));
  EXPECT_EQ(simulation.timeline.makespan(), simulation.prediction.step_time);
  EXPECT_EQ(simulation.timeline.source, "simulator");
  EXPECT_EQ(simulation.timeline.device_count, 3);
  EXPECT_EQ(simulation.timeline.rank_count, 3);
}

TEST(SimulateStep, BytesAreCountedByLevelForAllLayersAndPasses) {
  // Two hosts of two ranks. Forward: 0 -> 1 (same device) 8 bytes, 0 -> 2 (network) 40; backward: 3 -> 2 12.
  auto programs = empty_programs(4);
  programs[0].forward = {exchange(0, 0, {{1, 8}, {2, 40}}, {})};
  programs[1].forward = {exchange(0, 0, {}, {{0, 8}})};
  programs[2].forward = {exchange(0, 0, {}, {{0, 40}})};
  programs[3].backward = {exchange(0, 0, {{2, 12}}, {})};
  programs[2].backward = {exchange(0, 0, {}, {{3, 12}})};
  const Simulation simulation =
      simulate_step({programs, programs}, named_topology("cpu:2x2"), unit_model(10), unit_profile());
  EXPECT_EQ(simulation.prediction.bytes_by_level.device.count, 2 * 10 * (8 + 12));
  EXPECT_EQ(simulation.prediction.bytes_by_level.node.count, 0);
  EXPECT_EQ(simulation.prediction.bytes_by_level.network.count, 2 * 10 * 40);
  EXPECT_EQ(simulation.prediction.kv_bytes.count, 2 * 48);
  EXPECT_EQ(event_of(simulation, 0, 0).bytes, 48);
  EXPECT_EQ(event_of(simulation, 1, 0).bytes, 0);
}

TEST(SimulateStep, DoublingAllBandwidthsHalvesPureTransferTime) {
  auto programs = empty_programs(4);
  for (std::int32_t rank = 0; rank < 4; ++rank) {
    std::vector<PeerBytes> sends, receives;
    for (std::int32_t peer = 0; peer < 4; ++peer) {
      if (peer == rank) continue;
      sends.push_back({peer, 1000 * (1 + rank) + 100 * peer});
      receives.push_back({rank == peer ? 0 : peer, 1000 * (1 + peer) + 100 * rank});
    }
    programs[static_cast<std::size_t>(rank)].forward = {exchange(0, 0, sends, receives)};
  }
  const auto step = [&](double bytes_per_ns) {
    const Cable cable{0, bytes_per_ns};
    return simulate_forward(programs, star({cable, cable, cable, cable})).prediction.step_time.ns;
  };
  // The fullest cable: 1300 + 2300 + 3300 + ... out of rank 3: 4000 x 3 + 100 x (0 + 1 + 2) = 12300 bytes.
  EXPECT_EQ(step(0.001), 12'300'000);
  EXPECT_EQ(step(0.002), 6'150'000);
  EXPECT_EQ(step(0.004), 3'075'000);
}

TEST(SimulateStep, ImbalanceIsTheLargestShareOfThePairsOverTheMean) {
  auto programs = empty_programs(2);
  for (std::int32_t rank = 0; rank < 2; ++rank) {
    Attention launch;
    AttentionBlock block;
    block.query_count = 1 + 2 * rank;
    block.key_count = 5;
    block.heads = {0, 1};
    block.lo = -kUnbounded;
    block.hi = kUnbounded;
    launch.queries = {{0, 0, 0}};
    launch.keys = {{1, -1}};
    launch.blocks = {block};
    programs[static_cast<std::size_t>(rank)].forward = {{launch, kComputeStream, {}}};
  }
  const Simulation simulation = simulate_forward(programs, star({{}, {}}));
  EXPECT_EQ(simulation.ranks[0].pairs, 5);
  EXPECT_EQ(simulation.ranks[1].pairs, 15);
  EXPECT_EQ(simulation.prediction.imbalance, 1.5);
  EXPECT_EQ(simulation.prediction.step_time.ns, 15);
  EXPECT_EQ(simulation.extrapolated_share, 0);
  EXPECT_FALSE(simulation.measured);
}

TEST(SimulateStep, ExtrapolatedShareCountsTimeOutsideTheTables) {
  auto programs = empty_programs(1);
  Attention launch;
  AttentionBlock block;
  block.query_count = 30;
  block.key_count = 1;
  block.heads = {0, 1};
  block.lo = -kUnbounded;
  block.hi = kUnbounded;
  launch.queries = {{0, 0, 0}};
  launch.keys = {{1, -1}};
  launch.blocks = {block};
  programs[0].forward = {{launch, kComputeStream, {}}, compute(10)};
  CostProfile profile = unit_profile();
  profile.attention[0].full.query_lengths = {1, 20};
  EXPECT_EQ(simulate_forward(programs, star({{}}), profile).extrapolated_share, 0.75);
}

/// Random exchanges among neighbours and random compute on a machine with shared devices and links.
std::vector<RankProgram> random_programs(std::uint32_t seed, std::int32_t ranks) {
  std::mt19937 random(seed);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  auto programs = empty_programs(ranks);
  for (std::int32_t step = 0; step < 4; ++step) {
    std::vector<std::vector<PeerBytes>> sends(static_cast<std::size_t>(ranks)), receives = sends;
    for (std::int32_t a = 0; a < ranks; ++a) {
      for (std::int32_t b = 0; b < ranks; ++b) {
        if (a == b || pick(0, 2) > 0) continue;
        const std::int64_t bytes = 4 * pick(1, 2000);
        sends[static_cast<std::size_t>(a)].push_back({b, bytes});
        receives[static_cast<std::size_t>(b)].push_back({a, bytes});
      }
    }
    for (std::size_t r = 0; r < programs.size(); ++r) {
      if (!sends[r].empty() || !receives[r].empty()) {
        programs[r].forward.push_back(exchange(step, step % 2, sends[r], receives[r]));
      }
      programs[r].forward.push_back(compute(pick(0, 3000), pick(1, 4)));
    }
  }
  return programs;
}

TEST(SimulateStep, EqualInputsGiveEqualResults) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    const auto programs = random_programs(seed, 6);
    const Topology topology = named_topology("cpu:3x2:1");
    const Simulation first = simulate_step({programs}, topology, unit_model(2), unit_profile());
    const Simulation second = simulate_step({programs}, topology, unit_model(2), unit_profile());
    EXPECT_EQ(first.timeline, second.timeline);
    EXPECT_EQ(first.prediction, second.prediction);
  }
}

TEST(SimulateStep, EveryEventRespectsItsDependenciesAndItsOwnTime) {
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    const auto programs = random_programs(seed, 5);
    const Simulation simulation = simulate_step({programs}, star({{3, 1}, {7, 2}, {1, 1}, {0, 4}, {9, 0.5}}),
                                                unit_model(1), unit_profile());
    for (const TimelineEvent& event : simulation.timeline.events) {
      EXPECT_LE(event.posted_ns, event.matched_ns);
      EXPECT_LE(event.matched_ns, event.end_ns);
      const auto& instructions = programs[static_cast<std::size_t>(event.rank)].forward;
      for (std::int32_t earlier = 0; earlier < event.instruction; ++earlier) {
        if (instructions[static_cast<std::size_t>(earlier)].stream ==
            instructions[static_cast<std::size_t>(event.instruction)].stream) {
          EXPECT_GE(event.posted_ns, event_of(simulation, event.rank, earlier).end_ns);
        }
      }
    }
  }
}

}  // namespace
}  // namespace strata
