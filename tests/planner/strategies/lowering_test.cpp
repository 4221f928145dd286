// SPDX-License-Identifier: Apache-2.0
// Every strategy's schedule, with every backward policy, lowers to programs that verify: matched exchanges,
// no deadlock, ordered buffers, and exactly the mask's pairs in both passes.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace strata::testing
