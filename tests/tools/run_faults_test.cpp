// SPDX-License-Identifier: Apache-2.0
// A run on a machine that gives less than was asked for: fewer threads, no room for files. What was computed
// is not lost with them.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/sanitized.hpp"
#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class RunFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    work_.write("b.jsonl", "{\"step\": 0, \"packs\": [[40, 24, 33]]}\n");
    work_.expect(0, "plan --batch b.jsonl --topology cpu:1x4 --model tiny --strategy ring -o p.json");
  }
  /// Stacks of 1 GiB each, and `kib` of address space for everything: so many threads start.
  Finished with_stacks(const std::string& kib, const std::string& arguments) const {
    return work_.script("ulimit -s 1048576 && ulimit -v " + kib + " || exit 99\nexec " STRATA_BINARY " " +
                        arguments);
  }
  Workspace work_;
};

const char* const kVerdict = "check passed (full): the result is what one device computes\n";

TEST_F(RunFaults, FewerThreadsThanAskedForRunWhatThereIsToRun) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs the memory that is limited here";
  const Finished alone = with_stacks("900000", "run p.json --threads 8 --check full");
  if (alone.code == 99) GTEST_SKIP() << "this user may not have stacks of 1 GiB";
  EXPECT_EQ(alone.code, 0) << alone.err;
  EXPECT_TRUE(contains(alone.out, "in this process, 1 thread, ")) << alone.out;
  EXPECT_TRUE(contains(alone.out, "the system gave 1 of 8 threads: the run went on with fewer\n"))
      << alone.out;
  EXPECT_TRUE(contains(alone.out, kVerdict)) << alone.out;

  const Finished some = with_stacks("3800000", "run p.json --threads 8 --check full");
  EXPECT_EQ(some.code, 0) << some.err;
  EXPECT_TRUE(contains(some.out, " of 8 threads: the run went on with fewer\n")) << some.out;
  EXPECT_FALSE(contains(some.out, "gave 1 of 8")) << some.out;
  EXPECT_TRUE(contains(some.out, kVerdict)) << some.out;
}

TEST_F(RunFaults, EveryCommandDoesWithoutThreads) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs the memory that is limited here";
  for (const char* arguments :
       {"plan --batch b.jsonl --topology cpu:1x4 --model tiny --strategy all -o other.json", "lint p.json",
        "explain p.json", "simulate p.json", "compare --batches b.jsonl --topology cpu:1x4 --model tiny"}) {
    const Finished finished = with_stacks("900000", arguments);
    if (finished.code == 99) GTEST_SKIP() << "this user may not have stacks of 1 GiB";
    EXPECT_EQ(finished.code, 0) << arguments << '\n' << finished.err;
    EXPECT_EQ(finished.out, work_.expect(0, arguments).out) << arguments;
  }
}

TEST_F(RunFaults, CalibratingNeedsAllItsThreadsAndSaysSo) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs the memory that is limited here";
  const Finished finished = with_stacks("900000", "calibrate --threads 8 -o c.json");
  if (finished.code == 99) GTEST_SKIP() << "this user may not have stacks of 1 GiB";
  EXPECT_EQ(finished.code, 4) << finished.err;
  EXPECT_TRUE(contains(finished.err, "of 8 threads that calibrating needs at once (")) << finished.err;
  EXPECT_FALSE(work_.has("c.json"));
}

TEST_F(RunFaults, AFullDiskKeepsTheVerdict) {
  const std::vector<std::string> files = work_.files();
  const std::string line =
      "strata: /dev/full: found No space left on device, expected a file that can be written\n";
  for (const char* option : {"--timeline", "--trace"}) {
    const Finished finished = work_.strata(std::string("run p.json --check full ") + option + " /dev/full");
    EXPECT_EQ(finished.code, 2);
    EXPECT_EQ(finished.err, line);
    EXPECT_TRUE(contains(finished.out, kVerdict)) << finished.out;
  }
  const Finished document = work_.strata("run p.json --check full --json --timeline /dev/full");
  EXPECT_EQ(document.code, 2);
  EXPECT_TRUE(member(parsed(document.out), "check.passed").boolean());
  EXPECT_TRUE(contains(document.err, line)) << document.err;
  // One file that cannot be written does not keep the other from being written.
  EXPECT_EQ(work_.strata("run p.json --timeline /dev/full --trace t.json").code, 2);
  EXPECT_TRUE(work_.has("t.json"));
  std::filesystem::remove(work_.path("t.json"));
  EXPECT_EQ(work_.files(), files);
}

TEST_F(RunFaults, AFileThatGrowsTooLargeKeepsTheVerdictAndLeavesNothing) {
  const std::vector<std::string> files = work_.files();
  const Finished finished = work_.script("ulimit -f 4\nexec " STRATA_BINARY
                                         " run p.json --repeat 100 --check full --quiet --timeline t.json");
  EXPECT_EQ(finished.code, 2);
  EXPECT_EQ(finished.out, kVerdict);
  EXPECT_EQ(finished.err, "strata: t.json: found File too large, expected a file that can be written\n");
  EXPECT_EQ(work_.files(), files);
}

TEST_F(RunFaults, RunShowsHowFarItIsToATerminalOnly) {
  const auto on_terminal = [&](const std::string& more) {
    return work_.script("script -qec '" STRATA_BINARY " run p.json --check full" + more + "' /dev/null");
  };
  const Finished shown = on_terminal("");
  if (shown.code == 127) GTEST_SKIP() << "no script(1) to make a terminal";
  EXPECT_TRUE(contains(shown.out, "\rrunning [")) << shown.out;
  EXPECT_TRUE(contains(shown.out, "\rchecking [")) << shown.out;
  EXPECT_TRUE(contains(shown.out, "100%\r\033[K")) << shown.out;
  EXPECT_FALSE(contains(on_terminal(" --quiet").out, "running ["));
  EXPECT_EQ(work_.expect(0, "run p.json --check full").err, "");
}

TEST_F(RunFaults, CheckWithoutAModeIsSampled) {
  const std::string sampled = "check passed (sampled): the result is what one device computes\n";
  for (const char* arguments :
       {"run p.json --check --quiet", "run --check --quiet p.json", "run p.json --quiet --check",
        "run p.json --check --timeline t.json --quiet", "run p.json --check=sampled --quiet"}) {
    EXPECT_EQ(work_.expect(0, arguments).out, sampled) << arguments;
  }
  EXPECT_TRUE(work_.has("t.json"));
}

}  // namespace
}  // namespace strata::test
