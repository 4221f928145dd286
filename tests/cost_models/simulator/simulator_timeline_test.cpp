// SPDX-License-Identifier: Apache-2.0
// Timelines solved by hand, to the nanosecond: streams, dependencies, rendezvous, lanes, rings, layers. The
// arithmetic stands beside every expectation; programs.hpp has the units (1 byte, FLOP or pair per ns).
#include <gtest/gtest.h>

#include "core/base/check.hpp"
#include "tests/cost_models/simulator/programs.hpp"

namespace strata {
namespace {

TEST(SimulatorTimeline, InstructionsOfOneStreamFollowEachOther) {
  auto programs = empty_programs(1);
  programs[0].forward = {compute(100), compute(50), compute(7)};
  const Simulation simulation = simulate_forward(programs, star({{}}));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 100}));
  EXPECT_EQ(times_of(simulation, 0, 1), (Times{100, 100, 150}));
  EXPECT_EQ(times_of(simulation, 0, 2), (Times{150, 150, 157}));
  EXPECT_EQ(simulation.prediction.step_time.ns, 157);
}

TEST(SimulatorTimeline, AnInstructionWaitsForOthersOfOtherStreams) {
  // Two cores. The copy on stream 1 (2 x 40 bytes at 1 byte/ns = 80) runs beside compute 0 (100). Compute 1
  // waits for both: max(80, 100) = 100. The second copy waits for compute 0 only: 100 to 100 + 2 x 8 = 116.
  auto programs = empty_programs(1);
  programs[0].forward = {compute(100), copy(40, 1), compute(50, 1, {1}), copy(8, 1, {0})};
  const Simulation simulation = simulate_forward(programs, star({{}}, 2));
  EXPECT_EQ(times_of(simulation, 0, 1), (Times{0, 0, 80}));
  EXPECT_EQ(times_of(simulation, 0, 2), (Times{100, 100, 150}));
  EXPECT_EQ(times_of(simulation, 0, 3), (Times{100, 100, 116}));
}

TEST(SimulatorTimeline, ATransferWaitsForTheLaterEnd) {
  // Rank 1 computes for 300 first. Both ends are issued 12 + 1 x 4 ns after posting: rank 0 at 16, rank 1 at
  // 316. Then two hops of 25 ns latency and 1000 bytes: 316 + 50 + 1000 = 1366.
  CostProfile profile = unit_profile();
  profile.exchange.launch_ns = 12;
  profile.exchange.part_ns = 4;
  auto programs = empty_programs(2);
  programs[0].forward = {exchange(0, 0, {{1, 1000}}, {})};
  programs[1].forward = {compute(300), exchange(0, 0, {}, {{0, 1000}}, {0})};
  const Simulation simulation = simulate_forward(programs, star({{25, 1}, {25, 1}}), profile);
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 300, 1366}));
  EXPECT_EQ(times_of(simulation, 1, 1), (Times{300, 300, 1366}));
}

TEST(SimulatorTimeline, AnExchangeIsMatchedWhenItsLastPeerHasPosted) {
  // Rank 0 sends 100 bytes to rank 1 (ready at 0) and 100 to rank 2 (ready at 250). The flow to 1 ends at
  // 100; rank 1 is done then, rank 0 only when the flow to 2 ends: 250 + 100.
  auto programs = empty_programs(3);
  programs[0].forward = {exchange(0, 0, {{1, 100}, {2, 100}}, {})};
  programs[1].forward = {exchange(0, 0, {}, {{0, 100}})};
  programs[2].forward = {compute(250), exchange(0, 0, {}, {{0, 100}}, {0})};
  const Simulation simulation = simulate_forward(programs, star({{}, {}, {}}));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 250, 350}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 100}));
  EXPECT_EQ(times_of(simulation, 2, 1), (Times{250, 250, 350}));
}

TEST(SimulatorTimeline, BothDirectionsOfAPairRunAtOnce) {
  // Full duplex: 400 and 600 bytes in opposite directions; both ranks are done when the longer one is.
  auto programs = empty_programs(2);
  programs[0].forward = {exchange(0, 0, {{1, 400}}, {{1, 600}})};
  programs[1].forward = {exchange(0, 0, {{0, 600}}, {{0, 400}})};
  const Simulation simulation = simulate_forward(programs, star({{}, {}}));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 600}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 600}));
}

TEST(SimulatorTimeline, OneLaneIsSerialTwoLanesShareTheLink) {
  auto programs = empty_programs(2);
  programs[0].forward = {exchange(0, 0, {{1, 400}}, {}), exchange(1, 0, {{1, 800}}, {})};
  programs[1].forward = {exchange(0, 0, {}, {{0, 400}}), exchange(1, 0, {}, {{0, 800}})};
  // One lane: 0 to 400, then 400 to 1200.
  const Simulation serial = simulate_forward(programs, star({{}, {}}));
  EXPECT_EQ(times_of(serial, 1, 0), (Times{0, 0, 400}));
  EXPECT_EQ(times_of(serial, 1, 1), (Times{400, 400, 1200}));
  // Two lanes: half the link each; 400 bytes take 800, by then 400 of the other's 800 are left: 800 + 400.
  programs[0].forward = {exchange(0, 0, {{1, 400}}, {}), exchange(0, 1, {{1, 800}}, {})};
  programs[1].forward = {exchange(0, 0, {}, {{0, 400}}), exchange(0, 1, {}, {{0, 800}})};
  const Simulation parallel = simulate_forward(programs, star({{}, {}}));
  EXPECT_EQ(times_of(parallel, 1, 0), (Times{0, 0, 800}));
  EXPECT_EQ(times_of(parallel, 1, 1), (Times{0, 0, 1200}));
}

/// Three ranks; every step sends `bytes` to the right and computes `work` on what is in hand.
std::vector<RankProgram> ring_of_three(std::int64_t bytes, double work) {
  auto programs = empty_programs(3);
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    const std::int32_t right = (rank + 1) % 3, left = (rank + 2) % 3;
    programs[static_cast<std::size_t>(rank)].forward = {
        exchange(0, 0, {{right, bytes}}, {{left, bytes}}), compute(work),
        exchange(1, 0, {{right, bytes}}, {{left, bytes}}, {1}), compute(work, 1, {0}), compute(work, 1, {2})};
  }
  return programs;
}

TEST(SimulatorTimeline, ARingOfThreeHidesShortTransfersAndShowsLongOnes) {
  // Short: 400 + 2 x 10 latency = 420 < 1000. Step 1's exchange waits for the first compute (slot reuse):
  // 1000 to 1420; computes at 0, 1000, 2000. Nothing is exposed.
  const Simulation hidden = simulate_forward(ring_of_three(400, 1000), star({{10, 1}, {10, 1}, {10, 1}}));
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(times_of(hidden, rank, 0), (Times{0, 0, 420}));
    EXPECT_EQ(times_of(hidden, rank, 2), (Times{1000, 1000, 1420}));
    EXPECT_EQ(times_of(hidden, rank, 4), (Times{2000, 2000, 3000}));
    EXPECT_EQ(hidden.ranks[static_cast<std::size_t>(rank)].exposed.ns, 0);
    EXPECT_EQ(hidden.ranks[static_cast<std::size_t>(rank)].busy.ns, 3000);
  }
  // Long: 1480 + 20 = 1500. Exchange 0: 0 to 1500; exchange 1: 1500 to 3000; computes 0-1000, 1500-2500,
  // 3000-4000. Exposed: 1000-1500 and 2500-3000.
  const Simulation shown = simulate_forward(ring_of_three(1480, 1000), star({{10, 1}, {10, 1}, {10, 1}}));
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(times_of(shown, rank, 0), (Times{0, 0, 1500}));
    EXPECT_EQ(times_of(shown, rank, 2), (Times{1500, 1500, 3000}));
    EXPECT_EQ(times_of(shown, rank, 3), (Times{1500, 1500, 2500}));
    EXPECT_EQ(times_of(shown, rank, 4), (Times{3000, 3000, 4000}));
    EXPECT_EQ(shown.ranks[static_cast<std::size_t>(rank)].exposed.ns, 1000);
  }
}

TEST(SimulatorTimeline, AllGatherOfThreeSharesEveryRanksCable) {
  // Every cable carries two flows out and two in, 500 bytes each at half a byte per ns: 1000, plus 2 x 5
  // latency.
  auto programs = empty_programs(3);
  for (std::int32_t rank = 0; rank < 3; ++rank) {
    const std::int32_t a = (rank + 1) % 3, b = (rank + 2) % 3;
    Collective gather;
    gather.kind = CollectiveKind::all_gather;
    gather.exchange = make_exchange(0, 0, {{a, 500}, {b, 500}}, {{a, 500}, {b, 500}});
    programs[static_cast<std::size_t>(rank)].forward = {{gather, lane_stream(0), {}}};
  }
  const Simulation simulation = simulate_forward(programs, star({{5, 1}, {5, 1}, {5, 1}}));
  for (std::int32_t rank = 0; rank < 3; ++rank) EXPECT_EQ(times_of(simulation, rank, 0), (Times{0, 0, 1010}));
}

TEST(SimulatorTimeline, LayersRunForwardThenBackwardThenTheNextWave) {
  // Two layers, two waves of forward 100 and backward 200: F0 F1 B1 B0, then the second wave of 10 and 20.
  auto first = empty_programs(1), second = empty_programs(1);
  first[0].forward = {compute(100)};
  first[0].backward = {compute(200)};
  second[0].forward = {compute(10)};
  second[0].backward = {compute(20)};
  const Simulation simulation = simulate_step({first, second}, star({{}}), unit_model(2), unit_profile());
  EXPECT_EQ(times_of(simulation, 0, 0, Pass::forward, 0), (Times{0, 0, 100}));
  EXPECT_EQ(times_of(simulation, 0, 0, Pass::forward, 1), (Times{100, 100, 200}));
  EXPECT_EQ(times_of(simulation, 0, 0, Pass::backward, 1), (Times{200, 200, 400}));
  EXPECT_EQ(times_of(simulation, 0, 0, Pass::backward, 0), (Times{400, 400, 600}));
  EXPECT_EQ(times_of(simulation, 0, 0, Pass::forward, 0, 1), (Times{600, 600, 610}));
  EXPECT_EQ(times_of(simulation, 0, 0, Pass::backward, 0, 1), (Times{640, 640, 660}));
  EXPECT_EQ(simulation.prediction.step_time.ns, 660);
  EXPECT_EQ(simulation.prediction.forward.ns, 220);
  EXPECT_EQ(simulation.prediction.backward.ns, 440);
}

TEST(SimulatorTimeline, RanksDriftApartUntilTheyMeet) {
  // Rank 0's layer is 100 of compute, rank 1's 300; each layer then exchanges 52 bytes. Layer 0 meets at 300
  // and ends at 352; rank 0 waits again from 452 to 652, when rank 1 posts: layer 1 ends at 704.
  auto programs = empty_programs(2);
  programs[0].forward = {compute(100), exchange(0, 0, {{1, 52}}, {}, {0})};
  programs[1].forward = {compute(300), exchange(0, 0, {}, {{0, 52}}, {0})};
  const Simulation simulation = simulate_step({programs}, star({{}, {}}), unit_model(2), unit_profile());
  EXPECT_EQ(times_of(simulation, 0, 1, Pass::forward, 0), (Times{100, 300, 352}));
  EXPECT_EQ(times_of(simulation, 0, 1, Pass::forward, 1), (Times{452, 652, 704}));
  EXPECT_EQ(times_of(simulation, 1, 0, Pass::forward, 1), (Times{352, 352, 652}));
  // Rank 0: busy 2 x 100; exposed 100-352 and 452-704.
  EXPECT_EQ(simulation.ranks[0].busy.ns, 200);
  EXPECT_EQ(simulation.ranks[0].exposed.ns, 504);
}

TEST(SimulatorTimeline, ARankWithoutWorkDoesNotHoldOthersUp) {
  auto programs = empty_programs(2);
  programs[0].forward = {compute(40)};
  const Simulation simulation =
      simulate_step({programs, programs}, star({{}, {}}), unit_model(3), unit_profile());
  EXPECT_EQ(simulation.ranks[0].end.ns, 2 * 3 * 40);
  EXPECT_EQ(simulation.ranks[1].end.ns, 0);
}

TEST(SimulatorTimeline, AnExchangeOfNothingTakesItsIssueTime) {
  CostProfile profile = unit_profile();
  profile.exchange.launch_ns = 70;
  auto programs = empty_programs(2);
  programs[0].forward = {exchange(0, 0, {{1, 0}}, {}), compute(5, 1, {0})};
  programs[1].forward = {compute(30), exchange(0, 0, {}, {{0, 0}}, {0})};
  // Rank 0 is issued at 70 and matched at 30; rank 1 is issued at 30 + 70.
  const Simulation simulation = simulate_forward(programs, star({{}, {}}), profile);
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 30, 70}));
  EXPECT_EQ(times_of(simulation, 0, 1), (Times{70, 70, 75}));
  EXPECT_EQ(times_of(simulation, 1, 1), (Times{30, 30, 100}));
}

TEST(SimulatorTimeline, ExchangesThatWaitForEachOtherAreABug) {
  auto programs = empty_programs(2);
  programs[0].forward = {exchange(0, 0, {{1, 4}}, {}), exchange(1, 0, {{1, 4}}, {})};
  programs[1].forward = {exchange(1, 0, {}, {{0, 4}}), exchange(0, 0, {}, {{0, 4}})};
  EXPECT_THROW(simulate_forward(programs, star({{}, {}})), InternalError);
}

TEST(SimulatorTimeline, AnExchangeWithoutPartnerOrWithOtherBytesIsABug) {
  auto programs = empty_programs(2);
  programs[0].forward = {exchange(0, 0, {{1, 4}}, {})};
  EXPECT_THROW(simulate_forward(programs, star({{}, {}})), InternalError);
  programs[1].forward = {exchange(0, 0, {}, {{0, 8}})};
  EXPECT_THROW(simulate_forward(programs, star({{}, {}})), InternalError);
  programs[1].forward = {exchange(0, 0, {}, {{0, 4}})};
  EXPECT_NO_THROW(simulate_forward(programs, star({{}, {}})));
}

}  // namespace
}  // namespace strata
