// SPDX-License-Identifier: Apache-2.0
// One verdict on a plan file, whichever command is asked, and a measured timeline that is not the whole run.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "core/plan/plan_json.hpp"
#include "cost_models/profile/cost_profile.hpp"
#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

class PlanAudit : public testing::Test {
 protected:
  void SetUp() override {
    work_.write("b.jsonl", "{\"step\": 0, \"packs\": [[40, 24], [33]]}\n");
    work_.expect(0, kPlan + std::string(" -o plan.json"));
  }
  static constexpr const char* kPlan =
      "plan --batch b.jsonl --topology cpu:2x2 --model tiny --strategy ring,zigzag_ring";
  Workspace work_;
};

/// The number after `"key":` and one more in its place.
void add_one(const Workspace& work, const std::string& file, const std::string& key) {
  std::string text = work.read(file);
  const auto at = text.find_first_not_of(' ', text.find("\"" + key + "\":") + key.size() + 3);
  const auto end = text.find_first_of(",}\n", at);
  work.write(file, text.replace(at, end - at, std::to_string(std::stoll(text.substr(at, end - at)) + 1)));
}

TEST_F(PlanAudit, LintExplainAndSimulateGiveOneVerdict) {
  for (const char* command : {"lint", "explain", "simulate"}) {
    work_.expect(0, std::string(command) + " plan.json");
  }
  add_one(work_, "plan.json", "peak_memory_bytes");
  add_one(work_, "plan.json", "attention_bytes");
  const std::string line = work_.expect(1, "lint plan.json").out;
  EXPECT_EQ(line.rfind("plan.json: predicted.peak_memory_bytes: predicted: ", 0), 0U) << line;
  EXPECT_NE(line.find(", but the simulated waves give "), std::string::npos) << line;
  const std::string document = work_.expect(1, "lint plan.json --json").out;
  for (const char* command : {"explain plan.json", "simulate plan.json --timeline t.json"}) {
    const Finished refused = work_.expect(1, command);
    EXPECT_EQ(refused.out, line);
    EXPECT_EQ(refused.err, "");
    EXPECT_EQ(work_.expect(1, std::string(command) + " --json").out, document);
  }
  EXPECT_FALSE(work_.has("t.json")) << "nothing is predicted from a plan that is not true";
  work_.expect(0, "run plan.json");
}

TEST_F(PlanAudit, WhatIsNotRecomputedIsListed) {
  const std::string times =
      "plan.json: not verified: predicted.step_time_ns, predicted.forward_ns, predicted.backward_ns,\n"
      "  predicted.extrapolated_share, predicted.settled: times were not asked for\n";
  const std::string candidates = "plan.json: not verified: candidates: ";
  for (const char* command : {"lint", "explain"}) {
    const std::string text = work_.expect(0, std::string(command) + " plan.json --no-simulate").out;
    EXPECT_NE(text.find(times + candidates + "times were not asked for\n"), std::string::npos) << text;
  }
  for (const char* command : {"lint", "explain", "simulate"}) {
    const std::string text = work_.expect(0, std::string(command) + " plan.json --no-candidates").out;
    EXPECT_NE(text.find(candidates + "the candidates were not asked for\n"), std::string::npos) << text;
    EXPECT_EQ(work_.expect(0, std::string(command) + " plan.json").out.find("not verified"),
              std::string::npos);
  }
  const JsonDocument document = parsed(work_.expect(0, "lint plan.json --no-candidates --json").out);
  ASSERT_EQ(member(document, "not_verified").size(), 1U);
  for (const JsonValue open : member(document, "not_verified").items()) {
    EXPECT_EQ(keys(open), (std::vector<std::string>{"claim", "reason"}));
  }
}

TEST_F(PlanAudit, AProfileTooLargeToBeEmbeddedIsGivenAgain) {
  CostProfile profile = default_profile("cpu");
  work_.write("small.json", profile_text(profile));
  profile.provenance.notes = std::string(300 << 10, 'x');
  work_.write("large.json", profile_text(profile));
  work_.expect(0, kPlan + std::string(" --profile large.json -o large_plan.json"));
  for (const std::string command : {"lint large_plan.json", "explain large_plan.json"}) {
    const Finished without = work_.expect(2, command);
    EXPECT_EQ(without.err.rfind("strata: large_plan.json: inputs.profile: found only a digest, expected "
                                "--profile FILE with the profile of digest ",
                                0),
              0U)
        << without.err;
    EXPECT_NE(
        work_.expect(2, command + " --profile small.json").err.find(" in small.json, expected --profile"),
        std::string::npos);
    EXPECT_EQ(work_.expect(0, command + " --profile large.json").out.find("not verified"), std::string::npos);
    EXPECT_NE(work_.expect(0, command + " --no-simulate").out.find("not verified: bounds.lower_bound_ns"),
              std::string::npos);
  }
  const std::string known = work_.expect(0, "explain large_plan.json --profile large.json").out;
  EXPECT_NE(known.find("profile: cpu, unmeasured; for "), std::string::npos) << known;
  EXPECT_NE(known.find(") (unmeasured profile cpu)\n"), std::string::npos) << known;
  const std::string unknown = work_.expect(0, "explain large_plan.json --no-simulate").out;
  EXPECT_NE(unknown.find(", not embedded, profile unknown\n"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find(") (profile unknown)\n"), std::string::npos) << unknown;
  work_.expect(0, "simulate large_plan.json --profile large.json");
  // Another machine's profile predicts, and what it cannot verify is said.
  EXPECT_NE(work_.expect(0, "simulate large_plan.json --profile small.json").out.find("not verified"),
            std::string::npos);
  work_.expect(2, "simulate large_plan.json");
}

TEST_F(PlanAudit, OnlySimulateTakesAnotherProfileThanThePlans) {
  CostProfile profile = default_profile("cpu");
  work_.write("own.json", profile_text(profile));
  profile.linear_flops_per_second *= 2;
  work_.write("other.json", profile_text(profile));
  for (const char* command : {"lint", "explain", "simulate"}) {
    work_.expect(0, std::string(command) + " plan.json --profile own.json");
  }
  for (const char* command : {"lint plan.json", "explain plan.json", "lint plan.json --no-simulate",
                              "lint plan.json --schedule-only"}) {
    const std::string error = work_.expect(2, std::string(command) + " --profile other.json").err;
    EXPECT_NE(error.find(" in other.json, expected --profile FILE with the profile of digest "),
              std::string::npos)
        << error;
    EXPECT_NE(error.find(": only simulate predicts with another\n"), std::string::npos) << error;
  }
  work_.expect(0, "simulate plan.json --profile other.json");
}

TEST_F(PlanAudit, AStrictReaderTakesNoShareThatNobodyRecomputed) {
  work_.write("b.jsonl", "{\"step\": 0, \"packs\": [[3000]]}\n");
  work_.expect(0,
               "plan --batch b.jsonl --topology dgx_h100:1 --model tiny --heads 8:8 --strategy ring -o "
               "gpu.json");
  const std::string refused = work_.expect(2, "explain gpu.json --strict").err;
  EXPECT_EQ(refused.rfind("strata: --strict: found ", 0), 0U) << refused;
  EXPECT_NE(refused.find("outside the tables"), std::string::npos) << refused;
  std::string forged = work_.read("gpu.json");
  const auto at = forged.find("\"extrapolated_share\": ") + 22;
  work_.write("gpu.json", forged.replace(at, forged.find_first_of(",\n", at) - at, "0"));
  work_.expect(1, "explain gpu.json --strict");
  const std::string error = work_.expect(2, "explain gpu.json --no-simulate --strict").err;
  EXPECT_EQ(error,
            "strata: --strict: found predicted.extrapolated_share not verified, expected a share that is "
            "recomputed: leave out --no-simulate\n");
  work_.expect(0, "explain gpu.json --no-simulate");
}

TEST_F(PlanAudit, AllCommandsSeeTheClockOfAnotherDevice) {
  work_.expect(0,
               "plan --batch b.jsonl --topology dgx_h100:1 --model tiny --heads 8:8 --strategy ring -o "
               "gpu.json");
  std::istringstream in(work_.read("gpu.json"));
  Plan plan = read_plan(in, "gpu.json");
  plan.topology.name = "a100";
  plan.digests = {};
  work_.write("gpu.json", to_json(plan));
  for (const char* command : {"lint", "explain", "simulate"}) {
    const std::string text = work_.expect(0, std::string(command) + " gpu.json").out;
    EXPECT_NE(
        text.find("gpu.json: not verified: inputs.profile: h100 is not for devices of this cluster, such "
                  "as node0.gpu0: times are\n  another device's\n"),
        std::string::npos)
        << text;
  }
}

TEST_F(PlanAudit, WhatExecutorsDoNotRecomputeIsSaidWhereThePlanRecomputes) {
  const std::string sent = "bytes and arena are as predicted";
  for (const std::string recompute : {"none", "selective", "full"}) {
    work_.expect(0, kPlan + std::string(" -o re.json --recompute ") + recompute);
    const std::string ran = work_.expect(0, "run re.json --timeline m.json").out;
    EXPECT_EQ(ran.find(sent) == std::string::npos, recompute == "full") << ran;
    EXPECT_EQ(ran.find("executors recompute nothing") != std::string::npos, recompute == "full") << ran;
    const std::string compared = work_.expect(0, "validate re.json m.json").out;
    const std::string line =
        fmt::format("the plan's recomputation ({}) was neither run nor predicted here\n", recompute);
    EXPECT_EQ(compared.find(line) != std::string::npos, recompute != "none") << compared;
  }
}

TEST_F(PlanAudit, SimulateSaysOfHowManyLayersItsNumbersAre) {
  const std::string one = work_.expect(0, "simulate plan.json --layers 1").out;
  EXPECT_NE(one.find("\n  times and bytes are of 1 layer instead of the model's 2, memory is of all 2\n"),
            std::string::npos)
      << one;
  for (const char* all : {"simulate plan.json", "simulate plan.json --layers 2"}) {
    EXPECT_EQ(work_.expect(0, all).out.find("instead of the model's"), std::string::npos);
  }
  const JsonDocument document = parsed(work_.expect(0, "simulate plan.json --layers 1 --json").out);
  EXPECT_EQ(member(document, "layers").integer(0, 9), 1);
}

/// `text` of a timeline without every second of its events.
std::string half_of(const std::string& text) {
  const auto begin = text.find('[', text.find("\"events\"") + 8) + 1;
  const auto end = text.rfind(']');
  std::string kept;
  bool keep = true;
  for (auto at = text.find('[', begin); at < end; at = text.find('[', at + 1)) {
    const auto last = text.find(']', at);
    if (keep) kept += (kept.empty() ? "" : ", ") + text.substr(at, last + 1 - at);
    keep = !keep;
  }
  return text.substr(0, begin) + kept + text.substr(end);
}

TEST_F(PlanAudit, ATimelineThatLacksInstructionsIsNoMeasurementOfThePlan) {
  work_.expect(0, "simulate plan.json --attention-only --timeline t.json");
  work_.expect(0, "validate plan.json t.json --tolerance-percent 10000");
  work_.write("t.json", half_of(work_.read("t.json")));
  const std::string text = work_.expect(1, "validate plan.json t.json --tolerance-percent 10000").out;
  EXPECT_NE(text.find(" instructions of the plan are missing; --allow-unmatched admits them\n"),
            std::string::npos)
      << text;
  const JsonDocument document = parsed(work_.expect(1, "validate plan.json t.json --json").out);
  const std::int64_t missing = member(document, "missing").integer(1, 1'000'000);
  EXPECT_EQ(missing, member(document, "unmatched").integer(0, 1'000'000));
  const std::string admitted = work_.expect(0, "validate plan.json t.json --allow-unmatched").out;
  EXPECT_NE(admitted.find("instructions of the plan are missing\n"), std::string::npos) << admitted;
}

TEST_F(PlanAudit, ATimelineOfOtherWorkIsNoMeasurementOfThePlan) {
  work_.expect(0, "simulate plan.json --attention-only --timeline t.json");
  std::string text = work_.read("t.json");
  // The last number of the first event is its FLOPs.
  const auto end = text.find(']', text.find('[', text.find('[', text.find("\"events\"")) + 1));
  const auto begin = text.rfind(',', end) + 1;
  work_.write("t.json", text.replace(begin, end - begin, "12345"));
  for (const char* option : {"", " --allow-unmatched"}) {
    const std::string line = work_.expect(1, std::string("validate plan.json t.json --quiet") + option).out;
    EXPECT_EQ(line.rfind("t.json: events[0]: 12345 FLOPs, but the program has ", 0), 0U) << line;
  }
}

}  // namespace
}  // namespace strata::test
