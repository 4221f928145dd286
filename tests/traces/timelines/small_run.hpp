// SPDX-License-Identifier: Apache-2.0
// Two ranks that swap four rows of KV while each computes its own block, then compute the other's: the
// smallest run with both streams, an exchange and a dependency. Timelines of it are written out by hand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/program/rank_program.hpp"
#include "core/program/timeline.hpp"

namespace strata::test {

/// Forward of each rank: 0 Exchange (lane 0), 1 Attention (own keys), 2 Attention (received keys, after 0 and
/// 1). Backward: 0 AttentionBackward (own keys). One row of KV is 2 heads x 8 x 4 bytes = 64 bytes.
inline std::vector<std::vector<RankProgram>> small_programs() {
  std::vector<RankProgram> ranks;
  for (std::int32_t rank = 0; rank < 2; ++rank) {
    RankProgram program;
    program.rank = rank;
    program.buffers = {{BufferRole::kv, ElementType::f32, 4, {0, 2}, 8, true, 0},
                       {BufferRole::kv, ElementType::f32, 4, {0, 2}, 8, false, 256},
                       {BufferRole::q, ElementType::f32, 4, {0, 2}, 4, true, 512}};
    Exchange exchange;
    exchange.sends = {{1 - rank, 0, 0, 3}, {1 - rank, 0, 3, 1}};
    exchange.receives = {{1 - rank, 1, 0, 3}, {1 - rank, 1, 3, 1}};
    const auto attention = [](std::int32_t keys, std::int64_t hi) {
      Attention op;
      op.queries = {{2, -1, -1, -1, -1, -1}};
      op.keys = {{keys, -1}};
      op.blocks = {{0, 0, 0, 4, 0, 4, {0, 2}, -4, hi, 1}};
      return op;
    };
    program.forward = {{exchange, lane_stream(0), {}},
                       {attention(0, 0), kComputeStream, {}},
                       {attention(1, 4), kComputeStream, {0, 1}}};
    AttentionBackward backward;
    backward.queries = {{2, -1, -1, -1, -1, -1}};
    backward.keys = {{0, -1}};
    backward.blocks = {{0, 0, 0, 4, 0, 4, {0, 2}, -4, 0, 1}};
    program.backward = {{backward, kComputeStream, {}}};
    ranks.push_back(program);
  }
  return {ranks};
}

struct Times {
  std::int64_t posted_ns, matched_ns, end_ns;
};

/// One event per instruction of small_programs in the order rank 0 forward 0 1 2, rank 1 forward 0 1 2, then
/// backward of rank 0 and 1. `times` has those 8.
inline void add_repeat(Timeline& timeline, std::int32_t repeat, const std::vector<Times>& times) {
  for (std::size_t i = 0; i < times.size(); ++i) {
    TimelineEvent event;
    event.repeat = repeat;
    event.pass = i < 6 ? Pass::forward : Pass::backward;
    event.rank = static_cast<std::int32_t>(i < 6 ? i / 3 : i - 6);
    event.instruction = static_cast<std::int32_t>(i < 6 ? i % 3 : 0);
    event.posted_ns = times[i].posted_ns;
    event.matched_ns = times[i].matched_ns;
    event.end_ns = times[i].end_ns;
    const bool exchange = i == 0 || i == 3;
    event.bytes = exchange ? 256 : 0;
    event.flops = exchange ? 0 : 64'000;
    timeline.events.push_back(event);
  }
  timeline.repeats = repeat + 1;
}

/// Rank 1 posts its exchange at 3 us; rank 0 waits for it from 0.
inline Timeline small_timeline() {
  Timeline timeline;
  timeline.source = "simulator";
  timeline.plan_digest = "0123abcd";
  timeline.device_count = 2;
  timeline.rank_count = 2;
  add_repeat(timeline, 0,
             {{0, 3000, 13'000},           // rank 0 exchange
              {0, 0, 8000},                // rank 0 own block
              {13'000, 13'000, 33'000},    // rank 0 other block
              {3000, 3000, 13'000},        // rank 1 exchange
              {3000, 3000, 11'000},        // rank 1 own block
              {13'000, 13'000, 23'000},    // rank 1 other block
              {33'000, 33'000, 34'500},    // rank 0 backward
              {34'000, 34'000, 44'000}});  // rank 1 backward
  return timeline;
}

}  // namespace strata::test
