// SPDX-License-Identifier: Apache-2.0
// What is shared, solved by hand to the nanosecond: links between flows, cores and memory bandwidth between
// the ranks of a device, execution units between compute and communication.
#include <gtest/gtest.h>

#include "core/base/check.hpp"
#include "tests/cost_models/simulator/programs.hpp"

namespace strata {
namespace {

/// Ranks 0 .. n-1 each send bytes[i] to rank n.
std::vector<RankProgram> everyone_to_last(const std::vector<std::int64_t>& bytes) {
  const auto senders = static_cast<std::int32_t>(bytes.size());
  auto programs = empty_programs(senders + 1);
  std::vector<PeerBytes> receives;
  for (std::int32_t rank = 0; rank < senders; ++rank) {
    const std::int64_t count = bytes[static_cast<std::size_t>(rank)];
    programs[static_cast<std::size_t>(rank)].forward = {exchange(0, 0, {{senders, count}}, {})};
    receives.push_back({rank, count});
  }
  programs.back().forward = {exchange(0, 0, {}, receives)};
  return programs;
}

TEST(SimulatorSharing, TwoFlowsShareALinkAndTheSurvivorGetsAllOfIt) {
  // Half each until the 1000 are through at 2000; then 3000 - 1000 = 2000 left at full speed: 4000.
  const Simulation simulation = simulate_forward(everyone_to_last({1000, 3000}), star({{}, {}, {}}));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 2000}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 4000}));
  EXPECT_EQ(times_of(simulation, 2, 0), (Times{0, 0, 4000}));
}

TEST(SimulatorSharing, FlowsOfDifferentLatencyShareOnlyWhileBothMove) {
  // Latencies 100 and 300. Flow 0 is alone from 100 to 300 (200 of 1000 bytes), shares until it ends: 800 /
  // 0.5 = 1600 -> 1900. Flow 1 has moved 800 of 1000 then; 200 left: 2100.
  const Simulation simulation =
      simulate_forward(everyone_to_last({1000, 1000}), star({{100, 1}, {300, 1}, {0, 1}}));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 1900}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 2100}));
}

TEST(SimulatorSharing, ASlowCableLeavesItsShareToOthers) {
  // Cables of 1/4, 4 and, into the target, 1: flow 0 gets 1/4, flow 1 the remaining 3/4. 300 bytes each: flow
  // 1 ends at 400; flow 0 stays at 1/4: 1200.
  const Simulation simulation =
      simulate_forward(everyone_to_last({300, 300}), star({{0, 0.25}, {0, 4}, {0, 1}}));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 1200}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 400}));
}

TEST(SimulatorSharing, APairsFlowIsCapped) {
  // Cables of 4 bytes/ns, but one pair gets 1: two senders do not disturb each other. 500 and 800 bytes.
  CostProfile profile = unit_profile();
  profile.exchange.peer_bytes_per_second = 1e9;
  const Topology fast = star({{0, 4}, {0, 4}, {0, 4}});
  const Simulation capped = simulate_forward(everyone_to_last({500, 800}), fast, profile);
  EXPECT_EQ(times_of(capped, 0, 0), (Times{0, 0, 500}));
  EXPECT_EQ(times_of(capped, 1, 0), (Times{0, 0, 800}));
  // Without a cap 2 each: 500 / 2 = 250, then 800 - 500 = 300 at 4: 325.
  const Simulation free = simulate_forward(everyone_to_last({500, 800}), fast);
  EXPECT_EQ(times_of(free, 0, 0), (Times{0, 0, 250}));
  EXPECT_EQ(times_of(free, 1, 0), (Times{0, 0, 325}));
}

std::vector<RankProgram> computing(const std::vector<double>& work, std::int64_t items) {
  auto programs = empty_programs(static_cast<std::int32_t>(work.size()));
  for (std::size_t rank = 0; rank < work.size(); ++rank)
    programs[rank].forward = {compute(work[rank], items)};
  return programs;
}

TEST(SimulatorSharing, TwoRanksShareOneCore) {
  // Half a core each: 100 are done at 200, then 300 - 100 = 200 at full speed: 400.
  const Simulation simulation = simulate_forward(computing({100, 300}, 1), shared_device(2, 1));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 200}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 400}));
}

TEST(SimulatorSharing, ThreeRanksShareTwoCores) {
  // 2/3 of a core each: 300 are done at 450; the others have 300 left and a core each: 750.
  const Simulation simulation = simulate_forward(computing({300, 600, 600}, 2), shared_device(3, 2));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 450}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 750}));
  EXPECT_EQ(times_of(simulation, 2, 0), (Times{0, 0, 750}));
}

TEST(SimulatorSharing, AnInstructionCannotUseMoreCoresThanItHasPieces) {
  // Four cores, 600 each: one piece runs on 1 core (600), eight pieces on the 3 others (200).
  auto programs = empty_programs(2);
  programs[0].forward = {compute(600, 1)};
  programs[1].forward = {compute(600, 8)};
  const Simulation simulation = simulate_forward(programs, shared_device(2, 4));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 600}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 200}));
  // Alone, eight pieces take all four cores: 150.
  programs[0].forward.clear();
  EXPECT_EQ(times_of(simulate_forward(programs, shared_device(2, 4)), 1, 0), (Times{0, 0, 150}));
}

TEST(SimulatorSharing, CopiesShareMemoryBandwidthAndLeaveTheCores) {
  // Four cores, memory 1 byte/ns. Two copies of 500 bytes (1000 read and written each): half each, 2000. The
  // compute beside them has a core of its own: 700.
  CostProfile profile = unit_profile();
  profile.memory_bytes_per_second = 1e9;
  auto programs = empty_programs(3);
  programs[0].forward = {copy(500)};
  programs[1].forward = {copy(500)};
  programs[2].forward = {compute(700)};
  const Simulation simulation = simulate_forward(programs, shared_device(3, 4), profile);
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 2000}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 2000}));
  EXPECT_EQ(times_of(simulation, 2, 0), (Times{0, 0, 700}));
}

TEST(SimulatorSharing, ATransferInsideADeviceIsACopyOnItsCores) {
  // One core. 300 bytes from rank 0 to rank 1 are 600 ns of copying, shared half and half with rank 2's
  // compute of 400: compute ends at 800; the copy has 200 left: 1000. Bytes count for level device.
  auto programs = empty_programs(3);
  programs[0].forward = {exchange(0, 0, {{1, 300}}, {})};
  programs[1].forward = {exchange(0, 0, {}, {{0, 300}})};
  programs[2].forward = {compute(400)};
  const Simulation simulation = simulate_forward(programs, shared_device(3, 1));
  EXPECT_EQ(times_of(simulation, 2, 0), (Times{0, 0, 800}));
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 1000}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 1000}));
  EXPECT_EQ(simulation.prediction.bytes_by_level.device.count, 300);
  EXPECT_EQ(simulation.prediction.bytes_by_level.total().count, 300);
}

TEST(SimulatorSharing, AnExchangeHoldsItsUnitsFromPostingToEnd) {
  // A quarter of the device communicates. Rank 0 posts at 0, the peer at 400, 100 bytes: held until 500,
  // waiting included. Rank 0's compute of 1000 has done 375 by then: 500 + 625 = 1125. The peer computes 400
  // unhindered, then nothing.
  CostProfile profile = unit_profile();
  profile.exchange.communication_units = 0.25;
  auto programs = empty_programs(2);
  programs[0].forward = {exchange(0, 0, {{1, 100}}, {}), compute(1000)};
  programs[1].forward = {compute(400), exchange(0, 0, {}, {{0, 100}}, {0})};
  const Simulation simulation = simulate_forward(programs, star({{}, {}}), profile);
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 400, 500}));
  EXPECT_EQ(times_of(simulation, 0, 1), (Times{0, 0, 1125}));
}

TEST(SimulatorSharing, CommunicationNeverTakesMoreThanHalfADevice) {
  // Three lanes of a quarter each would leave a quarter; half stays: 200 / 0.5 while the exchanges (2000)
  // run.
  CostProfile profile = unit_profile();
  profile.exchange.communication_units = 0.25;
  auto programs = empty_programs(2);
  for (std::int32_t lane = 0; lane < 3; ++lane) {
    programs[0].forward.push_back(exchange(0, lane, {{1, 2000}}, {}));
    programs[1].forward.push_back(exchange(0, lane, {}, {{0, 2000}}));
  }
  programs[0].forward.push_back(compute(200));
  const Simulation simulation = simulate_forward(programs, star({{}, {}}), profile);
  EXPECT_EQ(times_of(simulation, 0, 3), (Times{0, 0, 400}));
}

TEST(SimulatorSharing, ASlowDeviceComputesSlowlyAndCopiesAsFast) {
  Topology topology = star({{}});
  topology.devices[0].relative_speed = 0.5;
  auto programs = empty_programs(1);
  programs[0].forward = {compute(100), copy(52)};
  const Simulation simulation = simulate_forward(programs, topology);
  EXPECT_EQ(times_of(simulation, 0, 0), (Times{0, 0, 200}));
  EXPECT_EQ(times_of(simulation, 0, 1), (Times{200, 200, 304}));
}

TEST(SimulatorSharing, CopiesTooLongToBeAddedUpAreRefused) {
  CostProfile profile = unit_profile();
  profile.copy.bytes_per_second = 1e-12;
  EXPECT_THROW(simulate_forward(everyone_to_last({100, 100, 100, 100, 100}), shared_device(6, 1), profile),
               InputError);
}

TEST(SimulatorSharing, ThreeFlowsOverTwoLinksAreMaxMinFair) {
  // Rank 0 sends to 1 and 2, rank 3 to 2; cables of 1. Rank 0's cable and rank 2's are full: all three at
  // 1/2. Rank 3's 100 bytes end at 200; then 0 -> 2 could use all of rank 2's cable but shares rank 0's: 1/2
  // still. 0 -> 1 (200 bytes) and 0 -> 2 (400): 0 -> 1 ends at 400; 0 -> 2 has 200 left: 600.
  auto programs = empty_programs(4);
  programs[0].forward = {exchange(0, 0, {{1, 200}, {2, 400}}, {})};
  programs[1].forward = {exchange(0, 0, {}, {{0, 200}})};
  programs[2].forward = {exchange(0, 0, {}, {{0, 400}, {3, 100}})};
  programs[3].forward = {exchange(0, 0, {{2, 100}}, {})};
  const Simulation simulation = simulate_forward(programs, star({{}, {}, {}, {}}));
  EXPECT_EQ(times_of(simulation, 3, 0), (Times{0, 0, 200}));
  EXPECT_EQ(times_of(simulation, 1, 0), (Times{0, 0, 400}));
  EXPECT_EQ(times_of(simulation, 2, 0), (Times{0, 0, 600}));
}

}  // namespace
}  // namespace strata
