// SPDX-License-Identifier: Apache-2.0
// strata run --executor nccl as users start it. Without a GPU every way of launching it ends with one line,
// the right exit code and no file; a plan for one rank needs no launcher and is checked where there is a GPU.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/tools/mpi_launch.hpp"

namespace strata::test {
namespace {

constexpr bool kBuiltWithNccl = STRATA_HAS_NCCL != 0;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class RunNccl : public testing::Test {
 protected:
  void SetUp() override {
    work_.write("b.jsonl", "{\"step\": 3, \"packs\": [[211, 1, 37]]}\n");
    for (const int ranks : {1, 2}) {
      work_.expect(0,
                   fmt::format("plan --batch b.jsonl --model tiny --element-type bf16 --topology cpu:1x{0} "
                               "-o p{0}.json",
                               ranks));
    }
  }
  void expect_no_result() const {
    EXPECT_EQ(work_.files(), (std::vector<std::string>{"b.jsonl", "p1.json", "p2.json"}));
  }
  /// `line` is the whole of what strata itself says.
  static void expect_line(const Finished& finished, int code, const std::string& line) {
    EXPECT_EQ(finished.code, code) << finished.err;
    EXPECT_EQ(finished.err, "strata: " + line + "\n");
  }

  const Workspace work_;
};

const char* const kNoDriver = "all ranks: CUDA: found ";

TEST_F(RunNccl, IsRefusedByABuildWithoutNccl) {
  if (kBuiltWithNccl) GTEST_SKIP() << "this build has NCCL";
  const std::string others = STRATA_HAS_MPI != 0 && STRATA_HAS_CUDA != 0 ? "cpu, cuda or mpi"
                             : STRATA_HAS_MPI != 0                       ? "cpu or mpi"
                             : STRATA_HAS_CUDA != 0                      ? "cpu or cuda"
                                                                         : "cpu";
  for (const char* command : {"run p1.json", "calibrate -o m.json"}) {
    expect_line(work_.strata(std::string(command) + " --executor nccl"), 2,
                "--executor: found 'nccl', expected " + others + ": this build has no NCCL");
  }
  expect_no_result();
}

TEST_F(RunNccl, WithoutALauncherSaysHowToLaunchIt) {
  if (!kBuiltWithNccl) GTEST_SKIP() << "this build has no NCCL";
  expect_line(work_.strata("run p2.json --executor nccl --timeline m.json"), 2,
              "--executor nccl: found no launcher, expected mpirun -np 2 strata run p2.json --executor nccl, "
              "srun -n 2 strata run p2.json --executor nccl --rendezvous DIR, or torchrun --no-python "
              "--nproc-per-node 2 strata run p2.json --executor nccl --rendezvous DIR");
  const Finished calibrate = work_.strata("calibrate -o m.json --executor nccl");
  EXPECT_EQ(calibrate.code, 2) << calibrate.err;
  EXPECT_NE(calibrate.err.find("expected mpirun -np 2 strata calibrate -o m.json --executor nccl, "),
            std::string::npos)
      << calibrate.err;
  expect_no_result();
}

TEST_F(RunNccl, OneRankNeedsNoLauncherAndIsCheckedOrMissesTheGpu) {
  if (!kBuiltWithNccl) GTEST_SKIP() << "this build has no NCCL";
  const Finished finished = work_.strata("run p1.json --executor nccl --check full --timeline m.json");
  if (finished.code == 0) {
    EXPECT_TRUE(has(finished.out, "check passed (full): the result is what one device computes\n")) << finished.out;
    EXPECT_TRUE(work_.has("m.json"));
    return;
  }
  EXPECT_EQ(finished.code, 4) << finished.err;
  EXPECT_EQ(finished.err.find(std::string("strata: ") + kNoDriver), 0U) << finished.err;
  EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  expect_no_result();
}

/// Two processes that find each other in a folder, as torchrun would start them.
Finished torchrun(const Workspace& work, const std::string& first, const std::string& second) {
  return work.script(
      "export WORLD_SIZE=2 TORCHELASTIC_RUN_ID=one\n"
      "RANK=1 LOCAL_RANK=1 " STRATA_BINARY " " +
      second +
      " 2>other &\n"
      "RANK=0 LOCAL_RANK=0 " STRATA_BINARY " " +
      first +
      "\n"
      "code=$?\nwait $!\necho codes $code $?\n");
}

TEST_F(RunNccl, ProcessesOfTorchrunMeetInTheRendezvousAndEndTogether) {
  if (!kBuiltWithNccl) GTEST_SKIP() << "this build has no NCCL";
  work_.script("mkdir meet");
  const std::string run = "run p2.json --executor nccl --rendezvous meet";
  const Finished finished = torchrun(work_, run, run);
  if (has(finished.out, "codes 0 0")) return;
  EXPECT_TRUE(has(finished.out, "codes 4 4\n")) << finished.out << finished.err;
  EXPECT_TRUE(has(finished.err, kNoDriver)) << finished.err;
  EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  EXPECT_EQ(work_.read("other"), "");
}

TEST_F(RunNccl, ProcessesOfTorchrunWithDifferentPlansRefuseToStart) {
  if (!kBuiltWithNccl) GTEST_SKIP() << "this build has no NCCL";
  work_.script("mkdir meet");
  work_.expect(0,
               "plan --batch b.jsonl --model tiny --element-type bf16 --topology cpu:1x2 --strategy ring "
               "--layers 3 -o q.json");
  const Finished finished = torchrun(work_, "run p2.json --executor nccl --rendezvous meet",
                                     "run q.json --executor nccl --rendezvous meet");
  EXPECT_TRUE(has(finished.out, "codes 4 4\n")) << finished.out << finished.err;
  EXPECT_TRUE(has(finished.err, "strata: rank 1: plan ")) << finished.err;
  EXPECT_EQ(work_.read("other"), "");
}

TEST_F(RunNccl, WhatIsMissingOrTooMuchForALaunchIsOneLine) {
  if (!kBuiltWithNccl) GTEST_SKIP() << "this build has no NCCL";
  const std::string start = "WORLD_SIZE=2 RANK=0 LOCAL_RANK=0 TORCHELASTIC_RUN_ID=one " STRATA_BINARY " ";
  expect_line(work_.script(start + "run p2.json --executor nccl"), 2,
              "--executor nccl: found 2 processes that do not know each other, expected --rendezvous DIR, a "
              "folder that all of them see, or mpirun");
  const Finished nowhere = work_.script(start + "run p2.json --executor nccl --rendezvous nowhere");
  EXPECT_EQ(nowhere.code, 2);
  EXPECT_TRUE(has(nowhere.err, "nowhere")) << nowhere.err;
  expect_line(work_.strata("run p2.json --rendezvous ."), 2,
              "--rendezvous: found --executor cpu, expected --executor nccl");
  expect_no_result();
}

TEST_F(RunNccl, UnderMpirunEveryRankNeedsAProcessAndAGpu) {
  if (!kBuiltWithNccl) GTEST_SKIP() << "this build has no NCCL";
  if (std::string(STRATA_MPIRUN).empty()) GTEST_SKIP() << "this build has no MPI, or no mpirun";
  const Finished three = run_job(work_, 3, "run p2.json --executor nccl");
  EXPECT_EQ(three.code, 2) << three.err;
  EXPECT_TRUE(has(three.err, "strata: p2.json: found 3 processes, expected 2, one per rank\n")) << three.err;
  const Finished two = run_job(work_, 2, "run p2.json --executor nccl --timeline m.json");
  if (two.code != 0) {
    EXPECT_EQ(two.code, 4) << two.err;
    EXPECT_TRUE(has(two.err, std::string("strata: ") + kNoDriver)) << two.err;
    expect_no_result();
  }
}

}  // namespace
}  // namespace strata::test
