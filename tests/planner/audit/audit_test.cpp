// SPDX-License-Identifier: Apache-2.0
// Honest plans pass with nothing left open, whatever the request; every number that a plan states is noticed
// when it changes; what an audit was told not to recompute is listed.
#include "planner/audit/audit_plan.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <sstream>

#include "core/json/json_document.hpp"
#include "core/plan/plan_json.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/core/plan/plan_mutations.hpp"
#include "tests/planner/audit/forgery.hpp"
#include "tests/support/hand_built_waves.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::testing {
namespace {

/// What a rank keeps, recomputes and shares.
void vary_memory(PlanRequest& request, int policy) {
  constexpr std::array<Recompute, 3> kRecompute = {Recompute::none, Recompute::full, Recompute::selective};
  PlanOptions& options = request.options;
  options.recompute = kRecompute[static_cast<std::size_t>(policy) % 3];
  options.offload_activations = options.recompute == Recompute::full && policy % 2 == 1;
  if (policy % 4 == 1) options.logits = Logits::chunked;
  options.state_shards = policy / 2 % 3;
  if (policy > 0) request.model.vocabulary = 500;
}

/// Every strategy with every policy, masks and machines of several kinds.
std::vector<PlanRequest> varied_requests() {
  std::vector<PlanRequest> requests;
  for (const Strategy& strategy : all_strategies()) {
    for (int policy = 0; policy < (small_scale() ? 2 : 8); ++policy) {
      PlanRequest request =
          audited_request({std::string(strategy.name)}, policy % 2 == 0 ? "cpu:2x2" : "cpu:1x4:2");
      if (policy % 2 == 1) request.options.exchange = ExchangeMode::full;
      if (policy / 2 % 2 == 1) request.options.kv = BackwardKeep::retain;
      if (policy / 4 == 1) request.options.gradient_return = GradientReturn::reverse_tree;
      if (policy % 3 == 2) request.model.attention = AttentionKind::window, request.model.window = 6;
      if (policy % 3 == 1) request.batch = {0, false, {{40, 3, 17, 1, 25}}};
      vary_memory(request, policy);
      requests.push_back(std::move(request));
    }
  }
  requests.push_back(audited_request({}, "dgx_h100:1", {{600, 100, 57, 1}, {300, 458}}));
  requests.push_back(audited_request({}, "cpu:1x3"));
  requests.push_back(audited_request({"auto"}, "cpu:1x1"));
  requests.back().model.mask_kind = MaskKind::full_causal;
  return requests;
}

TEST(Audit, HonestPlansPassWithNothingLeftOpen) {
  for (const PlanRequest& request : varied_requests()) {
    const PlanResult result = plan_batch(request);
    ASSERT_TRUE(result.plan);
    const Audit audit = audit_plan(through_file(*result.plan));
    EXPECT_TRUE(audit.passed()) << result.plan->strategy << "\n" << listed(audit);
    EXPECT_TRUE(audit.not_verified.empty()) << audit.not_verified.front().claim;
  }
}

/// A claim of a plan file: its key below `section`, and where its value stands in the text.
struct Place {
  std::string key;
  std::size_t begin = 0, end = 0;
};

/// Every value of `predicted` or `bounds`.
std::vector<Place> claims_of(const std::string& file, const std::string& section) {
  std::vector<Place> places;
  const JsonDocument document = JsonDocument::parse_text(file, "plan.json");
  std::size_t at = file.find("\n  \"" + section + "\": {");
  const auto add = [&](std::string_view key, const std::string& name) {
    const std::string quoted = "\"" + std::string(key) + "\":";
    at = file.find(quoted, at) + quoted.size();
    while (file[at] == ' ') ++at;
    places.push_back({name, at, file.find_first_of(",}\n", at)});
  };
  for (const JsonValue top : document.root().members()) {
    if (top.key() != section) continue;
    for (const JsonValue value : top.members()) {
      const std::string name = section + "." + std::string(value.key());
      if (file[file.find_first_not_of(
              ' ', file.find("\"" + std::string(value.key()) + "\":", at) + value.key().size() + 3)] != '{') {
        add(value.key(), name);
        continue;
      }
      for (const JsonValue level : value.members()) add(level.key(), name + "." + std::string(level.key()));
    }
  }
  return places;
}

/// Another value of the same kind.
std::string forged_value(const std::string& value) {
  if (value == "null") return "1";
  if (value.front() == '"') return value == "\"chain\"" ? "\"compute\"" : "\"chain\"";
  if (value == "true" || value == "false") return value == "true" ? "false" : "true";
  if (value.find_first_of(".e") != std::string::npos) return value == "0.5" ? "0.25" : "0.5";
  return std::to_string(std::stoll(value) + 1);
}

/// Where the verdict on a value that changes alone begins: a time is no longer a part of the step, a bound is
/// no longer the one that the gap belongs to, and the terms of memory no longer add up to the peak.
std::string line_about(const std::string& key) {
  if (key == "bounds.lower_bound_ns") return "bounds.gap";
  const bool term = key.starts_with("predicted.memory.") && !key.ends_with(".rank");
  if (term) return "predicted.peak_memory_bytes";
  const bool time = key.starts_with("predicted.") && key.ends_with("_ns");
  return time ? "predicted.step_time_ns" : key;
}

/// Where the verdict on a plan file begins, be it the reader's or the audit's.
std::string first_place(const std::string& file) {
  try {
    std::istringstream in(file);
    const Audit audit = audit_plan(read_plan(in, "plan.json"));
    return audit.passed() ? "nowhere" : audit.violations.front().place;
  } catch (const InputError& error) {
    return error.where().substr(error.where().find(' ') + 1);
  }
}

TEST(Audit, NoticesEveryValueOfPredictedAndBoundsThatChanges) {
  std::set<std::string> forged;
  for (const PlanRequest& request : varied_requests()) {
    const std::string file = to_json(*plan_batch(request).plan);
    for (const char* section : {"predicted", "bounds"}) {
      for (const Place& place : claims_of(file, section)) {
        std::string changed = file;
        changed.replace(place.begin, place.end - place.begin,
                        forged_value(file.substr(place.begin, place.end - place.begin)));
        const std::string found = first_place(changed);
        // The chosen candidate says the same of its time.
        const bool entry = place.key == "predicted.settled" && found.starts_with("candidates[");
        EXPECT_EQ(entry ? line_about(place.key) : found, line_about(place.key));
        forged.insert(place.key);
      }
    }
  }
  EXPECT_EQ(forged.size(), 22U) << "a claim was added: say in audit_claims.cpp how it is recomputed";
}

TEST(Audit, ListsWhatItWasToldNotToRecompute) {
  const Plan plan = *plan_batch(audited_request({})).plan;
  const auto open_claims = [&](const AuditOptions& options) {
    const Audit audit = audit_plan(plan, options);
    EXPECT_TRUE(audit.passed()) << listed(audit);
    std::string claims;
    for (const UnverifiedClaim& each : audit.not_verified) {
      EXPECT_FALSE(each.reason.empty());
      claims += each.claim + "; ";
    }
    return claims;
  };
  const std::string times =
      "predicted.step_time_ns, predicted.forward_ns, predicted.backward_ns, predicted.extrapolated_share, "
      "predicted.settled; candidates; ";
  AuditOptions options;
  options.candidates = false;
  EXPECT_EQ(open_claims(options), "candidates; ");
  options = {};
  options.times = false;
  EXPECT_EQ(open_claims(options), times);
  options = {};
  options.programs = false;
  EXPECT_EQ(open_claims(options), times +
                                      "program_digests, predicted.peak_memory_bytes, predicted.memory.rank, "
                                      "predicted.memory.state_bytes, predicted.memory.activation_bytes, "
                                      "predicted.memory.attention_bytes, predicted.memory.logits_bytes, "
                                      "predicted.memory.communicator_bytes, predicted.arena_bytes; ");
}

/// A value that changes alone is noticed by an audit that recomputes nothing but what it can do without, or
/// it is among what that audit says to have left open.
TEST(Audit, NoticesOrListsEveryValueThatChangesWhateverItIsToldNotToRecompute) {
  const std::string file = to_json(*plan_batch(audited_request({"ring"})).plan);
  std::set<std::string> listed_claims;
  for (const int left_out : {0, 1, 2}) {
    AuditOptions options;
    options.candidates = false;
    options.times = left_out < 1;
    options.programs = left_out < 2;
    for (const char* section : {"predicted", "bounds"}) {
      for (const Place& place : claims_of(file, section)) {
        std::istringstream in(file);
        EXPECT_TRUE(audit_plan(read_plan(in, "plan.json"), options).passed());
        std::string changed = file;
        changed.replace(place.begin, place.end - place.begin,
                        forged_value(file.substr(place.begin, place.end - place.begin)));
        try {
          std::istringstream forged(changed);
          const Audit audit = audit_plan(read_plan(forged, "plan.json"), options);
          if (!audit.passed()) continue;
          EXPECT_FALSE(audit.verifies(place.key)) << place.key << " is false and passed";
          EXPECT_TRUE(audit.verifies("predicted.kv_bytes"));
          listed_claims.insert(place.key);
        } catch (const InputError&) {
          continue;  // no plan file
        }
      }
    }
  }
  EXPECT_EQ(listed_claims, (std::set<std::string>{"predicted.arena_bytes", "predicted.extrapolated_share",
                                                  "predicted.memory.rank"}));
}

TEST(Audit, LeavesOpenWhatThePlansProfileKnowsOfItsDevices) {
  const Plan plan = *plan_batch(audited_request({"ring"}, "dgx_h100:1", {{600, 100}})).plan;
  EXPECT_TRUE(audit_plan(plan).not_verified.empty());
  PlanRequest request = audited_request({"ring"}, "cpu:1x2");
  request.profile = default_profile("h100");
  const Plan other = through_file(*plan_batch(request).plan);
  for (const bool times : {true, false}) {
    AuditOptions options;
    options.times = times;
    const Audit audit = audit_plan(other, options);
    EXPECT_TRUE(audit.passed()) << listed(audit);
    ASSERT_EQ(audit.not_verified.size(), times ? 1U : 3U);
    EXPECT_EQ(audit.not_verified.front(),
              (UnverifiedClaim{"inputs.profile",
                               "h100 is not for a device of this cluster, such as host0.cpu: times are "
                               "another device's"}));
    EXPECT_FALSE(audit.verifies("inputs.profile"));
  }
}

TEST(Audit, FindsFalseMemoryAndBoundsWithoutASimulation) {
  Plan plan = *plan_batch(audited_request({"ring"})).plan;
  --plan.predicted.memory.state.count;
  ++plan.predicted.memory.attention.count;
  ++plan.bounds.lower_bound.ns;
  put_times_right(plan);
  AuditOptions options;
  options.times = false;
  const Audit audit = audit_plan(plan, options);
  ASSERT_EQ(audit.violations.size(), 3U) << listed(audit);
  EXPECT_EQ(audit.violations[0].place, "bounds.lower_bound_ns");
  EXPECT_EQ(audit.violations[1].place, "predicted.memory.state_bytes");
  EXPECT_EQ(audit.violations[2].place, "predicted.memory.attention_bytes");
}

TEST(Audit, TakesTheProfileFromOutsideWhereThePlanNamesOnlyItsDigest) {
  const PlanRequest request = audited_request({"ring", "ulysses"});
  Plan plan = *plan_batch(request).plan;
  plan.profile.content.clear();
  EXPECT_TRUE(needs_profile(plan));
  const Audit without = audit_plan(plan);
  EXPECT_TRUE(without.passed()) << listed(without);
  ASSERT_EQ(without.not_verified.size(), 3U);
  EXPECT_EQ(without.not_verified[0].claim, "bounds.lower_bound_ns, bounds.active");
  AuditOptions options;
  options.profile = request.profile;
  options.profile->linear_flops_per_second += 1;
  EXPECT_EQ(audit_plan(plan, options).not_verified.size(), 3U) << "another profile is not the plan's";
  EXPECT_FALSE(audit_plan(plan, options).profile);
  options.profile = request.profile;
  EXPECT_TRUE(audit_plan(plan, options).not_verified.empty());
  EXPECT_EQ(audit_plan(plan, options).profile, request.profile);
  ++plan.predicted.forward.ns, --plan.predicted.backward.ns;
  EXPECT_EQ(audit_plan(plan, options).violations.size(), 2U);
}

TEST(Audit, LeavesOpenWhoMadeALayoutThatNoStrategyMakes) {
  // Both ranks still own one piece, cut at another row than ring's.
  Plan plan = *plan_batch(audited_request({"ring"}, "cpu:1x2", {{20}})).plan;
  const auto cut = [](TokenSpan& span) {
    (span.begin == 10 ? span.begin : span.end) += span.begin == 10 || span.end == 10 ? 1 : 0;
  };
  for (auto& spans : plan.waves[0].placement.spans) {
    for (TokenSpan& span : spans) cut(span);
  }
  for (ScheduleStep& step : plan.waves[0].schedule.steps) {
    for (Transfer& transfer : step.transfers) cut(transfer.span);
    for (AttentionTask& task : step.tasks) {
      cut(task.query);
      cut(task.key);
    }
  }
  put_waves_right(plan);
  const PlanRequest request{plan.batch, plan.topology, plan.model, plan.options,
                            default_profile(plan.topology)};
  put_prediction_right(plan, request);
  const Audit audit = audit_plan(through_file(plan));
  EXPECT_TRUE(audit.passed()) << listed(audit);
  ASSERT_EQ(audit.not_verified.size(), 1U);
  EXPECT_EQ(audit.not_verified[0],
            (UnverifiedClaim{"strategy",
                             "waves[0] claims to be a wave of 'ring', which would place tokens "
                             "otherwise"}));
}

TEST(Audit, AcceptsAnExplicitBackwardAsTheRequestSays) {
  for (const Strategy& strategy : all_strategies()) {
    PlanRequest request = audited_request({std::string(strategy.name)});
    request.options.exchange = ExchangeMode::full;
    vary_memory(request, static_cast<int>(strategy.name.size()));
    Plan plan = *plan_batch(request).plan;
    request.options.gradient_return = plan.options.gradient_return = GradientReturn::explicit_steps;
    for (Wave& wave : plan.waves) wave = test::with_explicit_backward(std::move(wave), plan.model);
    put_waves_right(plan);
    put_prediction_right(plan, request);
    const Audit audit = audit_plan(through_file(plan));
    EXPECT_TRUE(audit.passed()) << listed(audit);
    EXPECT_TRUE(audit.not_verified.empty());
  }
}

TEST(Audit, HasAVerdictOnEveryDamagedPlan) {
  test::MutationDice dice(7);
  int refused = 0, passed = 0;
  const std::vector<PlanRequest> requests = varied_requests();
  for (std::size_t i = 0; i < requests.size(); i += 3) {
    const PlanRequest& request = requests[i];
    const Plan honest = *plan_batch(request).plan;
    const std::string file = to_json(honest);
    for (const test::Mutation& mutation : test::all_mutations()) {
      Plan damaged = honest;
      if (!mutation.apply(damaged, dice)) continue;
      try {
        damaged = through_file(std::move(damaged));
      } catch (const InputError&) {
        continue;  // no plan file
      }
      if (to_json(damaged) == file) continue;
      const Audit audit = audit_plan(damaged);
      ++(audit.passed() ? passed : refused);
      if (!audit.passed() || !audit.not_verified.empty()) continue;
      // Only what the planner itself would write passes with nothing left open.
      const PlanRequest asked{damaged.batch, damaged.topology, damaged.model, damaged.options,
                              request.profile};
      EXPECT_EQ(to_json(through_file(*plan_batch(asked).plan)), to_json(damaged)) << mutation.kind;
    }
  }
  EXPECT_GT(refused, small_scale() ? 200 : 700);
  EXPECT_LT(passed, refused / 20);
}

TEST(Audit, StopsAtItsLimit) {
  Plan plan = *plan_batch(audited_request({"ring"})).plan;
  plan.options.exchange = ExchangeMode::full;
  plan.options.kv = BackwardKeep::retain;
  AuditOptions options;
  options.limit = 3;
  EXPECT_EQ(audit_plan(through_file(plan), options).violations.size(), 3U);
}

}  // namespace
}  // namespace strata::testing
