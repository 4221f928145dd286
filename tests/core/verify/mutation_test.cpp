// SPDX-License-Identifier: Apache-2.0
// Good plans are damaged, written to their file with all checksums computed again, read back and linted. The
// brute-force interpreter decides whether the damage changed what the plan computes; every plan that it says
// is wrong must be rejected with a rule about its meaning and a place. Damage that changes nothing may
// survive and is listed.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <optional>
#include <sstream>

#include "core/base/check.hpp"
#include "core/plan/plan_json.hpp"
#include "cost_models/profile/cost_profile.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/core/plan/plan_mutations.hpp"
#include "tests/core/verify/verify_support.hpp"
#include "tests/support/brute_force_schedule.hpp"

namespace strata::test {
namespace {

constexpr int kMutantsPerKindAndPlan = 1;

struct NamedPlan {
  std::string name;
  Plan plan;
};

PlanRequest small_request(const char* strategy, const char* topology) {
  PlanRequest request;
  request.batch.fixed_packs = true;
  request.batch.packs = {{19, 3, 1}, {10}};
  request.topology = named_topology(topology);
  request.model = named_model("tiny");
  request.options.strategies = {strategy};
  request.profile = default_profile(request.topology);
  return request;
}

Plan with_explicit_backwards(Plan plan) {
  for (Wave& wave : plan.waves) wave = with_explicit_backward(std::move(wave), plan.model);
  return plan;
}

std::vector<NamedPlan> strategy_plans() {
  std::vector<NamedPlan> plans;
  const auto add = [&](const std::string& name, const PlanRequest& request) {
    const PlanResult result = plan_batch(request);
    STRATA_CHECK(result.plan.has_value(), "{} rejects the batch", name);
    plans.push_back({name, *result.plan});
    plans.push_back({name + ", explicit", with_explicit_backwards(*result.plan)});
  };
  for (const Strategy& strategy : all_strategies()) {
    const std::string name(strategy.name);
    PlanRequest request = small_request(name.c_str(), "cpu:1x4");
    add(name, request);
    request.options.exchange = ExchangeMode::full;
    request.options.kv = BackwardKeep::retain;
    add(name + ", full, retain", request);
    request.options.exchange = ExchangeMode::needed;
    request.options.kv = BackwardKeep::refetch;
    request.options.gradient_return = GradientReturn::reverse_tree;
    request.model.attention = AttentionKind::window;
    request.model.window = 6;
    add(name + ", window, reverse tree", request);
  }
  return plans;
}

/// A plan whose numbers and programs are not those of `wave`; its inputs are.
Plan plan_around(const Wave& wave) {
  const std::string topology = "cpu:1x" + std::to_string(wave.placement.rank_count());
  Plan plan = *plan_batch(small_request("ring", topology.c_str())).plan;
  plan.batch.packs = {wave.lengths};
  plan.waves = {wave};
  plan.program_digests.resize(1);
  plan.model.query_heads = hand_built_model().query_heads;
  plan.model.kv_heads = hand_built_model().kv_heads;
  return plan;
}

std::vector<NamedPlan> hand_built_plans() {
  std::vector<NamedPlan> plans;
  const auto add = [&](const std::string& name, const Wave& wave) {
    plans.push_back({name, plan_around(wave)});
    plans.push_back({name + ", explicit", with_explicit_backwards(plan_around(wave))});
  };
  add("multicast by hand", multicast_wave());
  add("relay by hand", relay_wave());
  add("head split by hand", head_split_wave());
  add("travelling query by hand", travelling_query_wave());
  add("relayed query by hand", relayed_query_wave());
  add("mixed slice by hand", mixed_slice_wave());
  return plans;
}

/// A violation that follows from numbers or checksums, not from the meaning of the waves.
bool is_about_numbers(const Violation& violation) {
  for (const char* rule :
       {"predicted", "bounds", "candidates", "digest", "program_digest", "lowering_version"}) {
    if (violation.rule == rule) return true;
  }
  return false;
}

/// The first line of lint about the meaning of the plan file; nothing when there is none.
std::optional<std::string> lint(const std::string& file) {
  std::istringstream in(file);
  Plan plan;
  try {
    plan = read_plan(in, "plan.json");
  } catch (const InputError& error) {
    return std::string("read: ") + error.what();
  }
  for (const Violation& violation : verify_plan(plan)) {
    if (!is_about_numbers(violation))
      return violation.rule + " at " + violation.place + ": " + violation.message;
  }
  return std::nullopt;
}

struct Tally {
  int mutants = 0, changed = 0, changed_rejected = 0, same_rejected = 0, survivors = 0;
};

class MutationRun {
 public:
  void run(const std::vector<NamedPlan>& plans, std::uint64_t seed) {
    MutationDice dice(seed);
    for (const NamedPlan& base : plans) {
      ASSERT_TRUE(faults_of_meaning(base.plan).empty())
          << base.name << ": " << faults_of_meaning(base.plan).front();
      const auto complaint = lint(to_json(base.plan));
      ASSERT_FALSE(complaint) << base.name << ": " << *complaint;
      for (const Mutation& mutation : all_mutations()) {
        for (int i = 0; i < kMutantsPerKindAndPlan; ++i) try_one(base, mutation, dice);
      }
    }
  }

  const std::map<std::string, Tally>& tallies() const { return tallies_; }

  Tally print() const {
    Tally total;
    std::printf("%-28s %8s %8s %9s %13s %9s\n", "kind", "mutants", "changed", "rejected", "same, reject",
                "survive");
    const auto line = [](const char* kind, const Tally& tally) {
      std::printf("%-28s %8d %8d %9d %13d %9d\n", kind, tally.mutants, tally.changed, tally.changed_rejected,
                  tally.same_rejected, tally.survivors);
    };
    for (const auto& [kind, tally] : tallies_) {
      line(kind.c_str(), tally);
      total.mutants += tally.mutants;
      total.changed += tally.changed;
      total.changed_rejected += tally.changed_rejected;
      total.same_rejected += tally.same_rejected;
      total.survivors += tally.survivors;
    }
    line("all", total);
    return total;
  }

 private:
  void try_one(const NamedPlan& base, const Mutation& mutation, MutationDice& dice) {
    Plan mutant = base.plan;
    if (!mutation.apply(mutant, dice)) return;
    mutant.digests = {};  // the writer computes them again
    const std::string file = to_json(mutant);
    if (file == to_json(base.plan)) return;
    Tally& tally = tallies_[mutation.kind];
    ++tally.mutants;
    const auto complaint = lint(file);
    std::vector<std::string> faults;
    try {
      std::istringstream in(file);
      faults = faults_of_meaning(read_plan(in, "mutant.json"));
    } catch (const InputError&) {
      faults = {"it is not a plan file"};
    }
    if (faults.empty()) {
      ++(complaint ? tally.same_rejected : tally.survivors);
      return;
    }
    ++tally.changed;
    if (complaint) {
      ++tally.changed_rejected;
      return;
    }
    ADD_FAILURE() << base.name << ", " << mutation.kind << " survives lint, but " << faults.front();
  }

  std::map<std::string, Tally> tallies_;
};

TEST(Mutations, ThatChangeWhatAPlanComputesAreRejectedByLint) {
  MutationRun run;
  run.run(strategy_plans(), 1);
  run.run(hand_built_plans(), 2);
  const Tally total = run.print();
  EXPECT_EQ(run.tallies().size(), all_mutations().size()) << "a kind of mutation never applied";
  EXPECT_GE(total.mutants, 500);
  EXPECT_GE(total.changed, 500);
  EXPECT_EQ(total.changed, total.changed_rejected);
}

}  // namespace
}  // namespace strata::test
