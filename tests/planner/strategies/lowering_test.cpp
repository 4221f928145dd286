// SPDX-License-Identifier: Apache-2.0
// Every strategy's schedule, with every backward policy, lowers to programs that verify: matched exchanges,
// no deadlock, ordered buffers, and exactly the mask's pairs in both passes.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/lowering/lower.hpp"
#include "core/verify/verify_programs.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/planner/realise/random_waves.hpp"
#include "tests/support/message_counts.hpp"

namespace strata::testing {
namespace {

std::int64_t allowed_pairs(const WaveRequest& request) {
  std::int64_t pairs = 0;
  for (const std::int64_t length : request.lengths)
    pairs += document_pair_count(request.model.mask(), length);
  return pairs * request.model.query_heads;
}

std::int64_t computed_pairs(const std::vector<RankProgram>& programs, Pass pass) {
  std::int64_t pairs = 0;
  for (const RankProgram& program : programs) {
    for (const Instruction& instruction : program.instructions(pass))
      pairs += attention_pairs(instruction.op);
  }
  return pairs;
}

TEST(Lowering, GivesProgramsThatVerifyForEveryStrategyAndBackwardPolicy) {
  RandomWaves waves(11);
  std::int64_t lowered = 0;
  for (int i = 0; i < 150; ++i) {
    WaveRequest request = waves.next();
    const std::int64_t expected = allowed_pairs(request);
    for (const ExchangeMode exchange : {ExchangeMode::needed, ExchangeMode::full}) {
      request.exchange = exchange;
      for (const Strategy& strategy : all_strategies()) {
        if (strategy.rejects(request)) continue;
        for (const BackwardKeep keep : {BackwardKeep::refetch, BackwardKeep::retain}) {
          for (const GradientReturn way : {GradientReturn::owner, GradientReturn::reverse_tree}) {
            PlanOptions options;
            options.exchange = exchange;
            options.kv = keep;
            options.gradient_return = way;
            const auto programs = lower_wave(make_wave(strategy, request, options), request.model);
            const auto violations = verify_programs(programs, std::string(strategy.name));
            ASSERT_TRUE(violations.empty())
                << violations[0].rule << " " << violations[0].place << " " << violations[0].message;
            for (const RankProgram& program : programs) {
              ASSERT_EQ(test::too_many_messages(program), "") << strategy.name;
            }
            ASSERT_EQ(computed_pairs(programs, Pass::forward), expected) << strategy.name;
            ASSERT_EQ(computed_pairs(programs, Pass::backward), expected) << strategy.name;
            ++lowered;
          }
        }
      }
    }
  }
  EXPECT_GT(lowered, 4000);
}

TEST(Lowering, SendsFewMessagesWhereSlicesAreSmallAndWhereTheyAreLarge) {
  WaveRequest request = wave_of({9000, 700, 1, 2200, 64, 130, 3000, 5, 900, 40, 41, 42}, 8, 32, 8);
  request.model.head_dim = request.model.value_head_dim = 128;
  std::int64_t packed = 0, large = 0;
  for (const Strategy& strategy : all_strategies()) {
    if (strategy.rejects(request)) continue;
    for (const BackwardKeep keep : {BackwardKeep::refetch, BackwardKeep::retain}) {
      PlanOptions options;
      options.kv = keep;
      const Wave wave = make_wave(strategy, request, options);
      const auto programs = lower_wave(wave, request.model);
      const auto apart = lower_wave(wave, request.model, 1);
      EXPECT_TRUE(verify_programs(programs, "wave").empty()) << strategy.name;
      for (std::size_t rank = 0; rank < programs.size(); ++rank) {
        const RankProgram& program = programs[rank];
        EXPECT_EQ(test::too_many_messages(program), "") << strategy.name;
        EXPECT_EQ(test::sent_by_peer(program), test::sent_by_peer(apart[rank])) << strategy.name;
        for (const Buffer& buffer : program.buffers) packed += buffer.is_message() ? 1 : 0;
        for (const Instruction& instruction : program.forward) {
          const Exchange* exchange = exchange_of(instruction.op);
          if (exchange == nullptr) continue;
          large +=
              std::count_if(exchange->sends.begin(), exchange->sends.end(), [&](const ExchangePart& part) {
                const Buffer& buffer = program.buffers[static_cast<std::size_t>(part.buffer)];
                return !buffer.is_message() && part.row_count * buffer.row_bytes() >= kOwnMessageBytes;
              });
        }
      }
    }
  }
  EXPECT_GT(packed, 50);
  EXPECT_GT(large, 50);
}

}  // namespace
}  // namespace strata::testing
