// SPDX-License-Identifier: Apache-2.0
// A whole plan against its own inputs: real plans pass, from memory and from their file, and every way of
// answering another question than the plan's inputs ask is named.
#include <gtest/gtest.h>

#include <sstream>

#include "core/plan/plan_json.hpp"
#include "cost_models/profile/cost_profile.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/core/verify/verify_support.hpp"

namespace strata::test {
namespace {

PlanRequest request_of(std::vector<std::vector<std::int64_t>> packs, const std::string& strategy) {
  PlanRequest request;
  request.batch.fixed_packs = true;
  request.batch.packs = std::move(packs);
  request.topology = named_topology("cpu:2x2");
  request.model = named_model("tiny");
  request.options.strategies = {strategy};
  request.profile = default_profile(request.topology);
  return request;
}

Plan good_plan() { return plan_batch(request_of({{40, 7, 1}, {25}}, "zigzag_ring")).plan.value(); }

void expect_first(const std::vector<Violation>& violations, const std::string& rule, const std::string& place,
                  const std::string& text) {
  ASSERT_FALSE(violations.empty()) << "expected " << rule << " at " << place;
  EXPECT_EQ(violations.front().rule, rule) << listed(violations);
  EXPECT_EQ(violations.front().place, place) << listed(violations);
  EXPECT_NE(violations.front().message.find(text), std::string::npos) << listed(violations);
}

template <typename Change>
std::vector<Violation> changed(Change change) {
  Plan plan = good_plan();
  change(plan);
  return verify_plan(plan);
}

TEST(VerifyPlan, AcceptsPlansFromMemoryAndFromTheirFile) {
  for (const Strategy& each : all_strategies()) {
    const std::string strategy(each.name);
    PlanRequest request = request_of({{40, 7, 1}, {25}}, strategy);
    if (strategy == "ulysses") request.topology = named_topology("cpu:2x1");
    const PlanResult result = plan_batch(request);
    ASSERT_TRUE(result.plan) << strategy;
    EXPECT_TRUE(verify_plan(*result.plan).empty()) << strategy << "\n" << listed(verify_plan(*result.plan));
    std::istringstream file(to_json(*result.plan));
    const Plan read = read_plan(file, "plan.json");
    EXPECT_TRUE(verify_plan(read).empty()) << strategy << "\n" << listed(verify_plan(read));
    EXPECT_TRUE(verify_plan_programs(read).empty()) << strategy << "\n" << listed(verify_plan_programs(read));
  }
}

TEST(VerifyPlan, NamesInputsThatCannotBe) {
  expect_first(changed([](Plan& plan) { plan.batch.packs[0][0] = 0; }), "inputs", "inputs.batch",
               "0 tokens in document 0");
  expect_first(changed([](Plan& plan) { plan.model.kv_heads = 3; }), "inputs", "inputs.model", "3 KV heads");
  expect_first(changed([](Plan& plan) { plan.topology.links.clear(); }), "inputs", "inputs.topology",
               "route");
}

TEST(VerifyPlan, ComparesDigestsWithContents) {
  expect_first(changed([](Plan& plan) {
                 plan.digests = input_digests(plan);
                 plan.digests.batch[0] = 'x';
               }),
               "digest", "inputs.batch", "but the content has");
  expect_first(changed([](Plan& plan) {
                 plan.digests = input_digests(plan);
                 plan.options.seed = 77;
               }),
               "digest", "inputs.request", "but the content has");
  expect_first(changed([](Plan& plan) { plan.profile.content += " "; }), "digest", "inputs.profile",
               "the content has");
}

TEST(VerifyPlan, WantsEveryDocumentOfTheBatchInItsWave) {
  expect_first(changed([](Plan& plan) { plan.waves.pop_back(), plan.program_digests.pop_back(); }), "batch",
               "waves", "document 3 of 25 tokens is in no wave");
  expect_first(changed([](Plan& plan) { plan.batch.packs[0][1] = 8; }), "batch", "waves[0].documents[1]",
               "document 1 has 7 tokens, but 8 in the batch");
  expect_first(changed([](Plan& plan) { plan.waves[1].documents = {0}; }), "batch", "waves[1].documents[0]",
               "document 0 is in waves[0] too");
  expect_first(changed([](Plan& plan) { plan.waves[1].documents = {4}; }), "batch", "waves[1].documents[0]",
               "document 4 of a batch of 4 documents");
  expect_first(changed([](Plan& plan) { std::swap(plan.waves[0], plan.waves[1]); }), "batch", "waves[1]",
               "document 0 belongs to recorded pack 0");
  expect_first(changed([](Plan& plan) { plan.waves.push_back(plan.waves[1]); }), "batch",
               "waves[2].documents[0]", "document 3 is in waves[1] too");
}

TEST(VerifyPlan, CatchesADocumentRemovedWithAllItsTasks) {
  Plan plan = good_plan();
  Wave& wave = plan.waves[0];
  wave.documents = {0, 1};
  wave.lengths = {40, 7};
  wave.groups[0].documents = {0, 1};
  for (auto& spans : wave.placement.spans) {
    std::erase_if(spans, [](const TokenSpan& span) { return span.document == 2; });
  }
  for (ScheduleStep& step : wave.schedule.steps) {
    std::erase_if(step.transfers, [](const Transfer& transfer) { return transfer.span.document == 2; });
    std::erase_if(step.tasks, [](const AttentionTask& task) { return task.query.document == 2; });
  }
  EXPECT_TRUE(verify_wave(wave, plan.model, 4, "waves[0]").empty());
  std::istringstream file(to_json(plan));
  expect_first(verify_plan(read_plan(file, "plan.json")), "batch", "waves",
               "document 2 of 1 tokens is in no wave");
}

TEST(VerifyPlan, TakesAPackAsOneDocumentUnderAFullCausalMask) {
  PlanRequest request = request_of({{40, 7, 1}, {25}}, "ring");
  request.model.mask_kind = MaskKind::full_causal;
  Plan plan = plan_batch(request).plan.value();
  EXPECT_TRUE(verify_plan(plan).empty()) << listed(verify_plan(plan));
  expect_first(changed([](Plan& other) { other.model.mask_kind = MaskKind::full_causal; }), "batch",
               "inputs.batch.packs[0]", "3 documents, but a full_causal mask makes a pack one document");
  plan.batch = {0, false, {{48, 25}}};
  expect_first(verify_plan(plan), "batch", "inputs.batch", "free documents with a full_causal mask");
}

TEST(VerifyPlan, RecomputesEveryNumberThatFollowsFromTheWaves) {
  expect_first(changed([](Plan& plan) { plan.predicted.kv_bytes.count += 1; }), "predicted",
               "predicted.kv_bytes", "but the waves give");
  expect_first(changed([](Plan& plan) { plan.predicted.imbalance += 0.001; }), "predicted",
               "predicted.imbalance", "but the waves give");
  expect_first(changed([](Plan& plan) { plan.predicted.bytes_by_level.network.count -= 4; }), "predicted",
               "predicted.bytes_by_level.network", "but the waves give");
  expect_first(changed([](Plan& plan) { plan.predicted.forward.ns += 1; }), "predicted",
               "predicted.step_time_ns", "but forward and backward take");
  expect_first(changed([](Plan& plan) { plan.bounds.gap += 0.01; }), "bounds", "bounds.gap",
               "but the times give");
  expect_first(changed([](Plan& plan) { plan.bounds.lower_bound = plan.predicted.step_time + Duration{1}; }),
               "bounds", "bounds.lower_bound_ns", "above the predicted step time");
  expect_first(changed([](Plan& plan) { plan.options.memory_cap = {1000}; }), "memory_cap",
               "predicted.peak_memory_bytes", "over the cap of 1000");
  expect_first(changed([](Plan& plan) { plan.strategy = "magic"; }), "candidates", "candidates",
               "0 entries for the chosen strategy 'magic'");
  expect_first(changed([](Plan& plan) { plan.candidates[0].step_time = Duration{1}; }), "candidates",
               "candidates[0]", "was chosen with 1 ns");
  expect_first(changed([](Plan& plan) { plan.candidates[0].settled = false; }), "candidates", "candidates[0]",
               "was chosen with settled false, but the plan predicts settled true");
}

TEST(VerifyPlan, ComparesProgramsWithTheirDigests) {
  expect_first(changed([](Plan& plan) { plan.lowering_version += 1; }), "lowering_version",
               "lowering_version", "but this build lowers with version");
  expect_first(changed([](Plan& plan) { plan.program_digests[0].pop_back(); }), "program_digest",
               "program_digests[0]", "digests of 3 ranks, expected 4");
  Plan plan = good_plan();
  plan.program_digests[1][2] = "0";
  expect_first(verify_plan_programs(plan), "program_digest", "program_digests[1][2]",
               "the plan says 0, but the wave lowers to");
  plan = good_plan();
  plan.predicted.arena.count += 256;
  expect_first(verify_plan_programs(plan), "predicted", "predicted.arena_bytes", "but the largest arena has");
}

TEST(VerifyPlan, SurvivesAbsurdSizes) {
  Plan plan = good_plan();
  plan.model.head_dim = plan.model.value_head_dim = 2147483647;
  plan.model.layers = 2147483647;
  expect_first(verify_plan(plan), "inputs", "inputs.model", "found layers = 2147483647, expected at most");
  // The largest model there may be, on enough tokens for the bytes sent in all layers not to fit 64 bits.
  PlanRequest request = request_of({{4000}}, "ring");
  request.model.query_heads = request.model.kv_heads = kMaxQueryHeads;
  plan = plan_batch(request).plan.value();
  constexpr auto kLargest = static_cast<std::int32_t>(kMaxModelSize);
  plan.model.head_dim = plan.model.value_head_dim = plan.model.layers = kLargest;
  const auto violations = verify_plan(plan);
  EXPECT_NE(listed(violations).find("more than 2^63 - 1"), std::string::npos) << listed(violations);
}

}  // namespace
}  // namespace strata::test
