// SPDX-License-Identifier: Apache-2.0
// Bytes and times of every kind of instruction that is not attention, worked out by hand.
#include "cost_models/cost/instruction_cost.hpp"

#include <gtest/gtest.h>

#include "core/problem/route_table.hpp"
#include "cost_models/cost/transfer_cost.hpp"
#include "tests/cost_models/simulator/programs.hpp"

namespace strata {
namespace {

Buffer buffer(BufferRole role, ElementType type, std::int64_t rows, HeadRange heads, std::int32_t width) {
  Buffer made;
  made.role = role;
  made.type = type;
  made.rows = rows;
  made.heads = heads;
  made.width = width;
  return made;
}

/// 0: o bf16 [100, 4, 8]; 1: lse f32 [100, 4, 1]; 2: o_acc f32 [100, 4, 8]; 3: delta f32 [100, 4, 1].
RankProgram program() {
  RankProgram made;
  made.buffers = {buffer(BufferRole::o, ElementType::bf16, 100, {0, 4}, 8),
                  buffer(BufferRole::lse, ElementType::f32, 100, {0, 4}, 1),
                  buffer(BufferRole::o_acc, ElementType::f32, 100, {0, 4}, 8),
                  buffer(BufferRole::delta, ElementType::f32, 100, {0, 4}, 1)};
  return made;
}

InstructionCost cost_of(const Operation& op, const CostProfile& profile, bool include_linear = true) {
  return instruction_cost(program(), op, Pass::forward, unit_model(), profile, include_linear);
}

TEST(InstructionCost, ACopyReadsAndWritesItsRowsAndHeads) {
  // 10 rows x 2 heads x 8 x 4 bytes = 640, read and written; 2 ranges of 5 ns; launch 3.
  CostProfile profile = unit_profile();
  profile.copy.launch_ns = 3;
  profile.copy.range_ns = 5;
  const CopyRows copies{{{2, 2, 0, 50, 5, {0, 2}}, {2, 2, 10, 60, 5, {2, 4}}}};
  const InstructionCost cost = cost_of(copies, profile);
  EXPECT_EQ(cost.memory_bytes, 1280);
  EXPECT_EQ(cost.work_ns, 1280 + 10 + 3);
  EXPECT_EQ(cost.parallelism, 1);
  EXPECT_FALSE(cost.scales_with_speed);
}

TEST(InstructionCost, RowOperationsSplitIntoChunks) {
  CostProfile profile = unit_profile();
  profile.row_chunk_bytes = 500;
  const CopyRows copies{{{2, 2, 0, 50, 10, {0, 2}}}};
  EXPECT_EQ(cost_of(copies, profile).parallelism, 3);  // 1280 bytes
}

TEST(InstructionCost, ASumReadsTwiceAndWritesOnce) {
  const AccumulateGradient sum{{{2, 2, 0, 50, 10, {0, 4}}}};
  EXPECT_EQ(cost_of(sum, unit_profile()).memory_bytes, 3 * 10 * 4 * 8 * 4);
}

TEST(InstructionCost, AMergeReadsItsPartsAndWritesOutputAndLse) {
  // 20 rows, 2 heads. Output: 20 x 2 x (8 x 2 + 4) = 800. Two f32 parts: 2 x 20 x 2 x (32 + 4) = 2880.
  MergePartials merge;
  merge.out = 0;
  merge.lse = 1;
  merge.ranges = {{0, 20, {0, 2}, {{2, 1, 0}, {2, 3, 40}}}};
  EXPECT_EQ(cost_of(merge, unit_profile()).memory_bytes, 800 + 2880);
}

TEST(InstructionCost, TokenWorkTouchesWholeBuffers) {
  // delta: writes [100, 4, 1] f32, reads two [100, 4, 8]: bf16 and f32.
  const TokenWork delta{TokenWorkKind::delta, 100, {}, 3, 2, 0};
  EXPECT_EQ(cost_of(delta, unit_profile()).memory_bytes, 1600 + 6400 + 12800);
  const TokenWork cast{TokenWorkKind::cast, 100, {}, 0, 2, -1};
  EXPECT_EQ(cost_of(cast, unit_profile()).memory_bytes, 6400 + 12800);
  const TokenWork zero{TokenWorkKind::zero, 100, {}, 2, -1, -1};
  EXPECT_EQ(cost_of(zero, unit_profile()).memory_bytes, 12800);
}

TEST(InstructionCost, LinearWorkIsFlopsOrNothing) {
  const TokenWork linear{TokenWorkKind::linear, 100, {12345}, -1, -1, -1};
  EXPECT_EQ(cost_of(linear, unit_profile()).work_ns, 12345);
  EXPECT_EQ(cost_of(linear, unit_profile()).parallelism, 100);
  EXPECT_EQ(cost_of(linear, unit_profile(), false).work_ns, 0);
}

TEST(TransferCost, PartsOfOnePeerAreOneFlowEachWay) {
  Exchange exchange;
  exchange.sends = {{2, 0, 0, 10}, {1, 1, 0, 5}, {2, 2, 0, 1}};
  exchange.receives = {{2, 3, 0, 7}};
  // Rows of buffer 0 are 64 bytes, of 1 and 3 16, of 2 128.
  EXPECT_EQ(peer_traffic(program(), exchange), (std::vector<PeerTraffic>{{1, 80, 0}, {2, 640 + 128, 112}}));
  CostProfile profile = unit_profile();
  profile.exchange.launch_ns = 10;
  profile.exchange.part_ns = 1.5;
  EXPECT_EQ(issue_time(exchange, profile).ns, 16);
}

TEST(TransferCost, AnIsolatedTransferIsLatencyPlusBytesOverTheNarrowestPart) {
  const Topology topology = star({{10, 4}, {30, 2}});
  const RouteTable routes(topology);
  CostProfile profile = unit_profile();
  EXPECT_EQ(isolated_transfer_time(1000, routes.between(0, 1), profile).ns, 40 + 500);
  profile.exchange.peer_bytes_per_second = 0.5e9;
  EXPECT_EQ(isolated_transfer_time(1000, routes.between(0, 1), profile).ns, 40 + 2000);
  const RouteTable inside(shared_device(2, 1));
  EXPECT_EQ(isolated_transfer_time(1000, inside.between(0, 1), profile).ns, 2000);
}

}  // namespace
}  // namespace strata
