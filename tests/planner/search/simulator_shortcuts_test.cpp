// SPDX-License-Identifier: Apache-2.0
// The simulator's shortcuts against the long way: recorded packs, every strategy, shipped and random
// machines. The usual scale looks at one pack on three machines, STRATA_TEST_SCALE=full at five packs on six
// and at steps of two waves, and prints the worst errors.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/lowering/lower.hpp"
#include "cost_models/simulator/simulator.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/support/random_machine.hpp"
#include "tests/support/recorded_packs.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::testing {
namespace {

/// What simulator.hpp promises.
constexpr double kLayerError = 0.02;
constexpr double kBatchError = 0.01;
constexpr double kWinnerError = 0.02;
/// What it says of steps too dear to settle on devices that several ranks share.
constexpr double kUnsettledError = 0.07;

constexpr std::int32_t kLayers = 32;

std::vector<std::int64_t> recorded_pack(int line) {
  const auto packs = recorded_packs();
  return static_cast<std::size_t>(line) < packs.size() ? packs[static_cast<std::size_t>(line)]
                                                       : std::vector<std::int64_t>{};
}

struct Machine {
  Topology topology;
  std::string profile;
};

Machine shipped(const std::string& name) { return {named_topology(name), "h100"}; }
/// One rank a device: where layers may be left out.
Machine lone(std::uint64_t seed) {
  return {random_machine(seed, {2, 16, 1, 1}), seed % 2 == 0 ? "cpu" : "h100"};
}
Machine random(std::uint64_t seed) { return {random_machine(seed), seed % 2 == 0 ? "cpu" : "h100"}; }

/// Heads that every number of ranks divides, so that no strategy is left out.
ModelShape model_for(const Topology& topology) {
  ModelShape model = named_model("llama3_8b");
  const std::int32_t ranks = topology.rank_count();
  model.query_heads = ranks * ((32 + ranks - 1) / ranks);
  model.kv_heads = model.query_heads % 4 == 0 ? model.query_heads / 4 : model.query_heads;
  model.layers = kLayers;
  return model;
}

std::vector<std::vector<RankProgram>> programs_of(const Strategy& strategy, const PlanRequest& request) {
  std::vector<std::vector<RankProgram>> programs;
  for (const WaveDocuments& wave : split_into_waves(request.batch, kNoTokenBudget)) {
    const WaveRequest wanted{wave.documents, wave.lengths, request.topology.rank_count(), request.model,
                             request.options.exchange};
    EXPECT_FALSE(strategy.rejects(wanted).has_value()) << strategy.name;
    programs.push_back(lower_wave(make_wave(strategy, wanted, request.options), request.model));
  }
  return programs;
}

/// One strategy's step, simulated in every way.
struct Times {
  std::string strategy;
  double short_way = 0;  ///< layers left out
  double exact = 0;      ///< all layers
  double batched = 0;    ///< few layers
  double unbatched = 0;  ///< as many, every flow by itself
  std::int32_t simulated_layers = 0;

  /// All layers, every flow by itself.
  double long_way() const { return exact * unbatched / batched; }
};

/// A layer without batching takes ten times as long, and all layers are alike.
std::int32_t unbatched_layers(const Topology& topology) {
  return full_scale() && topology.rank_count() <= 32 ? 4 : 1;
}

Times times_of(const Strategy& strategy, const PlanRequest& request) {
  const std::vector<std::vector<RankProgram>> programs = programs_of(strategy, request);
  SimulatorOptions options;
  options.record = false;
  options.free_events = 0;
  options.recompute = request.options.recompute;
  Times times;
  times.strategy = strategy.name;
  const auto simulate = [&] {
    const Simulation simulation =
        simulate_step(programs, request.topology, request.model, request.profile, options);
    times.simulated_layers = simulation.simulated_layers;
    return static_cast<double>(simulation.prediction.step_time.ns);
  };
  options.exact = true;
  times.exact = simulate();
  options.layers = unbatched_layers(request.topology);
  times.batched = simulate();
  options.batch_ends = false;
  times.unbatched = simulate();
  options.exact = false;
  options.layers = 0;
  options.batch_ends = true;
  times.short_way = simulate();
  return times;
}

/// The worst of everything that was compared.
struct Tally {
  double layers = 0, batch = 0, winner = 0;
  std::int64_t steps = 0, shortened = 0, batched = 0, other_winners = 0;
};

double error(double a, double b) { return std::abs(a / b - 1); }

PlanRequest request_of(const Machine& machine, const std::vector<int>& packs) {
  PlanRequest request;
  request.topology = machine.topology;
  request.model = model_for(machine.topology);
  request.profile = default_profile(machine.profile);
  request.batch.fixed_packs = true;
  request.batch.packs.clear();
  for (const int pack : packs) request.batch.packs.push_back(recorded_pack(pack));
  return request;
}

void compare(const Machine& machine, const std::vector<int>& packs, Tally& tally,
             Recompute recompute = Recompute::none) {
  PlanRequest request = request_of(machine, packs);
  request.options.recompute = recompute;
  std::vector<Times> all;
  for (const Strategy& strategy : all_strategies()) {
    const Times& times = all.emplace_back(times_of(strategy, request));
    const std::string place =
        fmt::format("{} of {} packs from {} on, on {}, recompute {}", times.strategy, packs.size(),
                    packs.front(), machine.topology.name, to_string(recompute));
    EXPECT_LE(error(times.short_way, times.exact), kLayerError) << place;
    EXPECT_LE(error(times.batched, times.unbatched), kBatchError) << place;
    tally.layers = std::max(tally.layers, error(times.short_way, times.exact));
    tally.batch = std::max(tally.batch, error(times.batched, times.unbatched));
    ++tally.steps;
    tally.shortened += times.simulated_layers < kLayers ? 1 : 0;
    tally.batched += times.batched != times.unbatched ? 1 : 0;
  }
  const auto chosen = std::min_element(
      all.begin(), all.end(), [](const Times& a, const Times& b) { return a.short_way < b.short_way; });
  const auto best = std::min_element(
      all.begin(), all.end(), [](const Times& a, const Times& b) { return a.long_way() < b.long_way(); });
  EXPECT_LE(chosen->long_way(), best->long_way() * (1 + kWinnerError))
      << chosen->strategy << " was chosen, " << best->strategy << " is the fastest, on "
      << machine.topology.name;
  tally.winner = std::max(tally.winner, error(chosen->long_way(), best->long_way()));
  tally.other_winners += chosen->strategy != best->strategy ? 1 : 0;
}

TEST(SimulatorShortcuts, GiveTheTimesAndTheWinnersOfTheLongWay) {
  Tally tally;
  if (small_scale()) {
    compare(random(3), {191}, tally);
  } else if (!full_scale()) {
    compare(shipped("dgx_h100:4"), {0}, tally);
    compare(random(1), {377}, tally);
    compare(lone(2), {760}, tally);
    compare(lone(5), {191}, tally, Recompute::full);
    compare(shipped("dgx_h100:1"), {555}, tally, Recompute::selective);
  } else {
    const std::vector<Machine> machines = {
        shipped("dgx_h100:1"), shipped("dgx_h100:4"), shipped("dgx_h100:8"), random(1), random(2), random(3)};
    for (const Machine& machine : machines) {
      for (const int pack : {0, 191, 377, 555, 760}) compare(machine, {pack}, tally);
    }
    for (std::uint64_t seed = 4; seed < 34; ++seed) {
      compare(lone(seed), {191, 192}, tally, static_cast<Recompute>(seed % 3));
    }
  }
  fmt::print(
      "{} steps, {} with layers left out: off by at most {:.4f} %; {} with batched ends: by at most "
      "{:.4f} %; {} other winners, at most {:.4f} % slower\n",
      tally.steps, tally.shortened, 100 * tally.layers, tally.batched, 100 * tally.batch, tally.other_winners,
      100 * tally.winner);
  if (small_scale()) return;
  EXPECT_LT(tally.shortened, tally.steps) << "random machines do not all settle";
  EXPECT_GT(tally.shortened, 0) << "no layer was left out: nothing was compared";
  EXPECT_GT(tally.batched, 0) << "no ends were batched: nothing was compared";
}

/// Devices that serve several ranks need not settle; a step too dear to simulate in full says so.
TEST(SimulatorShortcuts, UnsettledStepsOfSharedDevicesAreMarkedAndNotFarOff) {
  double worst = 0;
  std::int64_t off = 0;
  for (std::uint64_t seed = 1; seed <= (full_scale() ? 20U : 2U); ++seed) {
    const PlanRequest request = request_of(random(seed), {377});
    ASSERT_LT(std::ssize(request.topology.devices), request.topology.rank_count()) << "no device is shared";
    for (const Strategy& strategy : all_strategies()) {
      const auto programs = programs_of(strategy, request);
      SimulatorOptions options;
      options.record = false;
      options.free_events = 0;
      options.most_events = 1;
      const auto simulate = [&] {
        return simulate_step(programs, request.topology, request.model, request.profile, options);
      };
      const Simulation dear = simulate();
      options.exact = true;
      const Simulation exact = simulate();
      EXPECT_FALSE(dear.prediction.settled) << strategy.name;
      EXPECT_EQ(dear.simulated_layers, 16) << strategy.name;
      EXPECT_TRUE(exact.prediction.settled) << strategy.name;
      const double by = error(static_cast<double>(dear.prediction.step_time.ns),
                              static_cast<double>(exact.prediction.step_time.ns));
      EXPECT_LE(by, kUnsettledError) << strategy.name << " on " << request.topology.name << ", seed " << seed;
      worst = std::max(worst, by);
      off += by > 0 ? 1 : 0;
    }
  }
  fmt::print("unsettled steps are off by at most {:.4f} %\n", 100 * worst);
  EXPECT_GT(off, 0) << "nothing was estimated";
}

}  // namespace
}  // namespace strata::testing
