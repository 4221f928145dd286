// SPDX-License-Identifier: Apache-2.0
// strata run --executor mpi as a user starts it: the same results as in one process, and, whatever befalls a
// process of the job, an end within the deadline, a non-zero exit code, a line that says what happened and no
// result file. Skipped where the build has no MPI.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "tests/tools/mpi_launch.hpp"

namespace strata::test {
namespace {

class Mpi : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string(STRATA_MPIRUN).empty()) GTEST_SKIP() << "this build has no MPI, or no mpirun";
  }

  /// A plan of 2,048 tokens on `ranks` ranks.
  void plan(const std::string& name, const std::string& options) const {
    work_.write("b.jsonl", "{\"step\": 3, \"packs\": [[1011, 1, 37, 999]]}\n");
    work_.expect(
        0, "plan --batch b.jsonl --model tiny --layers 2 --heads 4:2 --quiet -o " + name + " " + options);
  }
  void expect_no_result() const {
    for (const std::string& name : work_.files()) {
      EXPECT_TRUE(name == "b.jsonl" || name.starts_with("plan")) << name << " was left behind";
    }
  }

  const Workspace work_;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// How many lines of `text` start with "strata: ".
int reports(const std::string& text) {
  int count = 0;
  for (std::size_t at = 0; at != std::string::npos; at = text.find('\n', at)) {
    if (text[at] == '\n') ++at;
    if (text.compare(at, 8, "strata: ") == 0) ++count;
    if (at >= text.size()) break;
  }
  return count;
}

TEST_F(Mpi, RandomCasesOfEveryStrategyAreBitwiseThoseOfTheCpuExecutor) {
  const std::string cases = scaled(1, 0) == 0 ? "40" : "200";
  MpiJobUnderTest job(work_, {{4, {STRATA_MPI_KEYSTONE, cases}}});
  // Seconds on a machine of its own; beside other work four processes on two cores wait for each other.
  const Finished finished = job.wait(std::chrono::seconds(300));
  EXPECT_EQ(finished.code, 0) << finished.out << finished.err;
  EXPECT_TRUE(has(finished.out, " 0 faults\n")) << finished.out;
}

TEST_F(Mpi, ARunIsCheckedRecordedAndValidatedLikeOneOfOneProcess) {
  plan("plan.json", "--topology cpu:2x4 --strategy per_document --element-type f16");
  const std::string options = "--check full --poison --repeat 2 --json --timeline m.json --trace t.json";
  const Finished mpi = run_job(work_, 3, "run plan.json --executor mpi " + options);
  ASSERT_EQ(mpi.code, 0) << mpi.err;
  const JsonDocument document = parsed(mpi.out);
  EXPECT_EQ(keys(document.root()), (std::vector<std::string>{"plan", "check", "wall_ns", "bytes_by_level",
                                                             "sent_bytes", "arena_bytes"}));
  EXPECT_TRUE(has(mpi.err, "8 ranks in 3 processes"));
  EXPECT_TRUE(has(mpi.err, "check passed (full): the result is what one device computes\n"));
  const Finished cpu = work_.expect(0, "run plan.json --check full --poison --json");
  for (const char* each : {"check", "bytes_by_level", "sent_bytes", "arena_bytes"}) {
    EXPECT_EQ(member(document, each).canonical_text(), member(parsed(cpu.out), each).canonical_text())
        << each;
  }
  const JsonDocument timeline = parsed(work_.read("m.json"));
  EXPECT_EQ(member(timeline, "source").string(), "mpi");
  EXPECT_GT(member(timeline, "clock_error_ns").integer(0, 1'000'000'000), 0);
  EXPECT_TRUE(has(work_.read("t.json"), "\"transfers_without_receive\": 0"));
  const JsonDocument compared = parsed(work_.expect(0, "validate plan.json m.json --json").out);
  EXPECT_EQ(member(compared, "unmatched").integer(0, 1'000'000), 0);
}

TEST_F(Mpi, WithoutALauncherTheLineToUseIsPrinted) {
  plan("plan.json", "--topology cpu:1x4 --strategy ring");
  const Finished finished = work_.expect(2, "run plan.json --executor mpi");
  EXPECT_EQ(
      finished.err,
      "strata: --executor mpi: found no launcher, expected mpirun -np 4 --bind-to none strata run plan.json "
      "--executor mpi, or srun --mpi=pmix -n 4 strata run plan.json --executor mpi\n");
}

TEST_F(Mpi, AWrongOptionIsSaidOnceAndAlsoWhenOnlyTheLastProcessHasIt) {
  plan("plan.json", "--topology cpu:1x4 --strategy ring");
  const std::string line =
      "strata: --check: found 'ful', expected none, sampled, full, or no value for sampled; did you mean "
      "'full'?\n";
  const Finished all = run_job(work_, 4, "run plan.json --executor mpi --check ful");
  EXPECT_EQ(all.code, 2);
  EXPECT_TRUE(has(all.err, line)) << all.err;
  EXPECT_EQ(reports(all.err), 1) << all.err;
  MpiJobUnderTest job(work_, {{3, strata_command("run plan.json --executor mpi --timeline m.json")},
                              {1, strata_command("run plan.json --executor mpi --check ful")}});
  const Finished last = job.wait();
  EXPECT_EQ(last.code, 2);
  EXPECT_TRUE(has(last.err, line)) << last.err;
  EXPECT_EQ(reports(last.err), 1) << last.err;
  expect_no_result();
}

TEST_F(Mpi, MoreProcessesThanRanksAreBadUsage) {
  plan("plan.json", "--topology cpu:1x2 --strategy ring");
  const Finished finished = run_job(work_, 3, "run plan.json --executor mpi");
  EXPECT_EQ(finished.code, 2);
  EXPECT_TRUE(has(finished.err, "strata: plan.json: found 3 processes, expected at most 2, one per rank\n"))
      << finished.err;
  EXPECT_EQ(reports(finished.err), 1) << finished.err;
}

TEST_F(Mpi, AKilledProcessEndsTheJobWithTheLaunchersCodeAndLine) {
  plan("plan.json", "--topology cpu:1x4 --strategy ring");
  MpiJobUnderTest job(
      work_,
      {{4, strata_command("run plan.json --executor mpi --layers 5000 --timeline m.json --trace t.json")}});
  job.wait_until_running();
  job.signal(2, SIGKILL);
  const Finished finished = job.wait();
  EXPECT_EQ(finished.code, 137) << finished.err;
  EXPECT_TRUE(has(finished.err, "rank 2")) << finished.err;
  expect_no_result();
}

TEST_F(Mpi, AStoppedProcessEndsTheJobAtTheDeadlineWithRankInstructionAndPeer) {
  plan("plan.json", "--topology cpu:1x4 --strategy ring");
  for (const int stopped : {2, 0}) {
    // A busy machine may still compare clocks when the process is stopped; the next job is then given longer.
    Finished finished;
    for (std::chrono::milliseconds into(700); into < std::chrono::seconds(20); into *= 3) {
      MpiJobUnderTest job(work_, {{4, strata_command("run plan.json --executor mpi --layers 5000 --json "
                                                     "--deadline-s 6 --timeline m.json --trace t.json")}});
      job.wait_until_running(into);
      job.signal(stopped, SIGSTOP);
      finished = job.wait();
      EXPECT_EQ(finished.code, 4) << finished.err;
      EXPECT_TRUE(has(finished.err, "strata: rank ")) << finished.err;
      if (!has(finished.err, ": comparing clocks: no word from rank ")) break;
    }
    EXPECT_TRUE(has(finished.err, "ward instruction ")) << finished.err;
    EXPECT_TRUE(has(finished.err, " (Exchange) of wave 0, layer ")) << finished.err;
    EXPECT_TRUE(has(finished.err, " cannot end, waits for rank ")) << finished.err;
    EXPECT_TRUE(has(finished.err, ": nothing has moved for 6 s\n")) << finished.err;
    EXPECT_EQ(finished.out, "");
    expect_no_result();
  }
}

TEST_F(Mpi, ProcessesWithDifferentPlansRefuseToStart) {
  plan("plan.json", "--topology cpu:1x4 --strategy ring");
  plan("plan2.json", "--topology cpu:1x4 --strategy zigzag_ring");
  const std::string options = " --executor mpi --timeline m.json";
  MpiJobUnderTest job(work_, {{3, strata_command("run plan.json" + options)},
                              {1, strata_command("run plan2.json" + options)}});
  const Finished finished = job.wait();
  EXPECT_EQ(finished.code, 4) << finished.err;
  EXPECT_TRUE(has(finished.err, "strata: rank 3: plan ")) << finished.err;
  EXPECT_TRUE(has(finished.err, ", the others have plan ")) << finished.err;
  EXPECT_EQ(reports(finished.err), 1) << finished.err;
  expect_no_result();
}

TEST_F(Mpi, ProcessesWithDifferentOptionsRefuseToStart) {
  plan("plan.json", "--topology cpu:1x4 --strategy ring");
  MpiJobUnderTest job(work_, {{1, strata_command("run plan.json --executor mpi --repeat 2")},
                              {2, strata_command("run plan.json --executor mpi")}});
  const Finished finished = job.wait();
  EXPECT_EQ(finished.code, 4) << finished.err;
  EXPECT_TRUE(has(finished.err, "strata: ranks 0-1: options 2 layers, 2 repeats, seed 0")) << finished.err;
}

TEST_F(Mpi, APlanThatOneProcessCannotReadEndsAllOfThem) {
  plan("plan.json", "--topology cpu:1x4 --strategy ring");
  work_.write("plan2.json", work_.read("plan.json").substr(0, 3000));
  const std::string options = " --executor mpi --timeline m.json";
  MpiJobUnderTest job(work_, {{1, strata_command("run plan.json" + options)},
                              {1, strata_command("run plan2.json" + options)},
                              {2, strata_command("run plan.json" + options)}});
  const Finished finished = job.wait();
  EXPECT_EQ(finished.code, 4) << finished.err;
  EXPECT_TRUE(has(finished.err, "strata: rank 1: plan2.json: ")) << finished.err;
  EXPECT_EQ(reports(finished.err), 1) << finished.err;
  expect_no_result();
}

TEST_F(Mpi, AProcessWithoutMemoryEndsAllOfThem) {
  work_.write("b.jsonl", "{\"step\": 0, \"documents\": [3000000, 10, 10, 10]}\n");
  work_.expect(
      0,
      "plan --batch b.jsonl --model tiny --layers 1 --heads 4:2 --quiet --topology cpu:1x4 --strategy "
      "whole_document -o plan.json");
  const std::string arguments = "run plan.json --executor mpi --timeline m.json";
  MpiJobUnderTest job(work_, {{1, strata_command(arguments, "-v 2500000")}, {3, strata_command(arguments)}});
  const Finished finished = job.wait();
  EXPECT_EQ(finished.code, 4) << finished.err;
  EXPECT_TRUE(has(finished.err, "strata: rank 0: found too little memory for arenas of ")) << finished.err;
  EXPECT_EQ(reports(finished.err), 1) << finished.err;
  expect_no_result();
}

TEST_F(Mpi, ACalibrationWritesTheSamplesOfAllProcesses) {
  const Finished finished = run_job(work_, 2, "calibrate -o s.json --executor mpi --quick --json");
  ASSERT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(member(parsed(finished.out), "samples_file").string(), "s.json");
  EXPECT_TRUE(has(finished.err, "2 ranks in as many processes, ")) << finished.err;
  EXPECT_EQ(work_.files(), std::vector<std::string>{"s.json"});
  const JsonDocument samples = parsed(work_.read("s.json"));
  EXPECT_GT(member(samples, "provenance.clock_error_ns").integer(0, 1'000'000'000), 0);
  EXPECT_EQ(member(samples, "ranks").size(), 2U);
  // 3 pairs of lengths, 2 bands and 2 numbers of heads, both directions; 6 operations at 1, 16 and 256 rows;
  // 3 sizes of messages one way, both ways and all-to-all.
  EXPECT_EQ(member(samples, "attention").size(), 24U);
  EXPECT_EQ(member(samples, "rows").size(), 18U);
  EXPECT_EQ(member(samples, "exchanges").size(), 9U);
  for (const JsonValue each : member(samples, "exchanges").items()) {
    EXPECT_EQ(member(each, "level").string(), "node");
    EXPECT_EQ(member(each, "durations_ns").size(), 4U);
  }
}

TEST_F(Mpi, ACalibrationWithoutALauncherPrintsTheLineToUse) {
  EXPECT_EQ(
      work_.expect(2, "calibrate -o s.json --executor mpi").err,
      "strata: --executor mpi: found no launcher, expected mpirun -np 2 --bind-to none strata calibrate "
      "-o s.json --executor mpi, or srun --mpi=pmix -n 2 strata calibrate -o s.json --executor mpi\n");
  EXPECT_TRUE(work_.files().empty());
}

TEST_F(Mpi, ACalibrationOfProcessesThatDisagreeEndsAllOfThem) {
  const std::string arguments = "calibrate -o s.json --executor mpi --quick --model ";
  MpiJobUnderTest job(
      work_, {{1, strata_command(arguments + "tiny")}, {1, strata_command(arguments + "llama3_8b")}});
  const Finished finished = job.wait();
  EXPECT_EQ(finished.code, 4) << finished.err;
  EXPECT_TRUE(has(finished.err, "strata: rank 1: plan ")) << finished.err;
  EXPECT_EQ(reports(finished.err), 1) << finished.err;
  EXPECT_TRUE(work_.files().empty());
}

#if !STRATA_HAS_MPI
TEST(WithoutMpi, TheExecutorIsRefused) {
  const Workspace work;
  const Finished finished = work.expect(2, "run p.json --executor mpi");
  const std::string others = STRATA_HAS_NCCL != 0   ? "cpu, cuda or nccl"
                             : STRATA_HAS_CUDA != 0 ? "cpu or cuda"
                                                    : "cpu";
  EXPECT_EQ(finished.err,
            "strata: --executor: found 'mpi', expected " + others + ": this build has no MPI\n");
}
#endif

}  // namespace
}  // namespace strata::test
