// SPDX-License-Identifier: Apache-2.0
// The plan file: what is written reads back equal and writes the same bytes again; every kind of bad field is
// named by file and path. The bad inputs are edits of one small good plan.
#include "core/plan/plan_json.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "core/base/digest.hpp"
#include "tests/core/json/bad_input.hpp"
#include "tests/core/plan/random_plan.hpp"

namespace strata {
namespace {

Plan read(const std::string& text) {
  std::istringstream in(text);
  return read_plan(in, "plan.json");
}

std::string error_of(const std::string& from, const std::string& to) {
  return test::input_error([&] { read(test::edited(to_json(test::small_plan()), from, to)); });
}

TEST(PlanJson, ReadsBackWhatItWroteAndWritesTheSameBytes) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Plan plan = test::random_plan(seed);
    const std::string text = to_json(plan);
    const Plan again = read(text);
    ASSERT_EQ(again, plan) << "seed " << seed;
    ASSERT_EQ(to_json(again), text) << "seed " << seed;
  }
}

TEST(PlanJson, ReadsFromAFileWhatItWroteToOne) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("strata_plan_{}.json", ::getpid());
  const Plan plan = test::random_plan(7);
  write_plan(plan, path.string());
  EXPECT_EQ(read_plan(path.string()), plan);
  std::filesystem::remove(path);
}

TEST(PlanJson, FillsInTheDigestsOfAFreshPlanOnly) {
  Plan fresh = test::small_plan();
  const InputDigests own = fresh.digests;
  fresh.digests = {};
  EXPECT_EQ(read(to_json(fresh)).digests, own);
  Plan edited = test::small_plan();
  edited.batch.packs[0][0] = 101;
  EXPECT_EQ(read(to_json(edited)).digests, own);
  EXPECT_NE(input_digests(edited).batch, own.batch);
  EXPECT_EQ(input_digests(edited).model, own.model);
}

TEST(PlanJson, RefusesADigestThatIsNone) {
  const Plan plan = test::small_plan();
  std::string text = to_json(plan);
  const std::string digest = input_digests(plan).batch;
  text.replace(text.find(digest), digest.size(), "");
  EXPECT_THROW(read(text), InputError) << "an empty digest would never be compared";
}

TEST(PlanJson, HasOneDigestPerPlan) {
  const Plan plan = test::small_plan();
  EXPECT_EQ(plan_digest(plan), plan_digest(read(to_json(plan))));
  Plan other = plan;
  other.waves[0].schedule.steps[0].transfers[0].span.end = 49;
  EXPECT_NE(plan_digest(plan), plan_digest(other));
}

TEST(PlanJson, EmbedsASmallProfileAndNamesALargeOne) {
  const EmbeddedProfile small = embed_profile("{\n \"b\": 2.0, \"a\": 1}");
  EXPECT_EQ(small.content, R"({"a":1,"b":2})");
  EXPECT_EQ(small.digest, digest_of(R"({"a":1,"b":2})"));
  const std::string large = "{\"a\":\"" + std::string(kMaxEmbeddedProfileBytes, 'x') + "\"}";
  EXPECT_EQ(embed_profile(large).content, "");
  EXPECT_EQ(embed_profile(large).digest, digest_of(large));
}

TEST(PlanJson, LeavesOutDefaultsAndAcceptsThem) {
  const std::string text = to_json(test::small_plan());
  EXPECT_EQ(text.find("\"lane\""), std::string::npos);
  EXPECT_EQ(text.find("\"ready\""), std::string::npos);
  const std::string longer = test::edited(text, "\"head_end\":2}", "\"head_end\":2,\"lane\":0,\"ready\":1}");
  EXPECT_EQ(read(longer), test::small_plan());
  EXPECT_EQ(to_json(read(longer)), text);
}

TEST(PlanJson, WritesOneTransferOrTaskPerLine) {
  const std::string text = to_json(test::small_plan());
  EXPECT_NE(
      text.find(
          "\n            {\"source\":0,\"target\":1,\"tensor\":\"kv\",\"document\":0,\"begin\":0,\"end\":50,"
          "\"head_begin\":0,\"head_end\":2}\n"),
      std::string::npos);
  EXPECT_NE(
      text.find(
          "\n            {\"rank\":0,\"query\":{\"document\":0,\"begin\":0,\"end\":50},\"key\":{\"document\":"
          "0,\"begin\":0,\"end\":50},\"head_begin\":0,\"head_end\":4}\n"),
      std::string::npos);
}

TEST(PlanJson, RejectsAnotherFormatVersion) {
  EXPECT_EQ(error_of("\"format_version\": 2", "\"format_version\": 3"),
            "plan.json: format_version: found 3, expected 2, the only plan format that this version of "
            "Strata reads");
  EXPECT_EQ(error_of("\"format_version\": 2", "\"format_version\": 1"),
            "plan.json: format_version: found format version 1, expected format version 2: plan again");
  EXPECT_EQ(error_of("\"format_version\": 2,", ""),
            "plan.json: found no field 'format_version', expected 2: is this a Strata plan?");
}

TEST(PlanJson, ACapIsStatedOnceAndOffloadingNeedsFullRecomputation) {
  const std::string request = "plan.json: inputs.request.content.";
  EXPECT_EQ(error_of("\"memory_cap\":\"none\",\"memory_cap_bytes\":0",
                     "\"memory_cap\":\"size\",\"memory_cap_bytes\":0"),
            request + "memory_cap_bytes: found 0, expected at least 1: memory_cap is size");
  EXPECT_EQ(error_of("\"memory_cap_bytes\":0", "\"memory_cap_bytes\":7"),
            request + "memory_cap_bytes: found 7, expected 0: memory_cap is not size");
  EXPECT_EQ(error_of("\"offload_activations\":false", "\"offload_activations\":true"),
            request + "offload_activations: found true, expected false: only recompute full offloads");
  EXPECT_EQ(error_of("\"state_bytes_per_parameter\":16", "\"state_bytes_per_parameter\":-1"),
            request + "state_bytes_per_parameter: found -1, expected a number from 0 to 1024");
}

TEST(PlanJson, NamesMissingUnknownDuplicatedAndMistypedFields) {
  EXPECT_EQ(error_of("\"tensor\":\"kv\",", ""),
            "plan.json: waves[0].steps[0].transfers[0]: found no field 'tensor', expected a string");
  EXPECT_EQ(error_of("\"target\":1", "\"tagret\":1"),
            "plan.json: waves[0].steps[0].transfers[0]: found neither 'target' nor 'targets', expected one "
            "of them");
  EXPECT_EQ(error_of("\"target\":1", "\"target\":1,\"laen\":1"),
            "plan.json: waves[0].steps[0].transfers[0].laen: found an unknown field, expected 'lane'");
  EXPECT_EQ(error_of("\"target\":1", "\"target\":1,\"target\":1"),
            "plan.json: waves[0].steps[0].transfers[0].target: found field 'target' twice, expected every "
            "field once");
  EXPECT_EQ(error_of("\"source\":0", "\"source\":\"0\""),
            "plan.json: waves[0].steps[0].transfers[0].source: found \"0\", expected an integer from 0 to "
            "2147483647");
  EXPECT_EQ(error_of("\"waves\": [", "\"wavs\": ["),
            "plan.json: found no field 'waves', expected a list of waves");
}

TEST(PlanJson, NamesNumbersOutOfRange) {
  EXPECT_EQ(
      error_of("\"begin\":0,\"end\":50,\"head", "\"begin\":-1,\"end\":50,\"head"),
      "plan.json: waves[0].steps[0].transfers[0].begin: found -1, expected an integer from 0 to 2147483647");
  EXPECT_EQ(
      error_of("\"begin\":0,\"end\":50,\"head", "\"begin\":0,\"end\":3.9,\"head"),
      "plan.json: waves[0].steps[0].transfers[0].end: found 3.9, expected an integer from 0 to 2147483647");
  EXPECT_EQ(error_of("\"begin\":0,\"end\":50,\"head", "\"begin\":0,\"end\":2147483648,\"head"),
            "plan.json: waves[0].steps[0].transfers[0].end: found 2147483648, expected an integer from 0 to "
            "2147483647");
  EXPECT_EQ(
      error_of("\"begin\":0,\"end\":50,\"head", "\"begin\":0,\"end\":99999999999999999999,\"head"),
      "plan.json: waves[0].steps[0].transfers[0].end: found 99999999999999999999, expected an integer of at "
      "most 64 bits");
  EXPECT_EQ(error_of("\"step_time_ns\": 0", "\"step_time_ns\": -5"),
            "plan.json: predicted.step_time_ns: found -5, expected an integer of at least 0");
}

TEST(PlanJson, RejectsWhatPlansCannotHold) {
  EXPECT_EQ(error_of("\"documents\": [0]", "\"documents\": [1]"),
            "plan.json: waves[0].documents[0]: found 1, expected an integer from 0 to 0");
  EXPECT_EQ(error_of("{\"rank\":1,\"spans\"", "{\"rank\":2,\"spans\""),
            "plan.json: waves[0].placement[1].rank: found 2, expected an integer from 0 to 1");
  EXPECT_EQ(error_of("{\"rank\":1,\"spans\"", "{\"rank\":0,\"spans\""),
            "plan.json: waves[0].placement[1].rank: found 0, expected a rank above 0: ranks ascend");
  EXPECT_EQ(error_of("[{\"document\":0,\"begin\":50,\"end\":100}]", "[]"),
            "plan.json: waves[0].placement[1].spans: found an empty list, expected at least one span; ranks "
            "without "
            "tokens are left out");
  EXPECT_EQ(
      error_of("\"target\":1", "\"targets\":[[1,2]]"),
      "plan.json: waves[0].steps[0].transfers[0].targets: found one rank as a range, expected 'target': 1");
  EXPECT_EQ(error_of("\"target\":1", "\"targets\":[[1,2,3]]"),
            "plan.json: waves[0].steps[0].transfers[0].targets[0]: found 3 numbers, expected the two ends of "
            "a range");
  EXPECT_EQ(error_of("\"seed\": 0", "\"seed\": 4"),
            "plan.json: seed: found 4, expected 0, the seed of inputs.request.content");
  EXPECT_EQ(error_of("\"return\": \"owner\"", "\"return\": \"explicit\""),
            "plan.json: waves[0].backward: found no field 'steps', expected a list of steps");
  EXPECT_EQ(error_of("\"return\": \"owner\"", "\"return\": \"owner\", \"steps\": []"),
            "plan.json: waves[0].backward.steps: found an unknown field, expected one of kv, return");
  EXPECT_EQ(error_of("\"tasks\": [", "\"reductions\": [], \"tasks\": ["),
            "plan.json: waves[0].steps[0].reductions: found an unknown field, expected one of collective, "
            "transfers, "
            "tasks");
  EXPECT_EQ(error_of("\"content\": null", "\"content\": 5"),
            "plan.json: inputs.profile.content: found 5, expected an object");
}

TEST(PlanJson, ChecksItsInputsLikeFilesOfTheirOwn) {
  EXPECT_EQ(
      error_of("\"documents\":[100]", "\"documents\":[0]"),
      "plan.json: inputs.batch.content.documents[0]: found 0, expected an integer from 1 to 2147483647");
  EXPECT_EQ(
      error_of("\"kv_heads\":2", "\"kv_heads\":3"),
      "plan.json: inputs.model.content: found 4 query heads and 3 KV heads, expected query heads that are a "
      "multiple of the KV heads");
  EXPECT_EQ(error_of("{\"devices\":[0]},{\"devices\":[0]}", "{\"devices\":[0]},{\"devices\":[1]}"),
            "plan.json: inputs.topology.content: found ranks[1].devices[0] = 1, expected 0 to 0");
}

TEST(PlanJson, NamesTheLineOfATruncatedFile) {
  const std::string text = to_json(test::small_plan());
  const std::string message = test::input_error([&] { read(text.substr(0, text.size() / 2)); });
  EXPECT_EQ(message.rfind("plan.json: line ", 0), 0U) << message;
  EXPECT_EQ(test::input_error([&] { read(text + "x"); }).find("plan.json: line "), 0U);
}

}  // namespace
}  // namespace strata
