// SPDX-License-Identifier: Apache-2.0
// What explain says about a plan: layout, load, bound, runner-up, reasons, scope; and how it writes numbers.
#include "planner/report/explain.hpp"
#include "core/base/counts.hpp"
#include "core/plan/plan_json.hpp"

#include <gtest/gtest.h>

#include "core/base/human_units.hpp"
#include "planner/search/plan_batch.hpp"

namespace strata::testing {
namespace {

std::string explained(const Plan& plan) {
  std::string text;
  const CostProfile profile = read_profile(plan.profile.content, "inputs.profile");
  for (const std::string& line : explain_plan(plan, profile)) {
    EXPECT_EQ(line.find('\n'), std::string::npos);
    text += line + "\n";
  }
  return text;
}

Plan plan_of(const std::string& topology, std::vector<std::int64_t> lengths = {600, 100, 57, 1}) {
  PlanRequest request;
  request.batch = {0, true, {std::move(lengths)}};
  request.topology = named_topology(topology);
  request.model = named_model("tiny");
  request.profile = default_profile(request.topology);
  PlanResult result = plan_batch(request);
  EXPECT_TRUE(result.plan);
  return std::move(*result.plan);
}

TEST(Explain, NamesLayoutLoadBoundAndScope) {
  const Plan plan = plan_of("cpu:1x3");
  const std::string text = explained(plan);
  for (const std::string& part :
       {"layout: " + plan.strategy, std::string("758 tokens in 4 documents, 1 wave, 3 ranks on"),
        "predicted step: " + human(plan.predicted.step_time), std::string("(unmeasured"),
        std::string("rank    0:"), std::string("rank    2:"),
        "bound: no schedule can take less than " + human(plan.bounds.lower_bound),
        fmt::format("what binds: {}", to_string(plan.bounds.active)), std::string("runner-up: "),
        std::string("ulysses: rejected, 4 query heads cannot be divided evenly among 3 ranks"
                    "; degrees that work: 1 (of 3 ranks); other"
                    " strategies divide no heads"),
        "not in it: " + step_time_exclusions()}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in\n" << text;
  }
}

TEST(Explain, OneOfAThingIsNotNamedAsSeveral) {
  Plan plan = plan_of("cpu:1x1", {1});
  plan.model.layers = 1;
  const std::string text = explained(plan);
  for (const char* part :
       {"  1 token in 1 document, 1 wave, 1 rank on 1 device (cpu:1x1)\n",
        "  one layer forward: 0 transfers and 1 attention task in at most 1 step; exchange needed\n",
        "  rank    0:          1 token,                   4 pairs x heads, 100.0 % of the work\n",
        "step time: 1 layer, attention"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in\n" << text;
  }
  EXPECT_NE(explained(plan_of("cpu:1x17")).find("\n  1 more rank with no more work is not listed\n"),
            std::string::npos);
  EXPECT_NE(explained(plan_of("cpu:1x18")).find("\n  2 more ranks with no more work are not listed\n"),
            std::string::npos);
}

TEST(Explain, SaysWhereTheProfileIsNotKnown) {
  const Plan plan = plan_of("cpu:1x2");
  const std::string known = explain_plan(plan, default_profile("cpu"))[3];
  const std::string unknown = explain_plan(plan, {})[3];
  EXPECT_EQ(known.rfind("predicted step: ", 0), 0U) << known;
  EXPECT_TRUE(known.ends_with(") (unmeasured profile cpu)")) << known;
  EXPECT_TRUE(unknown.ends_with(") (profile unknown)")) << unknown;
}

TEST(Explain, RunnerUpIsTheFastestOfTheOthers) {
  Plan plan = plan_of("cpu:1x2");
  plan.strategy = "ring";
  plan.predicted.step_time = {1000};
  plan.candidates = {
      {"ulysses", Duration{1500}, {}}, {"ring", Duration{1000}, {}}, {"allgather", Duration{1250}, {}}};
  EXPECT_NE(explained(plan).find("runner-up: allgather at 1.25 us, 25.0 % slower"), std::string::npos);
  plan.candidates = {{"ring", Duration{1000}, {}}, {"allgather", Duration{1000}, {}}};
  EXPECT_NE(explained(plan).find("runner-up: allgather ties at 1.00 us"), std::string::npos);
  plan.candidates = {{"ring", Duration{1000}, {}}, {"allgather", {}, "too long"}};
  EXPECT_NE(explained(plan).find("runner-up: none, no other strategy was feasible"), std::string::npos);
  plan.candidates = {{"ring", Duration{1000}, {}}};
  EXPECT_NE(explained(plan).find("runner-up: none, no other strategy was considered"), std::string::npos);
}

TEST(Explain, RunnerUpIsNotKnownWhereAPrunedCandidateMayBeFaster) {
  Plan plan = plan_of("cpu:1x2");
  plan.strategy = "ring";
  plan.predicted.step_time = {1000};
  const Candidate pruned{"allgather", {}, {}, true, Duration{1250}};
  plan.candidates = {{"ulysses", Duration{1500}, {}}, {"ring", Duration{1000}, {}}, pruned};
  EXPECT_NE(explained(plan).find("runner-up: not known"), std::string::npos);
  EXPECT_NE(explained(plan).find("allgather: more than 1.25 us, where"), std::string::npos);
  plan.candidates = {{"ulysses", Duration{1250}, {}}, pruned, {"ring", Duration{1000}, {}}};
  EXPECT_NE(explained(plan).find("runner-up: ulysses at 1.25 us, 25.0 % slower"), std::string::npos);
}

TEST(HumanUnits, CountsAreGroupedAndAgreeWithTheirNoun) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(-999), "-999");
  EXPECT_EQ(human_count(-1234567), "-1,234,567");
  EXPECT_EQ(counted(0, "wave"), "0 waves");
  EXPECT_EQ(counted(1, "wave"), "1 wave");
  EXPECT_EQ(counted(131072, "token"), "131,072 tokens");
  EXPECT_EQ(counted(1, "batch", "batches"), "1 batch");
  EXPECT_EQ(counted(2, "batch", "batches"), "2 batches");
}

TEST(HumanUnits, KeepThreeDigitsAndAUnit) {
  EXPECT_EQ(human(Duration{0}), "0 ns");
  EXPECT_EQ(human(Duration{812}), "812 ns");
  EXPECT_EQ(human(Duration{3250}), "3.25 us");
  EXPECT_EQ(human(Duration{14000000}), "14.0 ms");
  EXPECT_EQ(human(Duration{2500000000}), "2.50 s");
  EXPECT_EQ(human(Duration{5000000000000}), "5000 s");
  EXPECT_EQ(human(Bytes{512}), "512 B");
  EXPECT_EQ(human(Bytes{1536}), "1.50 KiB");
  EXPECT_EQ(human(Bytes{std::int64_t{3} << 50}), "3072 TiB");
}

}  // namespace
}  // namespace strata::testing
