// SPDX-License-Identifier: Apache-2.0
// Each check of verify_programs has a program that breaks only it; the programs are lowered from a two-rank
// ring of one document and then damaged.
#include "core/verify/verify_programs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "core/lowering/lower.hpp"
#include "core/program/program_walk.hpp"

namespace strata {
namespace {

std::vector<RankProgram> ring_programs() {
  Wave wave;
  wave.documents = {0};
  wave.lengths = {8};
  wave.groups = {{{0, 1}, {{"ring", 2}}, {0}}};
  wave.placement.spans = {{{0, 0, 4}}, {{0, 4, 8}}};
  wave.schedule.steps.resize(2);
  wave.schedule.steps[0].tasks = {{0, {0, 0, 4}, {0, 0, 4}, {0, 2}}, {1, {0, 4, 8}, {0, 4, 8}, {0, 2}}};
  wave.schedule.steps[0].transfers = {{0, {{1, 2}}, TensorKind::kv, {0, 0, 4}, {0, 1}, 0, 1}};
  wave.schedule.steps[1].tasks = {{1, {0, 4, 8}, {0, 0, 4}, {0, 2}}};
  ModelShape model;
  model.hidden = model.ffn = 8;
  model.query_heads = 2;
  model.head_dim = model.value_head_dim = 4;
  model.element_type = ElementType::f32;
  return lower_wave(wave, model);
}

std::size_t first_exchange(const RankProgram& program, Pass pass = Pass::forward) {
  const auto& list = program.instructions(pass);
  std::size_t i = 0;
  while (exchange_of(list[i].op) == nullptr) ++i;
  return i;
}

std::string first_rule(const std::function<void(std::vector<RankProgram>&)>& damage) {
  auto programs = ring_programs();
  damage(programs);
  const auto violations = verify_programs(programs, "waves[0]");
  return violations.empty() ? "" : violations.front().rule;
}

TEST(VerifyPrograms, AcceptsWhatLoweringMakes) {
  EXPECT_EQ(first_rule([](auto&) {}), "");
}

TEST(VerifyPrograms, NamesTheRuleThatADamageBreaks) {
  EXPECT_EQ(first_rule([](auto& p) { p[0].forward[0].stream = 7; }), "stream");
  EXPECT_EQ(first_rule([](auto& p) { p[1].forward.back().wait_for = {99}; }), "wait_order");
  EXPECT_EQ(first_rule([](auto& p) { p[1].arena.count -= kArenaAlignment; }), "arena");
  EXPECT_EQ(first_rule([](auto& p) {
              std::get<Exchange>(p[1].forward[first_exchange(p[1])].op).receives[0].row_count += 1;
            }),
            "rows");
  EXPECT_EQ(first_rule([](auto& p) {
              std::get<Exchange>(p[1].forward[first_exchange(p[1])].op).receives[0].row_count -= 1;
            }),
            "matching");
  EXPECT_EQ(
      first_rule([](auto& p) { std::get<Exchange>(p[0].forward[first_exchange(p[0])].op).sends.clear(); }),
      "matching");
  EXPECT_EQ(first_rule([](auto& p) { std::get<Exchange>(p[0].forward[first_exchange(p[0])].op).step = 1; }),
            "matching");
}

TEST(VerifyPrograms, FindsAReadThatDoesNotWaitForItsWrite) {
  EXPECT_EQ(first_rule([](auto& p) {
              for (Instruction& instruction : p[1].forward) instruction.wait_for.clear();
            }),
            "unordered");
}

TEST(VerifyPrograms, FindsBuffersThatShareBytesWhileAlive) {
  EXPECT_EQ(
      first_rule([](auto& p) {
        std::vector<Buffer*> scratch;
        for (Buffer& buffer : p[1].buffers) {
          if (buffer.role == BufferRole::o_acc || (buffer.role == BufferRole::kv && !buffer.persistent)) {
            scratch.push_back(&buffer);
          }
        }
        scratch[1]->arena_offset = scratch[0]->arena_offset;
      }),
      "arena");
}

/// Rank 0 sends keys of documents 0 and 2, between which it holds document 1; rank 1 has a place for both.
std::vector<RankProgram> packed_programs() {
  Wave wave;
  wave.documents = {0, 1, 2};
  wave.lengths = {4, 2, 4};
  wave.groups = {{{0, 1}, {{"ring", 2}}, {0, 1, 2}}};
  wave.placement.spans = {{{0, 0, 2}, {1, 0, 2}, {2, 0, 2}}, {{0, 2, 4}, {2, 2, 4}}};
  wave.schedule.steps.resize(2);
  for (const std::int32_t document : {0, 2}) {
    const TokenSpan low{document, 0, 2}, high{document, 2, 4};
    wave.schedule.steps[0].transfers.push_back({0, {{1, 2}}, TensorKind::kv, low, {0, 1}, 0, 1});
    wave.schedule.steps[0].tasks.push_back({0, low, low, {0, 2}});
    wave.schedule.steps[0].tasks.push_back({1, high, high, {0, 2}});
    wave.schedule.steps[1].tasks.push_back({1, high, low, {0, 2}});
  }
  wave.schedule.steps[0].tasks.push_back({0, {1, 0, 2}, {1, 0, 2}, {0, 2}});
  for (ScheduleStep& step : wave.schedule.steps) sort_canonically(step);
  ModelShape model;
  model.hidden = model.ffn = 8;
  model.query_heads = 2;
  model.head_dim = model.value_head_dim = 4;
  model.element_type = ElementType::f32;
  return lower_wave(wave, model);
}

TEST(VerifyPrograms, KnowsTheRowsThatAMessageIsMadeOf) {
  const auto honest = packed_programs();
  const auto is_copy = [](const Instruction& instruction) {
    return std::holds_alternative<CopyRows>(instruction.op);
  };
  const auto& forward = honest[0].forward;
  const auto at = std::find_if(forward.begin(), forward.end(), is_copy);
  ASSERT_NE(at, forward.end()) << to_text(honest[0]);
  const auto index = static_cast<std::size_t>(at - forward.begin());
  const auto& copies = std::get<CopyRows>(at->op).copies;
  ASSERT_EQ(copies.size(), 2U);
  const std::int32_t message = copies[0].target;
  ASSERT_TRUE(honest[0].buffers[static_cast<std::size_t>(message)].is_message());
  EXPECT_EQ(std::get<Exchange>(forward[first_exchange(honest[0])].op).sends.size(), 1U);
  const auto rule = [&](const std::function<void(std::vector<RankProgram>&, std::vector<RowCopy>&)>& damage) {
    auto programs = honest;
    damage(programs, std::get<CopyRows>(programs[0].forward[index].op).copies);
    const auto violations = verify_programs(programs, "waves[0]");
    return violations.empty() ? "" : violations.front().rule;
  };
  EXPECT_EQ(rule([](auto&, auto&) {}), "");
  EXPECT_EQ(rule([](auto&, auto& c) { c.pop_back(); }), "message");
  EXPECT_EQ(rule([](auto&, auto& c) { c[1].target_row -= 1; }), "message");
  EXPECT_EQ(rule([](auto&, auto& c) { c[0].row_count = 1; }), "message");
  EXPECT_EQ(rule([](auto&, auto& c) { c[1].row_count = 99; }), "rows");
  EXPECT_EQ(rule([](auto&, auto& c) { c[0].heads = {0, 2}; }), "copy");
  EXPECT_EQ(rule([&](auto&, auto& c) { c[0].source = message; }), "copy");
  EXPECT_EQ(rule([](auto&, auto& c) { c[1].row_count = 0; }), "copy");
  // All bytes are copied and sent, some of them too late.
  EXPECT_EQ(rule([](auto& p, auto& c) {
              const RowCopy late = c.back();
              c.pop_back();
              const auto sent = static_cast<std::int32_t>(first_exchange(p[0]));
              p[0].forward.push_back({CopyRows{{late}}, kComputeStream, {sent}});
            }),
            "message");
  // Unlike rows that take as many bytes.
  EXPECT_EQ(rule([](auto& p, auto& c) {
              Buffer& kv = p[0].buffers[static_cast<std::size_t>(c[0].source)];
              kv.type = ElementType::bf16;
              kv.width *= 2;
            }),
            "matching");
  EXPECT_EQ(rule([&](auto& p, auto&) {
              for (Instruction& instruction : p[0].forward) {
                auto* attention = std::get_if<Attention>(&instruction.op);
                if (attention != nullptr) attention->keys[0].kv = message;
              }
            }),
            "message");
  EXPECT_EQ(rule([](auto& p, auto&) {
              auto& exchange = std::get<Exchange>(p[0].forward[first_exchange(p[0])].op);
              exchange.sends[0].row_count -= 1;
            }),
            "message");
}

TEST(VerifyPrograms, FindsACopyBetweenUnlikeBuffers) {
  EXPECT_EQ(first_rule([](auto& p) {
              const LocalBuffers& local = p[0].local;
              p[0].forward.push_back({CopyRows{{{local.q, local.kv, 0, 0, 1, {0, 1}}}}, kComputeStream, {}});
            }),
            "copy");
}

TEST(VerifyPrograms, FindsACycleAcrossRanks) {
  auto programs = ring_programs();
  // Two more exchanges, posted in opposite order on the two ranks of one lane.
  for (int rank = 0; rank < 2; ++rank) {
    RankProgram& program = programs[static_cast<std::size_t>(rank)];
    for (const std::int32_t step : rank == 0 ? std::vector{10, 11} : std::vector{11, 10}) {
      Exchange exchange{step, 0, {}, {}};
      (rank == 0 ? exchange.sends : exchange.receives).push_back({1 - rank, program.local.dq, 0, 4});
      program.forward.push_back({std::move(exchange), lane_stream(0), {}});
    }
  }
  const auto violations = verify_programs(programs, "waves[0]");
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations[0].rule, "deadlock");
  EXPECT_NE(violations[0].message.find("lanes concurrent"), std::string::npos);
}

TEST(VerifyPrograms, FindsACycleThatOnlySerialisedLanesHave) {
  auto programs = ring_programs();
  // One exchange on each of two lanes, posted in opposite order on the two ranks.
  for (int rank = 0; rank < 2; ++rank) {
    RankProgram& program = programs[static_cast<std::size_t>(rank)];
    program.lane_count = 2;
    for (const std::int32_t lane : rank == 0 ? std::vector{0, 1} : std::vector{1, 0}) {
      Exchange exchange{10 + lane, lane, {}, {}};
      (rank == 0 ? exchange.sends : exchange.receives)
          .push_back({1 - rank, lane == 0 ? program.local.dq : program.local.dkv, 0, 4});
      program.forward.push_back({std::move(exchange), lane_stream(lane), {}});
    }
  }
  const auto violations = verify_programs(programs, "waves[0]");
  ASSERT_EQ(violations.size(), 2u);
  for (const Violation& violation : violations) {
    EXPECT_EQ(violation.rule, "deadlock");
    EXPECT_EQ(violation.message, "can never run (lanes serialised)");
  }
}

TEST(WalkPrograms, TakesTheSameWayThroughASingleLaneInBothOrders) {
  const auto programs = ring_programs();
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    const auto way = [&](LaneOrder lanes) {
      std::vector<std::pair<std::int32_t, std::int32_t>> visited;
      walk_programs(programs, pass, lanes,
                    [&](std::int32_t rank, std::int32_t index) { visited.emplace_back(rank, index); });
      return visited;
    };
    EXPECT_FALSE(way(LaneOrder::concurrent).empty());
    EXPECT_EQ(way(LaneOrder::concurrent), way(LaneOrder::serialised));
  }
}

TEST(WalkPrograms, VisitsEveryInstructionOnceAfterWhatItWaitsFor) {
  const auto programs = ring_programs();
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const LaneOrder lanes : {LaneOrder::concurrent, LaneOrder::serialised}) {
      std::vector<std::vector<bool>> done(2);
      for (std::size_t r = 0; r < 2; ++r) done[r].resize(programs[r].instructions(pass).size());
      const auto stuck = walk_programs(programs, pass, lanes, [&](std::int32_t rank, std::int32_t index) {
        const auto r = static_cast<std::size_t>(rank);
        const auto i = static_cast<std::size_t>(index);
        EXPECT_FALSE(done[r][i]);
        for (const std::int32_t wait : programs[r].instructions(pass)[i].wait_for) {
          EXPECT_TRUE(done[r][static_cast<std::size_t>(wait)]);
        }
        done[r][i] = true;
      });
      EXPECT_TRUE(stuck.empty());
      for (const auto& flags : done) EXPECT_EQ(std::count(flags.begin(), flags.end(), false), 0);
    }
  }
}

}  // namespace
}  // namespace strata
