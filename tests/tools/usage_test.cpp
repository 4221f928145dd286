// SPDX-License-Identifier: Apache-2.0
// What the program says to a command line that is a question, or makes no sense: help, the version, and one
// line with exit code 2 for everything unknown, missing or mistyped.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "core/base/version.hpp"
#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

const std::vector<std::string> kCommands = {"inspect", "topo",     "calibrate", "plan",     "lint",
                                            "explain", "simulate", "run",       "validate", "compare"};
const std::string kList =
    "one of inspect, topo, calibrate, plan, lint, explain, simulate, run, validate, compare";

std::size_t widest_line(const std::string& text) {
  std::istringstream lines(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(lines, line);) widest = std::max(widest, line.size());
  return widest;
}

TEST(Usage, WithoutArgumentsPrintsTheHelpAndOneLineWithExitCode2) {
  const Workspace work;
  const Finished finished = work.expect(2, "");
  EXPECT_EQ(finished.out, work.expect(0, "--help").out);
  EXPECT_EQ(finished.err, "strata: found no command, expected " + kList + "\n");
}

TEST(Usage, HelpListsEveryCommandAndTheExitCodes) {
  const Workspace work;
  const Finished finished = work.expect(0, "--help");
  for (const std::string& command : kCommands) {
    EXPECT_NE(finished.out.find("\n  " + command + " "), std::string::npos) << command;
  }
  EXPECT_NE(finished.out.find("Exit codes: 0 fine; 1 a check failed; 2 bad input"), std::string::npos);
  EXPECT_EQ(finished.err, "");
  EXPECT_LE(widest_line(finished.out), 106U);
}

TEST(Usage, EveryCommandExplainsItsOptionsWithinTheWidthOfATerminal) {
  const Workspace work;
  for (const std::string& command : kCommands) {
    const Finished finished = work.expect(0, command + " --help");
    EXPECT_NE(finished.out.find("Usage: strata " + command), std::string::npos) << finished.out;
    for (const char* option : {"--json ", "--quiet ", "--seed N "}) {
      EXPECT_NE(finished.out.find(option), std::string::npos) << command << option;
    }
    EXPECT_LE(widest_line(finished.out), 106U) << finished.out;
    EXPECT_EQ(finished.err, "");
  }
}

TEST(Usage, VersionIsTheProjectsVersion) {
  const Workspace work;
  EXPECT_EQ(work.expect(0, "--version").out, std::string(kVersion) + "\n");
}

struct Mistake {
  std::string arguments, message;
};

const std::vector<Mistake> kMistakes = {
    {"plna", "found command 'plna', expected " + kList + "; did you mean 'plan'?"},
    {"Explain", "found command 'Explain', expected " + kList + "; did you mean 'explain'?"},
    {"train", "found command 'train', expected " + kList},
    {"--fast", "found '--fast', expected only what strata --help lists"},
    {"--verison", "found '--verison', expected only what strata --help lists; did you mean '--version'?"},
    {"lint", "lint: found no PLAN, expected PLAN (plan file)"},
    {"lint a.json b.json", "lint: found 'b.json', expected only what strata lint --help lists"},
    {"plan --batch b.jsonl", "plan: found no --output, expected --output FILE (plan file to write)"},
    {"plan --output",
     "plan: found --output: 1 required FILE missing, expected what strata plan --help lists"},
    {"plan --batch b.jsonl -o a.json -o c.json", "--output: found 2 values, expected one"},
    {"plan --batch b.jsonl --topology cpu:1x2 --ranks 1 --cp 2 -o p.json",
     "--ranks: found 2 values, expected one"},
    {"plan --bach b.jsonl -o p.json",
     "plan: found '--bach', expected only what strata plan --help lists; did you mean '--batch'?"},
    {"run p.json --chek=full",
     "run: found '--chek=full', expected only what strata run --help lists; did you mean '--check'?"},
    {"run p.json --dead-line-s 4",
     "run: found '--dead-line-s', expected only what strata run --help lists; did you mean '--deadline-s'?"},
    {"plan --batch b.jsonl -o p.json",
     "--topology: found nothing, expected a topology file or a shorthand such as dgx_h100:8 or cpu:2x4"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --ranks two",
     "--ranks: found 'two', expected a whole number"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --ranks 99999999999999999999",
     "--ranks: found '99999999999999999999', expected a whole number"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --ranks 2.5",
     "--ranks: found '2.5', expected a whole number"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --seed -1",
     "--seed: found '-1', expected a whole number from 0 to 2^64 - 1"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --exchange some",
     "--exchange: found 'some', expected needed or full"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --exchange needs",
     "--exchange: found 'needs', expected needed or full; did you mean 'needed'?"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --element-type BF16",
     "--element-type: found 'BF16', expected f32 or bf16 or f16; did you mean 'bf16'?"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --backward-kv keep",
     "--backward-kv: found 'keep', expected refetch or retain"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --gradient-return tree",
     "--gradient-return: found 'tree', expected owner or reverse_tree"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --element-type f8",
     "--element-type: found 'f8', expected f32 or bf16 or f16"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --memory-cap much",
     "--memory-cap: found 'much', expected a size such as 80GiB"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --memory-cap 0.3B",
     "--memory-cap: found '0.3B', expected a size such as 80GiB, at least 1 byte"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --strategy rings",
     "strategy: found \"rings\", expected one of ulysses, ring, zigzag_ring, per_document, allgather, "
     "whole_document, auto; did you mean 'ring'?"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --strategy ring,ring",
     "strategy: found \"ring\" twice, expected every name once"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --strategy auto,ring",
     "strategy: found \"auto\" beside other names, expected auto alone, which is every strategy, or names"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --strategy ring,all",
     "strategy: found \"all\" beside other names, expected all alone, which is every strategy, or names"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --strategy ring,",
     "strategy: found an empty name, expected names separated by single commas"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --strategy ,ring",
     "strategy: found an empty name, expected names separated by single commas"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --strategy ring,,ulysses",
     "strategy: found an empty name, expected names separated by single commas"},
    {"plan --batch b.jsonl -o p.json --topology cpu:1x2 --packs-per-step 0",
     "--packs-per-step: found 0, expected at least 1"},
    {"inspect b.jsonl --pack-tokens 0", "--pack-tokens: found 0, expected at least 1"},
    {"lint p.json --limit 0", "--limit: found 0, expected at least 1"},
    {"simulate p.json --layers -1", "--layers: found -1, expected 0 to 100000"},
    {"run p.json --executor gpu", "--executor: found 'gpu', expected cpu, cuda, mpi or nccl"},
    {"run --check p.json", "--check: found 'p.json', expected none, sampled, full, or no value for sampled"},
    {"run p.json --check ful",
     "--check: found 'ful', expected none, sampled, full, or no value for sampled; did you mean 'full'?"},
    {"run p.json --check full --check none", "--check: found 2 values, expected one"},
    {"run p.json --executor cuda --deadline-s 0", "--deadline-s: found 0, expected 1 to 1000000"},
    {"run p.json --executor cuda --kernels fast", "--kernels: found 'fast', expected auto or plain"},
    {"run p.json --executor cuda --device -1", "--device: found -1, expected 0 to 1000000"},
    {"run p.json --threads 4097", "--threads: found 4097, expected 0 to 4096"},
    {"run p.json --serial", "--serial: found --executor cpu, expected --executor cuda"},
    {"run p.json --executor mpi --deadline-s 0", "--deadline-s: found 0, expected 1 to 1000000"},
    {"run p.json --check most",
     "--check: found 'most', expected none, sampled, full, or no value for sampled"},
    {"validate p.json t.json --tolerance-percent -5", "--tolerance-percent: found -5, expected 0 or more"},
    {"compare --batches b.jsonl --topology cpu:1x2 --max -1", "--max: found -1, expected 0 or more"},
    {"compare --batches b.jsonl --topology cpu:1x2 --threads -1", "--threads: found -1, expected 0 to 4096"},
    {"plan --batch b.jsonl --topology cpu:1x2 -o p.json --prune --strict",
     "--prune: found --strict, expected one of the two: --strict judges every candidate, --prune leaves some "
     "unknown"},
    {"compare --batches b.jsonl --topology cpu:1x2 --tie-permille -1",
     "--tie-permille: found -1, expected 0 or more"},
    {"calibrate -o c.json --executor gpu", "--executor: found 'gpu', expected cpu, cuda, mpi or nccl"},
    {"calibrate -o c.json --executor mpi --threads 4097", "--threads: found 4097, expected 0 to 4096"},
    {"calibrate -o c.json --executor cuda --device -1", "--device: found -1, expected 0 to 1000000"},
    {"calibrate -o c.json --executor mpi --device 1",
     "--device: found --executor mpi, expected --executor cuda or nccl"},
    {"calibrate -o c.json --quick", "--quick: found --executor cpu, expected --executor cuda, mpi or nccl"},
    {"calibrate -o c.json --executor mpi --quick --thorough",
     "--quick: found --thorough too, expected one of them"},
    {"calibrate -o c.json --threads -1", "--threads: found -1, expected 0 to 4096"},
};

TEST(Usage, MistakesGiveOneLineThatNamesWhatWasFoundAndExpected) {
  const Workspace work;
  work.write("b.jsonl", "{\"step\": 0, \"packs\": [[40, 24]]}\n");
  for (const Mistake& mistake : kMistakes) {
    const Finished finished = work.expect(2, mistake.arguments);
    EXPECT_EQ(finished.err, "strata: " + mistake.message + "\n") << mistake.arguments;
    EXPECT_EQ(finished.out, "") << mistake.arguments;
  }
  EXPECT_EQ(work.files(), std::vector<std::string>{"b.jsonl"}) << "a mistake must leave no file";
}

TEST(Usage, AnEmptyTextIsNoValue) {
  const Workspace work;
  const auto expect_line = [&](const std::vector<std::string>& arguments, const std::string& message) {
    const Finished finished = work.strata(arguments);
    EXPECT_EQ(finished.code, 2);
    EXPECT_EQ(finished.err, "strata: " + message + "\n");
    EXPECT_EQ(finished.out, "");
  };
  expect_line(
      {"run", "p.json", "--timeline", ""},
      "--timeline: found an empty text, expected --timeline FILE (write the measured timeline to this file)");
  expect_line({"run", "p.json", "--check", ""},
              "--check: found '', expected none, sampled, full, or no value for sampled");
  expect_line({"lint", ""}, "PLAN: found an empty text, expected PLAN (plan file)");
  expect_line({"plan", "--batch", "b.jsonl", "-o", ""},
              "--output: found an empty text, expected --output FILE (plan file to write)");
  expect_line({"plan", "--batch", "b.jsonl", "-o", "p.json", "--topology", "cpu:1x2", "--memory-cap", ""},
              "--memory-cap: found an empty text, expected --memory-cap SIZE (a rank's, such as 80GiB; "
              "device: as the "
              "topology says; none)");
}

}  // namespace
}  // namespace strata::test
