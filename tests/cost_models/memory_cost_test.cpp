// SPDX-License-Identifier: Apache-2.0
// Peak memory: one layer's arena, plus what every other layer keeps for its backward pass.
#include "cost_models/memory_cost.hpp"

#include <gtest/gtest.h>

#include "tests/cost_models/programs.hpp"

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
  made.arena = {100'000};
  return made;
}

TEST(MemoryCost, LayersKeepTheirPersistentForwardTensors) {
  // q, kv and o: 40 rows of 256 bytes. Received kv that is fetched again, running values and gradients are
  // not kept.
  EXPECT_EQ(retained_bytes(program()).count, 40 * 256);
  EXPECT_EQ(rank_memory(program(), 1).count, 100'000);
  EXPECT_EQ(rank_memory(program(), 32).count, 100'000 + 31 * 40 * 256);
}

TEST(MemoryCost, RetainedReceivedRowsCountInEveryLayer) {
  RankProgram retaining = program();
  retaining.buffers[3].persistent = true;
  EXPECT_EQ(retained_bytes(retaining).count, 80 * 256);
}

TEST(MemoryCost, ThePeakIsThatOfTheLargestWaveAndRank) {
  RankProgram small = program(), large = program();
  large.arena = {150'000};
  small.buffers.clear();
  const MemoryPeak peak = memory_peak({{small, program()}, {large, small}}, 2);
  EXPECT_EQ(peak.peak.count, 150'000 + 40 * 256);
  EXPECT_EQ(peak.arena.count, 150'000);
}

TEST(MemoryCost, TheLeastATokenNeedsIsItsForwardTensors) {
  // bf16: q 4 x 8, kv 2 x 16, o 4 x 8 elements of 2 bytes, lse 4 floats: 64 + 64 + 64 + 16 per layer.
  ModelShape model;
  model.layers = 3;
  model.query_heads = 4;
  model.kv_heads = 2;
  model.head_dim = model.value_head_dim = 8;
  EXPECT_EQ(least_token_memory(model, 10).count, 10 * 3 * 208);
}

}  // namespace
}  // namespace strata
