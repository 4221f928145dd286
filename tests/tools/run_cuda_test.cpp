// SPDX-License-Identifier: Apache-2.0
// strata run --executor cuda: checked runs where there is a GPU; elsewhere one line that says what is
// missing, the right exit code, and no file.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

constexpr bool kBuiltWithCuda = STRATA_HAS_CUDA != 0;

void expect_absent(const Workspace& work, const Finished& finished,
                   const std::vector<std::string>& files = {"b.jsonl", "p.json"}) {
  if (kBuiltWithCuda) {
    EXPECT_EQ(finished.code, 4) << finished.err;
    EXPECT_EQ(finished.err.find("strata: CUDA: found "), 0U) << finished.err;
    EXPECT_NE(finished.err.find(", expected a GPU and a driver for CUDA 1"), std::string::npos)
        << finished.err;
  } else {
    EXPECT_EQ(finished.code, 2) << finished.err;
    EXPECT_EQ(finished.err, std::string("strata: --executor: found 'cuda', expected ") +
                                (STRATA_HAS_MPI != 0 ? "cpu or mpi" : "cpu") + ": this build has no CUDA\n");
  }
  EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  EXPECT_EQ(finished.out, "");
  EXPECT_EQ(work.files(), files);
}

TEST(RunCuda, ChecksEveryStrategyOrSaysWhatIsMissing) {
  for (const std::string& strategy : strategy_names()) {
    for (const char* options : {"", " --serial", " --kernels plain --poison"}) {
      const char* const type = *options == '\0' ? "f16" : "bf16";
      const Workspace work;
      work.write("b.jsonl", "{\"step\": 3, \"packs\": [[211, 1, 37]]}\n");
      work.expect(0, fmt::format("plan --batch b.jsonl --model tiny --topology cpu:1x2:2 -o p.json "
                                 "--element-type {} --strategy {}",
                                 type, strategy));
      const Finished finished = work.strata(std::string("run p.json --executor cuda --check full --timeline "
                                                        "m.json --trace t.json") +
                                            options);
      if (finished.code != 0) {
        expect_absent(work, finished);
        continue;
      }
      EXPECT_NE(finished.out.find("check passed (full): the result is what one device computes\n"),
                std::string::npos)
          << finished.out;
      EXPECT_TRUE(work.has("m.json") && work.has("t.json"));
    }
  }
}

TEST(CalibrateCuda, MeasuresTheGpuOrSaysWhatIsMissing) {
  const Workspace work;
  const Finished finished = work.strata("calibrate -o s.json --executor cuda --quick");
  if (finished.code != 0) return expect_absent(work, finished, {});
  const JsonDocument samples = parsed(work.read("s.json"));
  EXPECT_EQ(member(samples, "provenance.executor").string(), "cuda");
  for (const JsonValue each : member(samples, "attention").items()) {
    EXPECT_EQ(member(each, "kernel").string(), "tensor_core");
  }
  EXPECT_NE(finished.out.find("point_to_point  both_ways  device"), std::string::npos) << finished.out;
}

}  // namespace
}  // namespace strata::test
