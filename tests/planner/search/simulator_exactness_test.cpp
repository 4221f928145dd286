// SPDX-License-Identifier: Apache-2.0
// What the simulator does to be quick must not show: the results of the long way, bit for bit, over all
// strategies on shipped and random machines. And what `stop_after` promises.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/lowering/lower.hpp"
#include "cost_models/simulator/simulator.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/support/random_machine.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::testing {
namespace {

struct Case {
  std::string name;
  PlanRequest request;
  std::vector<std::vector<RankProgram>> programs;
};

/// Documents of very different lengths, heads that every number of ranks divides.
PlanRequest request_on(const Topology& topology, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  PlanRequest request;
  request.topology = topology;
  request.profile = default_profile(seed % 2 == 0 ? "cpu" : "h100");
  request.model = named_model("llama3_8b");
  request.model.query_heads = request.model.kv_heads = topology.rank_count();
  request.model.layers = 12 + static_cast<std::int32_t>(random() % 12);
  request.batch.fixed_packs = true;
  request.batch.packs.resize(1 + random() % 2);
  for (std::vector<std::int64_t>& pack : request.batch.packs) {
    for (std::uint64_t documents = 2 + random() % 12; documents > 0; --documents) {
      pack.push_back(static_cast<std::int64_t>(1 + random() % (std::uint64_t{64} << random() % 9)));
    }
  }
  request.options.recompute = static_cast<Recompute>(random() % 3);
  return request;
}

/// Calls `use` with the programs of all strategies that serve the request.
template <typename Use>
void for_all_strategies(const PlanRequest& request, const Use& use) {
  for (const Strategy& strategy : all_strategies()) {
    Case made{fmt::format("{} on {}", strategy.name, request.topology.name), request, {}};
    for (const WaveDocuments& wave : split_into_waves(request.batch, kNoTokenBudget)) {
      const WaveRequest wanted{wave.documents, wave.lengths, request.topology.rank_count(), request.model,
                               request.options.exchange};
      if (strategy.rejects(wanted)) break;
      made.programs.push_back(lower_wave(make_wave(strategy, wanted, request.options), request.model));
    }
    if (made.programs.size() == request.batch.packs.size()) use(made);
  }
}

Simulation simulate(const Case& made, const SimulatorOptions& options) {
  return simulate_step(made.programs, made.request.topology, made.request.model, made.request.profile,
                       options);
}

std::vector<PlanRequest> requests() {
  std::vector<PlanRequest> all{request_on(named_topology("dgx_h100:3"), 1),
                               request_on(named_topology("cpu:3x3"), 2)};
  const std::uint64_t seeds = full_scale() ? 60 : small_scale() ? 1 : 2;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    all.push_back(request_on(random_machine(seed), seed));
    all.push_back(request_on(random_machine(seed, {2, 16, 1, 2}), seed + 1));
  }
  return all;
}

SimulatorOptions options_of(const PlanRequest& request, bool exact) {
  SimulatorOptions options;
  options.record = false;
  options.exact = exact;
  options.free_events = 0;
  options.recompute = request.options.recompute;
  return options;
}

TEST(SimulatorExactness, TheQuickWayGivesWhatTheLongWayGives) {
  std::int64_t events = 0, plain_events = 0;
  for (const PlanRequest& request : requests()) {
    for_all_strategies(request, [&](const Case& made) {
      for (const bool exact : {false, true}) {
        SimulatorOptions options = options_of(request, exact);
        const Simulation quick = simulate(made, options);
        options.plain = true;
        const Simulation plain = simulate(made, options);
        options.record = true;
        const Simulation recorded = simulate(made, options);
        EXPECT_EQ(quick.ranks, plain.ranks) << made.name;
        EXPECT_EQ(quick.prediction.step_time, plain.prediction.step_time) << made.name;
        EXPECT_EQ(quick.prediction.forward, plain.prediction.forward) << made.name;
        EXPECT_EQ(quick.instructions, plain.instructions) << made.name;
        EXPECT_EQ(quick.simulated_layers, plain.simulated_layers) << made.name;
        EXPECT_EQ(quick.settled, plain.settled) << made.name;
        EXPECT_EQ(recorded.ranks, plain.ranks) << made.name;
        events += quick.work.events;
        plain_events += plain.work.events;
      }
    });
  }
  fmt::print("{} events instead of {}\n", events, plain_events);
  EXPECT_LT(events, plain_events * 9 / 10) << "hardly a layer repeats";
}

TEST(SimulatorExactness, LayersTriedInVainCostLittle) {
  std::int64_t tried = 0;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    PlanRequest request = request_on(named_topology("dgx_h100:3"), seed);
    for (std::int64_t length = 100'000; length > 64; length /= 2)
      request.batch.packs.front().push_back(length);
    for_all_strategies(request, [&](Case made) {
      made.request.model.layers = 32;
      const Simulation whole = simulate(made, options_of(made.request, true));
      const Simulation quick = simulate(made, options_of(made.request, false));
      if (quick.simulated_layers < 32) return;
      EXPECT_EQ(quick.ranks, whole.ranks) << made.name;
      // Forward of 8 and 16 layers, backward of 8 and 16 besides: at most 16 / 32 more, and no pass anew.
      EXPECT_LE(quick.work.events, whole.work.events * 3 / 2 + whole.work.events / 16) << made.name;
      ++tried;
    });
  }
  EXPECT_GT(tried, 0) << "all steps settled";
}

TEST(SimulatorExactness, StopsOnlyWhenTheStepTakesLonger) {
  std::int64_t early = 0;
  for (const PlanRequest& request : requests()) {
    for_all_strategies(request, [&](const Case& made) {
      for (const bool exact : {false, true}) {
        SimulatorOptions options = options_of(request, exact);
        const Simulation whole = simulate(made, options);
        const std::int64_t step_ns = whole.prediction.step_time.ns;
        for (const std::int64_t bound : {step_ns, step_ns + 1, 2 * step_ns}) {
          options.stop_after = {bound};
          const Simulation again = simulate(made, options);
          EXPECT_EQ(again.stopped_at.ns, 0) << made.name;
          EXPECT_EQ(again.ranks, whole.ranks) << made.name;
          EXPECT_EQ(again.prediction.step_time.ns, step_ns) << made.name;
        }
        for (const std::int64_t bound : {std::int64_t{0}, step_ns / 10, step_ns / 2, step_ns - step_ns / 8}) {
          options.stop_after = {bound};
          const Simulation stopped = simulate(made, options);
          EXPECT_GT(stopped.stopped_at.ns, bound) << made.name;
          EXPECT_LE(stopped.stopped_at.ns, step_ns) << made.name;
          EXPECT_EQ(stopped.prediction.step_time, stopped.stopped_at) << made.name;
          EXPECT_TRUE(stopped.ranks.empty() && stopped.timeline.events.empty()) << made.name;
          EXPECT_LE(stopped.work.events, whole.work.events) << made.name;
          EXPECT_EQ(simulate(made, options).stopped_at, stopped.stopped_at) << made.name;
          early += stopped.work.events < whole.work.events / 2 ? 1 : 0;
        }
      }
    });
  }
  EXPECT_GT(early, 0) << "no simulation stopped early";
}

}  // namespace
}  // namespace strata::testing
