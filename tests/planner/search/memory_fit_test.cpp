// SPDX-License-Identifier: Apache-2.0
// A chosen plan fits its devices: caps of devices, what would fit when nothing does, bounds that hold for
// every strategy, and public runs whose memory is known.
#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "core/base/checked.hpp"
#include "core/base/human_units.hpp"
#include "core/verify/verify_schedule.hpp"
#include "cost_models/bounds/lower_bound.hpp"
#include "planner/audit/audit_plan.hpp"
#include "planner/report/explain.hpp"
#include "planner/report/memory_text.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/planner/realise/random_waves.hpp"

namespace strata::testing {
namespace {

PlanRequest request_of(Batch batch, const std::string& topology, const ModelShape& model) {
  PlanRequest request;
  request.batch = std::move(batch);
  request.topology = named_topology(topology);
  request.model = model;
  request.profile = default_profile(request.topology);
  request.options.device_cap = true;
  return request;
}

const Batch kMillion{0, true, {{1'048'576}}};

/// Shapes of two published models and what a GPU held in a step of one document of 1,048,576 tokens on eight
/// H100s, in GB. Layer inputs were offloaded to host memory and the loss was computed in chunks; KV moved in
/// all-gathers.
ModelShape qwen3(std::int32_t layers, std::int64_t hidden, std::int64_t ffn, std::int32_t query_heads) {
  ModelShape model;
  model.layers = layers;
  model.hidden = hidden;
  model.ffn = ffn;
  model.vocabulary = 151'936;
  model.query_heads = query_heads;
  model.kv_heads = 8;
  model.head_dim = model.value_head_dim = 128;
  return model;
}
const ModelShape kQwen8b = qwen3(36, 4096, 12'288, 32);
const ModelShape kQwen32b = qwen3(64, 5120, 25'600, 64);
constexpr double kMeasured8b = 56.2, kMeasured32b = 60.8;

PlanRequest published_run(const ModelShape& model, const std::string& strategy) {
  PlanRequest request = request_of(kMillion, "dgx_h100:1", model);
  request.options.recompute = Recompute::full;
  request.options.logits = Logits::chunked;
  request.options.offload_activations = true;
  request.options.strategies = {strategy};
  return request;
}

double gigabytes(Bytes bytes) { return static_cast<double>(bytes.count) / 1e9; }

TEST(MemoryOfPublishedRuns, IsWithin15PercentOfWhatAnEightBillionParameterModelHeld) {
  for (const char* strategy : {"allgather", "ulysses", "per_document"}) {
    const PlanResult result = plan_batch(published_run(kQwen8b, strategy));
    ASSERT_TRUE(result.plan) << strategy;
    EXPECT_NEAR(gigabytes(result.plan->predicted.peak_memory), kMeasured8b, 0.15 * kMeasured8b) << strategy;
  }
}

TEST(MemoryOfPublishedRuns, DoNotFitWithoutTheOffloadingThatTheyNeeded) {
  for (const char* strategy : {"allgather", "ulysses"}) {
    PlanRequest request = published_run(kQwen8b, strategy);
    request.options.offload_activations = false;
    const PlanResult result = plan_batch(request);
    ASSERT_FALSE(result.plan) << strategy;
    ASSERT_FALSE(result.would_fit.empty());
    EXPECT_EQ(result.would_fit.front().rfind("--recompute full --logits chunked --offload-activations (", 0),
              0U)
        << result.would_fit.front();
  }
}

TEST(MemoryOfPublishedRuns, SaysThatTheStateOfThe32BillionParameterModelWasNotAllOnTheGpu) {
  PlanRequest request = published_run(kQwen32b, "allgather");
  request.options.device_cap = false;
  request.options.memory_cap = {static_cast<std::int64_t>(kMeasured32b * 1e9)};
  EXPECT_NEAR(gigabytes(state_memory(kQwen32b, request.options, 8)), 65.5, 0.1);
  const PlanResult result = plan_batch(request);
  ASSERT_FALSE(result.plan);
  EXPECT_TRUE(result.rejections.front().reason.ends_with("; the state alone is over it"))
      << result.rejections.front().reason;
}

TEST(MemoryFit, RejectsWhatTheDevicesCannotHoldUnlessTheCapIsLifted) {
  PlanRequest request = request_of(kMillion, "dgx_h100:1", named_model("llama3_70b"));
  const PlanResult capped = plan_batch(request);
  ASSERT_FALSE(capped.plan);
  ASSERT_EQ(capped.rejections.size(), all_strategies().size());
  for (const Rejection& rejection : capped.rejections) {
    EXPECT_NE(rejection.reason.find("over the memory of device node0.gpu"), std::string::npos)
        << rejection.reason;
    EXPECT_NE(rejection.reason.find("of 80.0 GiB (85899345920 bytes)"), std::string::npos)
        << rejection.reason;
  }
  request.options.device_cap = false;
  const PlanResult lifted = plan_batch(request);
  ASSERT_TRUE(lifted.plan);
  EXPECT_GT(lifted.plan->predicted.peak_memory.count, std::int64_t{80} << 30);
  EXPECT_TRUE(verify_plan(*lifted.plan).empty());
}

/// Every answer is one that holds: planning so again succeeds.
TEST(MemoryFit, WhatWouldFitDoesFit) {
  PlanRequest request =
      request_of({0, true, {{40'000, 2'000, 300}, {30'000, 30'000}}}, "dgx_h100:1", named_model("llama3_8b"));
  request.model.vocabulary = 0;
  request.options.device_cap = false;
  request.options.memory_cap = {std::int64_t{40} << 30};
  const PlanResult result = plan_batch(request);
  ASSERT_FALSE(result.plan);
  ASSERT_EQ(result.would_fit.size(), 3U) << fmt::format("{}", fmt::join(result.would_fit, "\n"));
  EXPECT_EQ(result.would_fit[0].rfind("--recompute selective (", 0), 0U) << result.would_fit[0];
  EXPECT_EQ(result.would_fit[1].rfind("free documents instead of fixed packs (", 0), 0U)
      << result.would_fit[1];
  EXPECT_EQ(result.would_fit[2].rfind("16 ranks instead of 8 (", 0), 0U) << result.would_fit[2];
  PlanRequest changed = request;
  changed.options.recompute = Recompute::selective;
  EXPECT_TRUE(plan_batch(changed).plan);
  changed = request;
  changed.batch = {0, false, {{40'000, 2'000, 300, 30'000, 30'000}}};
  EXPECT_TRUE(plan_batch(changed).plan);
  changed = request;
  changed.topology = named_topology("dgx_h100:2");
  EXPECT_TRUE(plan_batch(changed).plan);
}

/// The same ranks are planned whether a request names them as part of its machine or as all of it.
TEST(MemoryFit, MoreRanksLieOnTheMachineBeforeTheyLieOnAnother) {
  int checked = 0;
  for (const std::int32_t per_device : {1, 2}) {
    Topology machine = named_topology("dgx_h100:2");
    std::vector<std::int32_t> order;
    for (std::int32_t device = 15; device >= 0; --device) {
      for (std::int32_t rank = 0; rank < per_device; ++rank) order.push_back(device);
    }
    machine.rank_device = order;
    for (const std::int32_t ranks : {1, 2, 3, 5, 8}) {
      PlanRequest request = request_of({0, true, {{30'000}}}, "dgx_h100:2", named_model("llama3_8b"));
      request.topology = with_ranks(machine, ranks);
      request.machine_ranks = machine.rank_device;
      request.options.strategies = {"ring"};
      const PlanResult result = plan_batch(request);
      if (result.plan) continue;
      for (const std::string& answer : result.would_fit) {
        const std::size_t end = answer.find(" ranks instead of ");
        if (end == std::string::npos || answer.find(" and ") != std::string::npos) continue;
        const auto more = static_cast<std::int32_t>(std::stol(answer));
        if (more > machine.rank_count()) continue;
        PlanRequest again = request;
        again.topology = with_ranks(machine, more);
        const PlanResult fits = plan_batch(again);
        ASSERT_TRUE(fits.plan) << answer;
        const std::string figure = human(fits.plan->predicted.peak_memory) + " on the fullest rank";
        EXPECT_NE(answer.find(figure), std::string::npos) << answer << " is not " << figure;
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 3) << "or little was shown";
}

/// Room on other devices does not make up for a device that cannot hold the state of its ranks.
TEST(MemoryFit, ADeviceThatCannotHoldTheStateHasNoRemedy) {
  PlanRequest request = request_of({0, false, {{5000, 300, 20}}}, "cpu:2x1", named_model("tiny"));
  request.topology.devices[0].memory = {3};
  const PlanResult result = plan_batch(request);
  ASSERT_FALSE(result.plan);
  EXPECT_TRUE(result.would_fit.empty());
  request.options.state_bytes_per_parameter = 0;
  request.topology.devices[0].memory = {std::int64_t{60} << 20};
  const PlanResult smaller = plan_batch(request);
  EXPECT_TRUE(smaller.plan || !smaller.would_fit.empty()) << "no state, so that more ranks or waves help";
}

TEST(MemoryFit, PlansThatRecomputeLintCleanAndTakeLonger) {
  PlanRequest request =
      request_of({0, true, {{600, 100, 57, 1}, {300, 458}}}, "dgx_h100:1", named_model("tiny"));
  request.model.query_heads = request.model.kv_heads = 8;
  request.options.strategies = {"ring"};
  Duration before;
  for (const Recompute recompute : {Recompute::none, Recompute::selective, Recompute::full}) {
    request.options.recompute = recompute;
    const PlanResult result = plan_batch(request);
    ASSERT_TRUE(result.plan);
    const Audit audit = audit_plan(*result.plan);
    EXPECT_TRUE(audit.passed()) << to_string(recompute) << ": " << audit.violations.front().message;
    EXPECT_TRUE(audit.not_verified.empty()) << to_string(recompute);
    EXPECT_GT(result.plan->predicted.step_time, before) << to_string(recompute);
    before = result.plan->predicted.step_time;
  }
}

Topology shared_box(std::int32_t devices, std::int32_t ranks_per_device, std::int64_t memory) {
  Topology box = named_topology(fmt::format("cpu:1x{}", devices * ranks_per_device));
  box.devices.resize(static_cast<std::size_t>(devices));
  box.switches.clear();
  box.links.clear();
  for (Device& device : box.devices) device.memory = {memory};
  for (std::int32_t d = 1; d < devices; ++d) {
    for (const auto& [from, to] : {std::pair(0, d), std::pair(d, 0)}) {
      box.links.push_back({from, to, LinkLevel::node, {100}, {1e9}});
    }
  }
  for (std::size_t rank = 0; rank < box.rank_device.size(); ++rank) {
    box.rank_device[rank] = static_cast<std::int32_t>(rank) / ranks_per_device;
  }
  return box;
}

TEST(MemoryFit, RanksThatShareADeviceAreSplitInWhicheverWaveTheyHoldMost) {
  // The long document is alone in its wave on one rank; the other rank is fullest in a wave of several.
  PlanRequest request =
      request_of({0, false, {{4000, 1000, 1000, 1000, 1000}}}, "cpu:1x2", named_model("tiny"));
  request.topology = shared_box(1, 2, std::int64_t{195} << 20);
  request.options.strategies = {"whole_document"};
  const PlanResult result = plan_batch(request);
  ASSERT_TRUE(result.plan) << result.rejections.front().reason;
  EXPECT_GT(result.plan->waves.size(), 1U);
  EXPECT_TRUE(verify_plan(*result.plan).empty());
  request.batch = {0, true, {{4000}, {1000, 1000, 1000, 1000}}};
  const PlanResult packed = plan_batch(request);
  ASSERT_FALSE(packed.plan);
  EXPECT_EQ(packed.rejections.front().reason.rfind("document 0 of 4,000 tokens with 1 other wave needs ", 0),
            0U)
      << packed.rejections.front().reason;
}

/// Free documents are rejected only where they would not fit one by one either.
TEST(MemoryFit, FreeDocumentsAreRejectedOnlyIfOneAtATimeDoesNotFitEither) {
  std::int64_t rejected = 0, split = 0;
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    PlanRequest request = request_of({0, false, {{}}}, "cpu:1x2", named_model("tiny"));
    for (int d = pick(2, 8); d > 0; --d)
      request.batch.packs[0].push_back(pick(0, 3) == 0 ? pick(800, 1500) : pick(1, 300));
    Batch alone{0, true, {}};
    for (const std::int64_t length : request.batch.packs[0]) alone.packs.push_back({length});
    request.topology = shared_box(pick(1, 2), pick(1, 3), 0);
    for (const Strategy& strategy : all_strategies()) {
      const StrategyOutcome loose = fit_waves(strategy, request.batch, request);
      if (loose.rejection) continue;
      PlanRequest capped = request;
      std::int64_t most = 0;
      std::vector<std::int64_t> held(request.topology.devices.size());
      for (std::size_t rank = 0; rank < loose.memory.ranks.size(); ++rank) {
        auto& sum = held[static_cast<std::size_t>(request.topology.rank_device[rank])];
        most = std::max(most, sum += loose.memory.ranks[rank].total().count);
      }
      for (Device& device : capped.topology.devices) device.memory = {most * pick(30, 100) / 100};
      const StrategyOutcome outcome = fit_waves(strategy, capped.batch, capped);
      if (outcome.rejection) {
        ++rejected;
        EXPECT_TRUE(fit_waves(strategy, alone, capped).rejection)
            << strategy.name << ", seed " << seed << ": " << outcome.rejection->reason;
      } else {
        EXPECT_FALSE(memory_excess(outcome.memory, capped.options, capped.topology));
        split += outcome.waves.size() > 1 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(rejected, 30);
  EXPECT_GT(split, 30);
}

TEST(MemoryFit, NothingIsSaidToFitWhenMemoryIsNotWhatIsLacking) {
  PlanRequest request = request_of({0, true, {{100}}}, "cpu:1x3", named_model("tiny"));
  request.options.strategies = {"ulysses"};
  const PlanResult result = plan_batch(request);
  ASSERT_FALSE(result.plan);
  EXPECT_TRUE(result.would_fit.empty());
}

TEST(MemoryFit, WhatCannotBeCountedIsRejectedEvenWithoutACap) {
  ModelShape model = named_model("tiny");
  model.layers = 1 << 20;
  model.hidden = model.ffn = 2'147'483'647;
  PlanRequest request = request_of({0, true, {{2000}}}, "cpu:1x2", model);
  request.options.device_cap = false;
  const PlanResult result = plan_batch(request);
  ASSERT_FALSE(result.plan);
  EXPECT_NE(result.rejections.front().reason.find("over what can be counted"), std::string::npos)
      << result.rejections.front().reason;
  request.options.memory_cap = {std::int64_t{1} << 58};
  EXPECT_FALSE(plan_batch(request).plan);
}

TEST(MemoryFit, NoRankHoldsLessThanTheBoundSays) {
  for (const Strategy& strategy : all_strategies()) {
    for (const Recompute recompute : {Recompute::none, Recompute::selective, Recompute::full}) {
      PlanRequest request =
          request_of({0, true, {{600, 100, 57, 1}, {300, 458}}}, "dgx_h100:1", named_model("tiny"));
      request.model.query_heads = request.model.kv_heads = 8;
      request.model.vocabulary = 500;
      request.options.recompute = recompute;
      request.options.offload_activations = recompute == Recompute::full;
      const StrategyOutcome outcome = fit_waves(strategy, request.batch, request);
      ASSERT_FALSE(outcome.rejection) << strategy.name;
      for (std::size_t w = 0; w < outcome.waves.size(); ++w) {
        for (const RankProgram& program : outcome.programs[w]) {
          const std::int64_t tokens = outcome.waves[w].placement.token_count(program.rank);
          EXPECT_EQ(owned_tokens(program), tokens);
          const MemoryTerms terms = rank_memory(program, request.model, request.options, request.topology);
          EXPECT_GE(terms.total().count, state_memory(request.model, request.options, 8).count +
                                             least_token_memory(request.model, request.options, tokens).count)
              << strategy.name << ", " << to_string(recompute) << ", rank " << program.rank;
          EXPECT_LE(terms.total(), outcome.memory.ranks[static_cast<std::size_t>(program.rank)].total());
        }
      }
      const LowerBound bound = lower_bound(request.batch.document_lengths(), request.model, request.topology,
                                           request.profile, request.options);
      EXPECT_LE(bound.least_waves, std::ssize(outcome.waves));
    }
  }
}

TEST(MemoryText, ExplainNamesEveryTermAndWhatIsLeftOut) {
  PlanRequest request = request_of({0, true, {{4000}}}, "dgx_h100:1", named_model("llama3_8b"));
  request.model.vocabulary = 0;
  request.options.strategies = {"ring"};
  const auto explained = [&] {
    const PlanResult result = plan_batch(request);
    std::string text;
    for (const std::string& line : explain_plan(*result.plan, request.profile)) text += line + "\n";
    return text;
  };
  const std::string text = explained();
  for (const char* part : {"capped by the memory of the devices\n", "  state 13.0 GiB: ", "  activations ",
                           "  attention ", "  logits left out: the model states no vocabulary\n",
                           "  communicators ", "  left out of it: norms, "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in\n" << text;
  }
  request.options.device_cap = false;
  request.options.memory_cap = {std::int64_t{80} << 30};
  EXPECT_NE(explained().find(", cap 80.0 GiB a rank\n"), std::string::npos) << explained();
  request.options.memory_cap = {std::int64_t{700} << 30};
  EXPECT_NE(explained().find(", cap 700 GiB a rank, over the 80.0 GiB of the device\n"), std::string::npos)
      << explained();
  request.options.memory_cap = {};
  request.options.device_cap = true;
  request.model.vocabulary = 128'256;
  EXPECT_NE(explained().find("  logits 245 MiB: f32, all tokens of the rank\n"), std::string::npos)
      << explained();
  request.options.logits = Logits::chunked;
  EXPECT_NE(explained().find("  logits left out: the loss is computed in chunks\n"), std::string::npos);
  request.topology = named_topology("cpu:1x2");
  request.profile = default_profile(request.topology);
  EXPECT_NE(explained().find("  communicators left out: known for GPUs only\n"), std::string::npos);
  EXPECT_NE(explained().find("not capped (the topology states no memory)\n"), std::string::npos);
}

}  // namespace
}  // namespace strata::testing
