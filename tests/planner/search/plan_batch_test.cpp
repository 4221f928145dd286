// SPDX-License-Identifier: Apache-2.0
// From batch to plan: the fastest candidate wins, reasons are kept for the others, the memory cap holds, and
// the predicted bytes are those of the schedule.
#include "planner/search/plan_batch.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/problem/route_table.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/verify/verify_schedule.hpp"
#include "planner/report/wave_metrics.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/planner/realise/random_waves.hpp"

namespace strata::testing {
namespace {

PlanRequest request_of(Batch batch, const std::string& topology) {
  PlanRequest request;
  request.batch = std::move(batch);
  request.topology = named_topology(topology);
  request.model = named_model("tiny");
  request.profile = default_profile(request.topology);
  return request;
}

const Batch kTwoPacks{0, true, {{600, 100, 57, 1}, {300, 458}}};
const Batch kFreeDocuments{0, false, {{600, 100, 57, 1, 300, 458}}};

TEST(PlanBatch, KeepsTheFastestOfAllStrategies) {
  const PlanResult result = plan_batch(request_of(kTwoPacks, "cpu:2x2"));
  ASSERT_TRUE(result.plan);
  const Plan& plan = *result.plan;
  ASSERT_EQ(plan.candidates.size(), all_strategies().size());
  Duration best = plan.predicted.step_time;
  for (std::size_t i = 0; i < plan.candidates.size(); ++i) {
    EXPECT_EQ(plan.candidates[i].strategy, all_strategies()[i].name);
    ASSERT_TRUE(plan.candidates[i].step_time) << plan.candidates[i].strategy;
    EXPECT_GE(*plan.candidates[i].step_time, best);
    if (plan.candidates[i].strategy == plan.strategy) {
      EXPECT_EQ(*plan.candidates[i].step_time, best);
    }
  }
  ASSERT_EQ(plan.waves.size(), 2u);
  ASSERT_EQ(plan.program_digests.size(), 2u);
  EXPECT_EQ(plan.program_digests[0].size(), 4u);
}

TEST(PlanBatch, MakesPlansThatPassVerificationWithEveryStrategyAndPolicy) {
  for (const Strategy& strategy : all_strategies()) {
    for (const BackwardKeep kv : {BackwardKeep::retain, BackwardKeep::refetch}) {
      for (const GradientReturn back : {GradientReturn::owner, GradientReturn::reverse_tree}) {
        PlanRequest request = request_of(kTwoPacks, "cpu:1x4");
        request.options.strategies = {std::string(strategy.name)};
        request.options.kv = kv;
        request.options.gradient_return = back;
        const PlanResult result = plan_batch(request);
        ASSERT_TRUE(result.plan) << strategy.name;
        EXPECT_EQ(result.plan->strategy, strategy.name);
        const auto violations = verify_plan(*result.plan);
        EXPECT_TRUE(violations.empty()) << strategy.name << ": " << violations.front().message;
      }
    }
  }
}

TEST(PlanBatch, GivesEqualPlansForEqualRequests) {
  const PlanRequest request = request_of(kTwoPacks, "cpu:2x4");
  EXPECT_EQ(plan_batch(request).plan, plan_batch(request).plan);
}

TEST(PlanBatch, BreaksTiesByTableOrder) {
  const PlanResult result = plan_batch(request_of(kTwoPacks, "cpu:1x1"));
  ASSERT_TRUE(result.plan);
  EXPECT_EQ(result.plan->strategy, all_strategies().front().name);
  for (const Candidate& candidate : result.plan->candidates) {
    EXPECT_EQ(candidate.step_time, result.plan->predicted.step_time) << candidate.strategy;
  }
}

TEST(PlanBatch, NeverPredictsLessThanTheLowerBound) {
  RandomWaves random(31);
  for (int i = 0; i < 40; ++i) {
    const auto ranks = random.number(1, 6);
    PlanRequest request = request_of({0, true, {random.next().lengths}}, fmt::format("cpu:1x{}", ranks));
    request.model.layers = static_cast<std::int32_t>(random.number(1, 3));
    const PlanResult result = plan_batch(request);
    ASSERT_TRUE(result.plan);
    EXPECT_GE(result.plan->predicted.step_time, result.plan->bounds.lower_bound);
    EXPECT_GE(result.plan->bounds.gap, 0);
  }
}

TEST(PlanBatch, PredictsTheBytesOfItsSchedules) {
  for (const Strategy& strategy : all_strategies()) {
    PlanRequest request = request_of(kTwoPacks, "cpu:2x2");
    request.options.strategies = {std::string(strategy.name)};
    const PlanResult result = plan_batch(request);
    ASSERT_TRUE(result.plan);
    const Plan& plan = *result.plan;
    const RouteTable routes(plan.topology);
    Bytes kv;
    LevelBytes moved;
    for (const Wave& wave : plan.waves) {
      kv += kv_bytes(wave.schedule, plan.model);
      for (const CommSchedule& pass : {wave.schedule, derive_backward(wave, plan.model)}) {
        const LevelBytes bytes = bytes_by_level(pass, plan.model, routes);
        moved.device += plan.model.layers * bytes.device;
        moved.node += plan.model.layers * bytes.node;
        moved.network += plan.model.layers * bytes.network;
      }
    }
    EXPECT_EQ(plan.predicted.kv_bytes, kv) << strategy.name;
    EXPECT_EQ(plan.predicted.bytes_by_level, moved) << strategy.name;
  }
}

TEST(PlanBatch, ListsOneReasonPerStrategyWhenNothingFitsTheCap) {
  for (const Batch& batch : {kTwoPacks, kFreeDocuments}) {
    PlanRequest request = request_of(batch, "cpu:1x3");
    request.options.memory_cap = {1000};
    const PlanResult result = plan_batch(request);
    EXPECT_FALSE(result.plan);
    ASSERT_EQ(result.rejections.size(), all_strategies().size());
    EXPECT_EQ(result.rejections[0].strategy, "ulysses");
    EXPECT_NE(result.rejections[0].reason.find("4 query heads cannot be divided evenly among 3 ranks"),
              std::string::npos);
    for (std::size_t i = 1; i < result.rejections.size(); ++i) {
      EXPECT_NE(result.rejections[i].reason.find("over the memory cap of 1000 B"), std::string::npos)
          << result.rejections[i].reason;
    }
  }
}

TEST(PlanBatch, NamesTheFreeDocumentThatFitsNowhere) {
  PlanRequest request = request_of(kFreeDocuments, "cpu:1x2");
  request.options.strategies = {"whole_document"};
  request.options.memory_cap = {std::int64_t{4} << 20};
  const PlanResult result = plan_batch(request);
  ASSERT_FALSE(result.plan);
  EXPECT_NE(result.rejections[0].reason.find("document 0 of 600 tokens needs"), std::string::npos)
      << result.rejections[0].reason;
}

TEST(PlanBatch, SplitsFreeDocumentsIntoWavesUntilTheyFit) {
  PlanRequest request = request_of(kFreeDocuments, "cpu:1x2");
  request.options.strategies = {"ring"};
  const PlanResult roomy = plan_batch(request);
  ASSERT_TRUE(roomy.plan);
  EXPECT_EQ(roomy.plan->waves.size(), 1u);
  request.options.memory_cap = {roomy.plan->predicted.peak_memory.count * 3 / 4};
  const PlanResult tight = plan_batch(request);
  ASSERT_TRUE(tight.plan) << tight.rejections.front().reason;
  EXPECT_GT(tight.plan->waves.size(), 1u);
  EXPECT_LE(tight.plan->predicted.peak_memory, request.options.memory_cap);
  EXPECT_TRUE(verify_plan(*tight.plan).empty());
}

TEST(PlanBatch, PlansAPackAsOneDocumentUnderTheFullCausalMask) {
  PlanRequest request = request_of(kTwoPacks, "cpu:1x2");
  request.model.mask_kind = MaskKind::full_causal;
  const PlanResult result = plan_batch(request);
  ASSERT_TRUE(result.plan);
  EXPECT_EQ(result.plan->batch.packs, (std::vector<std::vector<std::int64_t>>{{758}, {758}}));
  EXPECT_TRUE(verify_plan(*result.plan).empty());
  request.batch = kFreeDocuments;
  EXPECT_THROW(plan_batch(request), InputError);
}

TEST(PlanBatch, RefusesRequestsThatMakeNoSense) {
  PlanRequest request = request_of(kTwoPacks, "cpu:1x2");
  request.options.strategies = {"rign"};
  EXPECT_THROW(plan_batch(request), InputError);
  request = request_of(kTwoPacks, "cpu:1x2");
  request.batch.packs[0][0] = 0;
  EXPECT_THROW(plan_batch(request), InputError);
  request = request_of(kTwoPacks, "cpu:1x2");
  request.options.memory_cap = {-1};
  EXPECT_THROW(plan_batch(request), InputError);
  request = request_of(kTwoPacks, "cpu:1x2");
  request.options.gradient_return = GradientReturn::explicit_steps;
  EXPECT_THROW(plan_batch(request), InputError);
}

TEST(MakeWave, RefusesRequestsThatMakeNoSense) {
  const auto message_for = [](const WaveRequest& request) -> std::string {
    try {
      make_wave(strategy_named("ring"), request, {});
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message_for(wave_of({3, 0}, 2)), "wave: found document 1 of 0 tokens, expected at least 1 token");
  EXPECT_EQ(message_for(wave_of({3}, 0)), "wave: found 0 ranks, expected at least 1");
  EXPECT_EQ(message_for(wave_of({}, 2)), "wave: found no documents, expected at least one");
  WaveRequest request = wave_of({3, 4}, 2);
  request.documents = {5, 5};
  EXPECT_EQ(message_for(request), "wave: found document 5 after 5, expected ascending document numbers");
  request.documents = {5};
  EXPECT_EQ(message_for(request), "wave: found 1 documents with 2 lengths, expected one length per document");
}

}  // namespace
}  // namespace strata::testing
