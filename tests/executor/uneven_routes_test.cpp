// SPDX-License-Identifier: Apache-2.0
// Machines on which the way there and the way back differ in level and speed: what moves is booked on the
// route from its sender to its receiver by planner, linter, simulator and executor alike, reductions
// included.
#include <gtest/gtest.h>

#include "core/lowering/lower.hpp"
#include "core/problem/route_table.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/verify/verify_schedule.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "planner/report/wave_metrics.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/executor/random_batches.hpp"
#include "tests/support/random_machine.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::testing {
namespace {

void add(LevelBytes& sum, LinkLevel level, Bytes bytes) {
  (level == LinkLevel::device ? sum.device : level == LinkLevel::node ? sum.node : sum.network) += bytes;
}

/// What the run sent, each part on the route from its sender. A sender's event counts all its parts, so the
/// parts are read off the program that ran.
LevelBytes sent_by_level(const Execution& execution, const Timeline& timeline, const RouteTable& routes) {
  LevelBytes sum;
  for (const TimelineEvent& event : timeline.events) {
    const RankProgram& program =
        execution.waves[static_cast<std::size_t>(event.wave)].programs[static_cast<std::size_t>(event.rank)];
    const Exchange* exchange =
        exchange_of(program.instructions(event.pass)[static_cast<std::size_t>(event.instruction)].op);
    if (exchange == nullptr) continue;
    Bytes parts;
    for (const ExchangePart& part : exchange->sends) {
      const Bytes bytes{part.row_count * program.buffers[static_cast<std::size_t>(part.buffer)].row_bytes()};
      add(sum, routes.between(program.rank, part.peer).level, bytes);
      parts += bytes;
    }
    EXPECT_EQ(parts.count, event.bytes);
  }
  return sum;
}

PlanRequest request_on(const Topology& machine, std::uint64_t seed) {
  PlanRequest request;
  request.topology = machine;
  request.model = named_model("tiny");
  request.model.layers = 2;
  request.model.query_heads = machine.rank_count() * 2;
  request.model.kv_heads = machine.rank_count();
  request.model.head_dim = request.model.value_head_dim = 8;
  request.profile = default_profile("cpu");
  request.options = random_options(seed, seed / 2);
  request.batch.fixed_packs = true;
  request.batch.packs = {{97, 3, 61, 1, 40}, {50, 9}};
  return request;
}

TEST(UnevenRoutes, APlanLintsCleanAndRunsAsPredictedOnThem) {
  std::int64_t uneven = 0, reductions_apart = 0;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    const Topology machine = random_machine(seed, {2, 5, 2, 2});
    if (small_scale() && uneven_pairs(machine) == 0) continue;
    uneven += uneven_pairs(machine);
    const RouteTable routes(machine);
    PlanRequest request = request_on(machine, seed);
    for (const Strategy& strategy : all_strategies()) {
      request.options.strategies = {std::string(strategy.name)};
      const PlanResult result = plan_batch(request);
      ASSERT_TRUE(result.plan.has_value()) << result.rejections.at(0).reason;
      const Plan& plan = *result.plan;
      for (const auto& violations : {verify_plan(plan, 3), verify_plan_programs(plan, 3)}) {
        for (const Violation& violation : violations) {
          ADD_FAILURE() << seed << ", " << strategy.name << ": " << violation.place << ": "
                        << violation.message;
        }
      }
      Execution execution;
      execution.model = plan.model;
      LevelBytes stated;
      for (const Wave& wave : plan.waves) {
        execution.waves.push_back({lower_wave(wave, plan.model), wave.placement});
        for (const CommSchedule& pass : {wave.schedule, derive_backward(wave, plan.model)}) {
          const LevelBytes moved = bytes_by_level(pass, plan.model, routes);
          stated.device += moved.device * 2, stated.node += moved.node * 2,
              stated.network += moved.network * 2;
          for (const ScheduleStep& step : pass.steps) {
            for (const Reduction& sum : step.reductions) {
              for (const RankRange& range : sum.sources) {
                const bool apart = routes.between(range.begin, sum.target).level !=
                                   routes.between(sum.target, range.begin).level;
                reductions_apart += apart ? 1 : 0;
              }
            }
          }
        }
      }
      CpuOptions options;
      options.threads = 2;
      options.layers = plan.model.layers;
      const RunResult run = run_on_cpu(execution, options);
      const LevelBytes sent = sent_by_level(execution, run.timeline, routes);
      EXPECT_EQ(sent, plan.predicted.bytes_by_level) << seed << ", " << strategy.name;
      EXPECT_EQ(stated, plan.predicted.bytes_by_level) << seed << ", " << strategy.name;
    }
  }
  EXPECT_GT(uneven, 0) << "no machine has routes whose two directions differ";
  EXPECT_GT(reductions_apart, 0) << "no reduction went over such a route";
}

}  // namespace
}  // namespace strata::testing
