// SPDX-License-Identifier: Apache-2.0
// strata validate on timelines of several machines: which topology the prediction takes, what the report says
// about it, and which layouts are refused. The timelines are simulated ones and those of a run on one
// machine, both with heads as runs on two machines write them.
#include <gtest/gtest.h>

#include <string>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

class ValidateMachines : public testing::Test {
 protected:
  void SetUp() override { work_.write("b.jsonl", "{\"step\": 0, \"packs\": [[400, 240, 33]]}\n"); }
  void plan(const std::string& topology, const std::string& timeline_of) {
    work_.expect(
        0, "plan --batch b.jsonl --model tiny --strategy zigzag_ring -o plan.json --topology " + topology);
    work_.expect(0, timeline_of + " --timeline t.json");
  }
  /// The step's signed relative error, when the first line of the report is this one.
  double step_error(const std::string& first_line) {
    const Finished finished = work_.expect(0, "validate plan.json t.json --json");
    std::string report = finished.err;
    for (std::size_t at = 0; (at = report.find("\n  ", at)) < report.find("\nstep: ");)
      report.replace(at, 3, " ");
    EXPECT_EQ(report.substr(0, report.find('\n')), first_line);
    const JsonDocument document = parsed(finished.out);
    EXPECT_EQ(member(document, "unmatched").integer(0, 1'000'000), 0);
    EXPECT_GT(member(document, "kinds").size(), 2U);
    return member(document, "step.relative_error").number();
  }
  Workspace work_;
};

const char* const kSimulate = "simulate plan.json --attention-only";

TEST_F(ValidateMachines, TwoHostsAreComparedWithThePlansHostsAndLinks) {
  plan("cpu:2x2", kSimulate);
  EXPECT_EQ(
      step_error("predicted for the plan's topology cpu:2x2: 4 ranks on 2 devices of 2 cores, as in the "
                 "run; links as the plan states them; profile cpu, unmeasured"),
      0.0);
  // As many cores in one machine: without a network the same work ends earlier.
  work_.edit("t.json", "\"cores_per_device\": 2", "\"cores_per_device\": 4");
  work_.edit("t.json", "\"device_count\": 2", "\"device_count\": 1");
  EXPECT_LT(step_error("predicted for the machine of the run: 4 ranks on 4 cores; profile cpu, unmeasured"),
            -0.05);
}

TEST_F(ValidateMachines, TheCoresAreThoseOfTheRun) {
  plan("cpu:2x2", kSimulate);
  work_.edit("t.json", "\"cores_per_device\": 2", "\"cores_per_device\": 1");
  EXPECT_GT(step_error("predicted for the plan's topology cpu:2x2: 4 ranks on 2 devices of 1 core, as in the "
                       "run; links as the plan states them; profile cpu, unmeasured"),
            0.05);
}

TEST_F(ValidateMachines, AMeasuredTimelineOfTwoHostsGetsItsErrorsByKind) {
  plan("cpu:2x2", "run plan.json --threads 2");
  work_.edit("t.json", "\"device_count\": 1", "\"device_count\": 2");
  EXPECT_NE(
      step_error("predicted for the plan's topology cpu:2x2: 4 ranks on 2 devices of 2 cores, as in the "
                 "run; links as the plan states them; profile cpu, unmeasured"),
      0.0);
}

TEST_F(ValidateMachines, HostsOfAPlanForGpusTakeThePlansDevices) {
  plan("dgx_h100:2", kSimulate);
  const std::string links = "links as the plan states them; profile h100, unmeasured";
  EXPECT_EQ(
      step_error("predicted for the plan's topology dgx_h100:2: 16 ranks on 16 devices of 1 core, as in "
                 "the run; " +
                 links),
      0.0);
  work_.edit("t.json", "\"device_count\": 16", "\"device_count\": 2");
  work_.edit("t.json", "\"cores_per_device\": 1", "\"cores_per_device\": 8");
  EXPECT_EQ(step_error("predicted for the plan's topology dgx_h100:2: 16 ranks on 16 devices of 2 nodes; the "
                       "run had one device of 8 cores per node; " +
                       links),
            0.0);
}

TEST_F(ValidateMachines, OtherLayoutsThanThePlansAreRefused) {
  plan("cpu:2x3", kSimulate);
  work_.edit("t.json", "\"device_count\": 2", "\"device_count\": 3");
  for (const char* json : {"", " --json"}) {
    const Finished finished = work_.expect(2, std::string("validate plan.json t.json") + json);
    EXPECT_EQ(finished.err,
              "strata: t.json: found 6 ranks on 3 devices, expected all on one, or the layout of the plan's "
              "topology cpu:2x3: 6 ranks on 2 devices of 2 nodes\n");
    EXPECT_EQ(finished.out, "");
  }
}

TEST_F(ValidateMachines, HostsThatServedOtherRanksThanThePlansAreRefused) {
  plan("cpu:2x2", kSimulate);
  const std::string original = work_.read("t.json");
  for (const char* devices : {"[0,0,0,1]", "[0,1,0,1]"}) {
    work_.write("t.json", original);
    work_.edit("t.json", "\"layers\"", std::string("\"rank_device\": ") + devices + ", \"layers\"");
    const Finished finished = work_.expect(2, "validate plan.json t.json");
    EXPECT_EQ(finished.err,
              "strata: t.json: found 4 ranks on 2 devices that did not serve equal blocks of neighbours, "
              "expected all on one, or the layout of the plan's topology cpu:2x2: 4 ranks on 2 devices of 2 "
              "nodes\n");
  }
}

}  // namespace
}  // namespace strata::test
