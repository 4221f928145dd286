// SPDX-License-Identifier: Apache-2.0
// Kinds of forged numbers and inputs, each in a freshly made plan: the honest plan is clean, the forged one
// fails on exactly the claims that are false, each by a line that says what was found and what is true.
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "core/plan/plan_json.hpp"
#include "tests/planner/audit/forgery.hpp"

namespace strata::testing {
namespace {

constexpr const char* kStep = "predicted.step_time_ns";
constexpr const char* kForward = "predicted.forward_ns";
constexpr const char* kBackward = "predicted.backward_ns";

TEST(ForgedClaims, ForwardAndBackwardSwapped) {
  expect_forgery(
      audited_request({"ring"}),
      [](Plan& plan) { std::swap(plan.predicted.forward, plan.predicted.backward); },
      [](const Plan& honest, const Plan&) {
        const std::string f = text(honest.predicted.forward), b = text(honest.predicted.backward);
        return Lines{{"predicted", kForward, {b + ", but", f}}, {"predicted", kBackward, {f, b}}};
      });
}

TEST(ForgedClaims, AStepOneNanosecondShorter) {
  expect_forgery(
      audited_request({"zigzag_ring"}),
      [](Plan& plan) {
        --plan.predicted.step_time.ns;
        --plan.predicted.backward.ns;
        put_times_right(plan);
      },
      [](const Plan& honest, const Plan& forged) {
        const Prediction &f = forged.predicted, &h = honest.predicted;
        return Lines{{"predicted", kStep, {text(f.step_time) + ", but", text(h.step_time)}},
                     {"predicted", kBackward, {text(f.backward), text(h.backward)}}};
      });
}

TEST(ForgedClaims, ATimeThatIsNotTheSumOfItsParts) {
  expect_forgery(audited_request({"ring"}), [](Plan& plan) { ++plan.predicted.forward.ns; },
                 {{"predicted", kStep, {"forward and backward take"}}});
}

TEST(ForgedClaims, LowerBounds) {
  for (const std::int64_t bound : {0, 1, 1'000'000}) {
    expect_forgery(
        audited_request({"ring"}),
        [&](Plan& plan) {
          plan.bounds.lower_bound.ns = bound;
          put_times_right(plan);
        },
        [&](const Plan& honest, const Plan&) {
          return Lines{{"bounds",
                        "bounds.lower_bound_ns",
                        {fmt::format("{}, but", bound), text(honest.bounds.lower_bound)}}};
        });
  }
}

TEST(ForgedClaims, TheGap) {
  for (const double gap : {-1e300, 0.0, 1e300}) {
    expect_forgery(
        audited_request({"ring"}), [&](Plan& plan) { plan.bounds.gap = gap; },
        [](const Plan& honest, const Plan&) {
          return Lines{{"bounds", "bounds.gap", {fmt::format("{}", honest.bounds.gap)}}};
        });
  }
}

TEST(ForgedClaims, TheGapToABoundOfNothing) {
  expect_forgery(audited_request({"ring"}),
                 [](Plan& plan) { plan.bounds.lower_bound = {0}, plan.bounds.gap = -1e300; },
                 {{"bounds", "bounds.lower_bound_ns"}, {"bounds", "bounds.gap", {"-1e+300", "0"}}});
}

TEST(ForgedClaims, WhichBoundBinds) {
  expect_forgery(audited_request({"ring"}), [](Plan& plan) { plan.bounds.active = ActiveBound::chain; },
                 {{"bounds", "bounds.active", {"chain, but", "compute"}}});
}

TEST(ForgedClaims, AWordThatIsNoBound) {
  const Plan plan = *plan_batch(audited_request({"ring"})).plan;
  std::string file = to_json(plan);
  const std::string word = "\"active\": \"compute\"";
  file.replace(file.find(word), word.size(), "\"active\": \"moon phase\"");
  std::istringstream in(file);
  try {
    read_plan(in, "plan.json");
    ADD_FAILURE() << "was read";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()),
              "plan.json: bounds.active: found \"moon phase\", expected \"compute\" or \"chain\"");
  }
}

TEST(ForgedClaims, ABoundOfAFamilyThatNobodySearched) {
  expect_forgery(audited_request({"ring"}), [](Plan& plan) { plan.bounds.in_family = Duration{7}; },
                 {{"bounds", "bounds.in_family_ns", {"7, but", "null"}}});
}

TEST(ForgedClaims, TheImbalance) {
  expect_forgery(
      audited_request({"ring"}), [](Plan& plan) { plan.predicted.imbalance = 1; },
      [](const Plan& honest, const Plan&) {
        return Lines{{"predicted", "predicted.imbalance", {fmt::format("{}", honest.predicted.imbalance)}}};
      });
}

TEST(ForgedClaims, TheArena) {
  expect_forgery(
      audited_request({"ring"}), [](Plan& plan) { --plan.predicted.arena.count; },
      [](const Plan& honest, const Plan&) {
        return Lines{{"predicted", "predicted.arena_bytes", {text(honest.predicted.arena)}}};
      });
}

TEST(ForgedClaims, ThePeakMemory) {
  expect_forgery(
      audited_request({"ring"}), [](Plan& plan) { --plan.predicted.peak_memory.count; },
      [](const Plan& honest, const Plan&) {
        return Lines{{"predicted", "predicted.peak_memory_bytes", {text(honest.predicted.peak_memory)}}};
      });
}

TEST(ForgedClaims, AMemoryCapThatIsMetByACheaperClaim) {
  expect_forgery(
      audited_request({"ring"}),
      [](Plan& plan) { plan.options.memory_cap = plan.predicted.peak_memory = plan.predicted.arena; },
      [](const Plan& honest, const Plan&) {
        return Lines{{"predicted", "predicted.peak_memory_bytes", {text(honest.predicted.peak_memory)}}};
      });
}

TEST(ForgedClaims, ACapBelowThePeak) {
  expect_forgery(audited_request({"ring"}),
                 [](Plan& plan) { plan.options.memory_cap = {plan.predicted.peak_memory.count - 1}; },
                 {{"memory_cap", "predicted.peak_memory_bytes", {"over the cap"}}});
}

TEST(ForgedClaims, ADeviceTooSmallForItsRanks) {
  expect_forgery(
      audited_request({"ring"}),
      [](Plan& plan) {
        // Both ranks of a host share its memory: room for one and a half.
        for (Device& device : plan.topology.devices)
          device.memory = {plan.predicted.peak_memory.count * 3 / 2};
      },
      [](const Plan& honest, const Plan&) {
        return Lines{{"memory_cap",
                      "predicted.peak_memory_bytes",
                      {"over the memory of device host0.cpu of ",
                       fmt::format("{}", honest.predicted.peak_memory.count * 3 / 2)}}};
      });
}

TEST(ForgedClaims, BytesMovedToAFasterLevel) {
  expect_forgery(
      audited_request({"ring"}),
      [](Plan& plan) {
        LevelBytes& bytes = plan.predicted.bytes_by_level;
        bytes.device += bytes.network;
        bytes.network = {};
      },
      [](const Plan& honest, const Plan&) {
        const LevelBytes& bytes = honest.predicted.bytes_by_level;
        return Lines{{"predicted", "predicted.bytes_by_level.device", {text(bytes.device)}},
                     {"predicted", "predicted.bytes_by_level.network", {text(bytes.network)}}};
      });
}

TEST(ForgedClaims, TheBytesOfKv) {
  expect_forgery(
      audited_request({"ring"}), [](Plan& plan) { plan.predicted.kv_bytes = {}; },
      [](const Plan& honest, const Plan&) {
        return Lines{{"predicted", "predicted.kv_bytes", {"0, but", text(honest.predicted.kv_bytes)}}};
      });
}

/// A request in which a rank recomputes everything, keeps nothing and shares its state.
PlanRequest thrifty_request() {
  PlanRequest request = audited_request({"ring"});
  request.model.vocabulary = 500;
  request.options.recompute = Recompute::full;
  request.options.offload_activations = true;
  request.options.logits = Logits::chunked;
  request.options.state_shards = 2;
  return request;
}

TEST(ForgedClaims, ARecomputationThatIsClaimedAway) {
  const auto claim_away = [](Plan& plan) {
    plan.options.recompute = Recompute::none;
    plan.options.offload_activations = false;
  };
  expect_forgery(thrifty_request(), claim_away,
                 {{"predicted", "predicted.bytes_by_level.device", {"but the waves give"}},
                  {"predicted", "predicted.bytes_by_level.network", {"but the waves give"}}});
  expect_forgery(thrifty_request(),
                 [&](Plan& plan) {
                   claim_away(plan);
                   put_waves_right(plan);
                 },
                 {{"bounds", "bounds.lower_bound_ns"},
                  {"predicted", kStep},
                  {"predicted", kBackward},
                  {"predicted", "predicted.peak_memory_bytes"},
                  {"predicted", "predicted.memory.activation_bytes"},
                  {"predicted", "predicted.memory.attention_bytes"},
                  {"predicted", "predicted.extrapolated_share"}});
}

TEST(ForgedClaims, WhatARankKeepsAndShares) {
  const auto lines = [](const std::string& term, const std::string& found) {
    return Lines{{"predicted", "predicted.peak_memory_bytes"},
                 {"predicted", "predicted.memory." + term, {found + ", but"}}};
  };
  const MemoryTerms honest = plan_batch(thrifty_request()).plan->predicted.memory;
  expect_forgery(
      thrifty_request(), [](Plan& plan) { plan.options.offload_activations = false; },
      lines("activation_bytes", text(honest.activations)));
  expect_forgery(
      thrifty_request(), [](Plan& plan) { plan.options.logits = Logits::full; },
      lines("logits_bytes", "null"));
  expect_forgery(
      thrifty_request(), [](Plan& plan) { plan.options.state_shards = 4; },
      lines("state_bytes", text(honest.state)));
}

TEST(ForgedClaims, InputsOfOtherMachinesAndModels) {
  const std::vector<std::function<void(Plan&)>> inputs = {
      [](Plan& plan) {
        for (Device& device : plan.topology.devices) device.relative_speed = 1000;
      },
      [](Plan& plan) { plan.model.hidden = 1, put_waves_right(plan); },
      [](Plan& plan) { plan.model.ffn *= 2, put_waves_right(plan); },
      [](Plan& plan) {
        CostProfile profile = read_profile(plan.profile.content, "profile");
        profile.linear_flops_per_second *= 2;
        plan.profile = embed_profile(profile_text(profile));
      }};
  const Plan honest = through_file(*plan_batch(audited_request({"ring"})).plan);
  for (const auto& forge : inputs) {
    Plan forged = honest;
    forge(forged);
    const Audit audit = audit_plan(through_file(std::move(forged)));
    std::set<std::string> places;
    for (const Violation& each : audit.violations) places.insert(each.place);
    // Whatever else of `predicted` follows from that input is false too.
    for (const char* place : {"bounds.lower_bound_ns", kStep, kForward, kBackward}) {
      EXPECT_EQ(places.count(place), 1U) << place << " is missing in\n" << listed(audit);
    }
    EXPECT_NE(listed(audit).find(kStep + (": " + text(honest.predicted.step_time) + ", but")),
              std::string::npos)
        << listed(audit);
  }
}

TEST(ForgedClaims, LinksFasterThanTheyAre) {
  expect_forgery(audited_request({"ring"}),
                 [](Plan& plan) {
                   for (Link& link : plan.topology.links) link.latency = {0}, link.bandwidth.value *= 1000;
                 },
                 {{"predicted", kStep}, {"predicted", kForward}, {"predicted", kBackward}});
}

TEST(ForgedClaims, AProfileThatTheCostModelCannotRead) {
  expect_forgery(audited_request({"ring"}), [](Plan& plan) { plan.profile = embed_profile("{}"); },
                 {{"profile", "inputs.profile.content", {"found no field 'format_version'"}}});
}

TEST(ForgedClaims, DigestsOfInputsAndPrograms) {
  const Plan honest = through_file(*plan_batch(audited_request({"ring"})).plan);
  Plan forged = honest;
  forged.digests.model = forged.digests.batch;
  EXPECT_EQ(listed(audit_plan(forged)).rfind("digest at inputs.model: the digest is ", 0), 0U);
  forged = honest;
  std::swap(forged.program_digests[0][0], forged.program_digests[0][1]);
  const Audit audit = audit_plan(forged);
  ASSERT_EQ(audit.violations.size(), 2U) << listed(audit);
  EXPECT_EQ(audit.violations[0].place, "program_digests[0][0]");
  EXPECT_EQ(audit.violations[1].place, "program_digests[0][1]");
}

}  // namespace
}  // namespace strata::testing
