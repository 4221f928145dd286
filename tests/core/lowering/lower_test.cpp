// SPDX-License-Identifier: Apache-2.0
// Lowering and the derived backward schedule on waves small enough to check by eye: one document on two or
// three ranks. Every strategy's programs are checked in tests/planner, their numbers in the keystone test.
#include "core/lowering/lower.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/program/program_digest.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/verify/verify_programs.hpp"
#include "tests/support/hand_built_waves.hpp"

namespace strata {
namespace {

ModelShape small_model(ElementType type = ElementType::f32) {
  ModelShape model;
  model.hidden = model.ffn = 8;
  model.query_heads = 4;
  model.kv_heads = 2;
  model.head_dim = model.value_head_dim = 8;
  model.element_type = type;
  return model;
}

/// A document of 4 tokens a rank on contiguous shards; rank r's keys travel up hop by hop.
Wave chain_of(std::int32_t ranks) {
  Wave wave;
  wave.documents = {0};
  wave.lengths = {4 * ranks};
  wave.groups = {{{}, {{"ring", ranks}}, {0}}};
  wave.schedule.steps.resize(static_cast<std::size_t>(ranks));
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    wave.groups[0].ranks.push_back(rank);
    const TokenSpan own{0, 4 * rank, 4 * rank + 4};
    wave.placement.spans.push_back({own});
    for (std::int32_t hop = 0; rank + hop < ranks; ++hop) {
      ScheduleStep& step = wave.schedule.steps[static_cast<std::size_t>(hop)];
      const std::int32_t at = rank + hop;
      step.tasks.push_back({at, {0, 4 * at, 4 * at + 4}, own, {0, 4}});
      if (at + 1 < ranks) {
        step.transfers.push_back({at, {{at + 1, at + 2}}, TensorKind::kv, own, {0, 2}, 0, hop + 1});
      }
    }
  }
  for (ScheduleStep& step : wave.schedule.steps) sort_canonically(step);
  return wave;
}

std::int64_t pairs_of(const std::vector<RankProgram>& programs, Pass pass) {
  std::int64_t pairs = 0;
  for (const RankProgram& program : programs) {
    for (const Instruction& instruction : program.instructions(pass))
      pairs += attention_pairs(instruction.op);
  }
  return pairs;
}

TEST(DeriveBackward, SendsEachKeyGradientStraightHomeOneStepAfterItsLastUse) {
  const Wave wave = chain_of(3);
  const CommSchedule backward = derive_backward(wave, small_model());
  ASSERT_EQ(backward.steps.size(), 4U);
  EXPECT_EQ(backward.steps[0].tasks, wave.schedule.steps[0].tasks);
  EXPECT_TRUE(backward.steps[1].reductions.empty());
  const std::vector<Reduction> after_first{{0, {{1, 2}}, TensorKind::dkv, {0, 0, 4}, {0, 2}, 0, 3},
                                           {1, {{2, 3}}, TensorKind::dkv, {0, 4, 8}, {0, 2}, 0, 3}};
  EXPECT_EQ(backward.steps[2].reductions, after_first);
  const std::vector<Reduction> after_second{{0, {{2, 3}}, TensorKind::dkv, {0, 0, 4}, {0, 2}, 0, 4}};
  EXPECT_EQ(backward.steps[3].reductions, after_second);
}

TEST(DeriveBackward, LetsGradientsClimbBackTheWayTheKeysCame) {
  Wave wave = chain_of(3);
  wave.backward.gradient_return = GradientReturn::reverse_tree;
  const CommSchedule backward = derive_backward(wave, small_model());
  // Rank 2 is done with document rows 0..4 in step 2, rank 1 adds its own and passes both on.
  ASSERT_EQ(backward.steps.size(), 5U);
  const std::vector<Reduction> to_rank_1{{1, {{2, 3}}, TensorKind::dkv, {0, 0, 4}, {0, 2}, 0, 4}};
  EXPECT_EQ(backward.steps[3].reductions, to_rank_1);
  const std::vector<Reduction> to_rank_0{{0, {{1, 2}}, TensorKind::dkv, {0, 0, 4}, {0, 2}, 0, 5}};
  EXPECT_EQ(backward.steps[4].reductions, to_rank_0);
}

std::vector<Transfer> output_gradients(const CommSchedule& backward) {
  std::vector<Transfer> found;
  for (const ScheduleStep& step : backward.steps) {
    for (const Transfer& transfer : step.transfers) {
      if (transfer.tensor == TensorKind::d_o) found.push_back(transfer);
    }
  }
  return found;
}

TEST(DeriveBackward, SendsOutputGradientsOnlyToThoseWhoComputeWithTheQueries) {
  // Rank 1 hands the queries of rank 2 on to rank 0 and computes nothing with them.
  const CommSchedule relayed = derive_backward(test::relayed_query_wave(), test::hand_built_model());
  const std::vector<Transfer> straight{{2, {{0, 1}}, TensorKind::d_o, {0, 8, 12}, {0, 4}, 0, 2}};
  EXPECT_EQ(output_gradients(relayed), straight);
}

TEST(DeriveBackward, SendsOfOutputGradientsWhatIsComputedWith) {
  Wave wave = test::travelling_query_wave();
  const auto sent = [&] { return output_gradients(derive_backward(wave, test::hand_built_model())); };
  const std::vector<Transfer> whole{{1, {{0, 1}}, TensorKind::d_o, {0, 4, 8}, {0, 4}, 0, 1}};
  EXPECT_EQ(sent(), whole);
  // Two tasks that together use all of it: still one slice.
  wave.schedule.steps[1].tasks = {{0, {0, 4, 8}, {0, 0, 4}, {0, 1}}, {0, {0, 4, 8}, {0, 0, 4}, {1, 4}}};
  EXPECT_EQ(sent(), whole);
  wave.schedule.steps[1].tasks = {{0, {0, 4, 6}, {0, 0, 4}, {0, 3}}, {0, {0, 6, 8}, {0, 0, 4}, {0, 3}}};
  const std::vector<Transfer> part{{1, {{0, 1}}, TensorKind::d_o, {0, 4, 8}, {0, 3}, 0, 1}};
  EXPECT_EQ(sent(), part);
}

TEST(DeriveBackward, RetainsInsteadOfSendingAgain) {
  Wave wave = chain_of(2);
  EXPECT_EQ(derive_backward(wave, small_model()).steps[0].transfers.size(), 1U);
  wave.backward.kv = BackwardKeep::retain;
  EXPECT_TRUE(derive_backward(wave, small_model()).steps[0].transfers.empty());
}

TEST(Lower, ComputesEveryAllowedPairInBothPasses) {
  const ModelShape model = small_model();
  for (const std::int32_t ranks : {1, 2, 3, 5}) {
    const auto programs = lower_wave(chain_of(ranks), model);
    const std::int64_t expected = document_pair_count({}, 4 * ranks) * model.query_heads;
    EXPECT_EQ(pairs_of(programs, Pass::forward), expected);
    EXPECT_EQ(pairs_of(programs, Pass::backward), expected);
    EXPECT_TRUE(verify_programs(programs, "wave").empty());
  }
}

TEST(Lower, WritesOutputsDirectlyWhenARankAttendsOnce) {
  const auto programs = lower_wave(chain_of(1), small_model(ElementType::bf16));
  for (const Buffer& buffer : programs[0].buffers) EXPECT_NE(buffer.role, BufferRole::o_acc);
  const auto two = lower_wave(chain_of(2), small_model(ElementType::bf16));
  bool accumulates = false;
  for (const Buffer& buffer : two[1].buffers) {
    if (buffer.role == BufferRole::o_acc) {
      accumulates = true;
      EXPECT_EQ(buffer.type, ElementType::f32) << "running outputs are never kept in bf16";
    }
  }
  EXPECT_TRUE(accumulates);
}

TEST(Lower, GivesQueriesThatAreOnlyPassedOnNoOutput) {
  const ModelShape model = test::hand_built_model();
  const auto programs = lower_wave(test::relayed_query_wave(), model);
  std::vector<Access> accesses;
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const Instruction& instruction : programs[1].instructions(pass)) {
      append_accesses(programs[1], instruction.op, accesses);
    }
  }
  for (std::size_t buffer = 0; buffer < programs[1].buffers.size(); ++buffer) {
    const bool used = std::any_of(accesses.begin(), accesses.end(), [&](const Access& access) {
      return access.buffer == static_cast<std::int32_t>(buffer);
    });
    EXPECT_TRUE(used || programs[1].buffers[buffer].persistent)
        << "b" << buffer << " has no use and no place";
  }
}

TEST(Lower, DoubleBuffersReceivedKeysAlongARing) {
  const ModelShape model = small_model();
  const auto longer = lower_wave(chain_of(9), model);
  // The last rank receives eight slices of keys, two of which are ever alive together.
  const RankProgram& last = longer.back();
  std::int64_t received = 0, top = 0;
  std::int64_t persistent_end = 0;
  for (const Buffer& buffer : last.buffers) {
    if (buffer.persistent)
      persistent_end = std::max(persistent_end, buffer.arena_offset + buffer.bytes().count);
  }
  for (const Instruction& instruction : last.forward) {
    const Exchange* exchange = exchange_of(instruction.op);
    if (exchange == nullptr) continue;
    for (const ExchangePart& part : exchange->receives) {
      const Buffer& buffer = last.buffers[static_cast<std::size_t>(part.buffer)];
      ++received;
      top = std::max(top, buffer.arena_offset + buffer.bytes().count - persistent_end);
    }
  }
  const std::int64_t slice = 4 * 2 * 16 * 4;  // tokens x KV heads x (k_dim + v_dim) x bytes
  const std::int64_t accumulators = 4 * 4 * 8 * 4 + 4 * 4 * 4;
  EXPECT_EQ(received, 8);
  EXPECT_LE(top, 2 * slice + accumulators + 4 * kArenaAlignment);
}

TEST(Lower, TheDigestSeesEveryPartOfAProgram) {
  const RankProgram program = lower_wave(chain_of(2), small_model())[1];
  const std::string digest = program_digest(program);
  const auto differs = [&](const auto& change) {
    RankProgram changed = program;
    change(changed);
    return program_digest(changed) != digest;
  };
  EXPECT_FALSE(differs([](RankProgram&) {}));
  EXPECT_TRUE(differs([](RankProgram& p) { p.buffers[0].arena_offset += kArenaAlignment; }));
  EXPECT_TRUE(differs([](RankProgram& p) { p.forward.pop_back(); }));
  for (std::size_t i = 0; i < program.forward.size(); ++i) {
    EXPECT_TRUE(differs([&](RankProgram& p) { p.forward[i].stream += 1; }));
    EXPECT_TRUE(differs([&](RankProgram& p) { p.forward[i].wait_for.push_back(0); }));
    if (exchange_of(program.forward[i].op) != nullptr) {
      EXPECT_TRUE(differs([&](RankProgram& p) { std::get<Exchange>(p.forward[i].op).receives[0].row += 1; }));
    }
    if (std::holds_alternative<Attention>(program.forward[i].op)) {
      EXPECT_TRUE(differs([&](RankProgram& p) { std::get<Attention>(p.forward[i].op).blocks[0].hi += 1; }));
    }
  }
}

}  // namespace
}  // namespace strata
