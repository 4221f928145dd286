// SPDX-License-Identifier: Apache-2.0
// Every command on a small recorded or hand-made batch: what it prints, what it writes, and that --json is
// one document with the promised keys. calibrate is absent: it measures for a minute.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

using Names = std::vector<std::string>;

/// Two packs, 97 tokens, with a plan for four ranks that moves something.
class Commands : public testing::Test {
 protected:
  void SetUp() override {
    work_.write("b.jsonl", "{\"step\": 7, \"packs\": [[40, 24], [33]]}\n");
    work_.expect(0, "plan --batch b.jsonl --topology cpu:1x4:2 --model tiny --strategy ring -o plan.json");
  }
  JsonDocument json(const std::string& arguments, int code = 0) {
    const Finished finished = work_.expect(code, arguments + " --json");
    return parsed(finished.out);
  }
  Workspace work_;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(Commands, InspectShowsPercentilesPackingAndAHistogram) {
  const std::string text = work_.expect(0, "inspect " + sample("codeparrot_32k.jsonl")).out;
  for (const char* part : {"documents 225   tokens 524,288", "p50 1,340", "packs 16 of up to 32,768 tokens",
                           "attention work", "tokens from"}) {
    EXPECT_TRUE(contains(text, part)) << part << "\n" << text;
  }
  const JsonDocument document = json("inspect " + sample("codeparrot_32k.jsonl"));
  EXPECT_EQ(member(document, "documents").integer(0, 1000), 225);
  EXPECT_EQ(member(document, "tokens").integer(0, 1'000'000), 524288);
  EXPECT_EQ(member(document, "recorded_batches").integer(0, 1000), 16);
  EXPECT_EQ(keys(member(document, "read_as.batch")),
            (Names{"source", "description", "documents", "tokens", "packs", "steps", "padding_tokens",
                   "used_keys", "unused_keys", "notes"}));
}

TEST_F(Commands, InspectReadsEverySampleFormat) {
  for (const char* name : {"azure_conv_200.csv", "codeparrot_128k.jsonl", "codeparrot_content_document.idx",
                           "distca_prolong_500.json", "train_seq131072_doc_idx.npy", "wikipedia_1000.txt"}) {
    const Finished finished = work_.strata("inspect " + sample(name));
    if (std::string(name).ends_with(".npy")) {  // an index of documents holds a zero, which is no length
      EXPECT_EQ(finished.code, 2);
      continue;
    }
    EXPECT_EQ(finished.code, 0) << finished.err;
    EXPECT_TRUE(contains(finished.out, "documents ")) << name;
  }
}

TEST_F(Commands, LengthsCanComeThroughAPipe) {
  for (const std::string& file : {sample("azure_conv_200.csv"), sample("codeparrot_32k.jsonl"),
                                  sample("distca_prolong_500.json"), sample("wikipedia_1000.txt")}) {
    const Finished piped = work_.script("cat " + file + " | " STRATA_BINARY " inspect /dev/stdin");
    EXPECT_EQ(piped.err, "");
    std::string expected = work_.expect(0, "inspect " + file).out;
    EXPECT_EQ(piped.out, expected.replace(0, file.size(), "/dev/stdin"));
  }
  work_.script("cat b.jsonl | " STRATA_BINARY
               " plan --batch /dev/stdin --topology cpu:1x4:2 --model tiny --strategy ring -o piped.json");
  EXPECT_EQ(work_.read("piped.json"), work_.read("plan.json"));
}

TEST_F(Commands, TopoDrawsTheLevelsAndGivesTheTopologyAsJson) {
  const std::string text = work_.expect(0, "topo cpu:2x4").out;
  EXPECT_TRUE(contains(text, "cpu:2x4: 2 nodes, 2 devices, 8 ranks, 4 links")) << text;
  EXPECT_TRUE(contains(text, "   0 ....NNNN\n")) << text;
  const Finished document = work_.expect(0, "topo dgx_h100:2 --json");
  parsed(document.out);
  work_.write("copy.json", document.out);
  EXPECT_EQ(work_.expect(0, "topo copy.json").out, work_.expect(0, "topo dgx_h100:2").out);
}

TEST_F(Commands, PlanRanksItsCandidatesAndWritesThePlan) {
  const Finished finished =
      work_.expect(0, "plan --batch b.jsonl:1 --topology cpu:1x2:2 --model tiny --strategy all -o all.json");
  for (const char* part :
       {"97 tokens in 3 documents, 2 waves; 2 ranks on cpu:1x2:2", "profile: cpu, unmeasured", "strategy",
        "vs best", "chosen", "lower bound", "not in it", "wrote all.json"}) {
    EXPECT_TRUE(contains(finished.out, part)) << part << '\n' << finished.out;
  }
  const JsonDocument document =
      json("plan --batch b.jsonl --topology cpu:1x2:2 --model tiny --strategy all -o all.json");
  EXPECT_EQ(keys(document.root()),
            (Names{"plan", "read_as", "strategy", "ranks", "waves", "predicted", "bounds", "candidates"}));
  EXPECT_EQ(keys(member(document, "predicted")),
            (Names{"step_time_ns", "forward_ns", "backward_ns", "imbalance", "peak_memory_bytes", "memory",
                   "arena_bytes", "kv_bytes", "bytes_by_level", "extrapolated_share", "settled"}));
  EXPECT_EQ(keys(member(document, "bounds")), (Names{"lower_bound_ns", "in_family_ns", "gap", "active"}));
  EXPECT_EQ(member(document, "candidates").size(), 6U);
  for (const JsonValue candidate : member(document, "candidates").items()) {
    EXPECT_EQ(keys(candidate), (Names{"strategy", "step_time_ns", "rejected", "settled", "tied"}));
  }
}

TEST_F(Commands, PlanAndCompareMarkTimesThatAreNotSettledEvenOfLosers) {
  const std::string asked =
      " --topology cpu:1x32 --model tiny --layers 10000 --strategies ring,whole_document";
  work_.write("one.jsonl", "{\"step\": 0, \"packs\": [[40, 24, 33]]}\n");
  const Finished plan = work_.expect(0, "plan --batch one.jsonl -o unsettled.json --json" + asked);
  const JsonDocument document = parsed(plan.out);
  EXPECT_EQ(member(document, "strategy").string(), "whole_document");
  for (const JsonValue candidate : member(document, "candidates").items()) {
    const bool ring = member(candidate, "strategy").string() == "ring";
    EXPECT_EQ(member(candidate, "settled").boolean(), !ring);
  }
  work_.expect(0, "lint --no-candidates unsettled.json");
  work_.edit("unsettled.json", "\"rejected\":null,\"settled\":true", "\"rejected\":null,\"settled\":false");
  EXPECT_TRUE(contains(work_.expect(1, "lint --no-candidates unsettled.json").out,
                       "was chosen with settled false, but the plan predicts settled true"));
  const Finished table = work_.expect(0, "compare --batches one.jsonl" + asked);
  EXPECT_TRUE(contains(table.out, " s, unsettled ")) << table.out;
  EXPECT_TRUE(contains(table.out, "unsettled: 1 step time of ring of 1: layers were left out")) << table.out;
  const JsonDocument rows = json("compare --batches one.jsonl" + asked);
  for (const JsonValue row : member(rows, "rows").items()) {
    EXPECT_EQ(member(row, "settled").boolean(), member(row, "strategy").string() != "ring");
  }
}

TEST_F(Commands, PlanSaysWhereKeysAndValuesAreFetchedAThirdTime) {
  const std::string note = "fetches keys and values a third time";
  const auto said = [&](const std::string& more) {
    const Finished finished = work_.expect(
        0, "plan --batch b.jsonl --topology cpu:1x4 --model tiny --strategy ring -o note.json " + more);
    return contains(finished.out, note);
  };
  EXPECT_TRUE(said("--recompute full --backward-kv refetch"));
  EXPECT_FALSE(said("--recompute full --backward-kv retain"));
  EXPECT_FALSE(said("--recompute selective --backward-kv refetch"));
  EXPECT_FALSE(said("--backward-kv refetch"));
}

TEST_F(Commands, PlanAndCompareShowTheirProgressToATerminalOnly) {
  const std::string plan =
      "plan --batch b.jsonl --topology cpu:1x4 --model tiny --strategy all -o other.json";
  const std::string compare = "compare --batches b.jsonl --topology cpu:1x4 --model tiny --strategies all";
  for (const std::string& command : {plan, compare}) {
    const std::string doing = command == plan ? "planning, placing ring [" : "comparing [";
    const std::string share = command == plan ? "14%" : "16%";
    const auto on_terminal = [&](const std::string& more) {
      std::string line = "script -qec '" STRATA_BINARY " ";
      line.append(command).append(more).append("' /dev/null");
      return work_.script(line);
    };
    const Finished shown = on_terminal("");
    if (shown.code == 127) GTEST_SKIP() << "no script(1) to make a terminal";
    EXPECT_TRUE(contains(shown.out, "\r" + doing + "####..........................] " + share)) << shown.out;
    EXPECT_TRUE(contains(shown.out, "100%\r\033[K")) << shown.out;
    EXPECT_FALSE(contains(on_terminal(" --quiet").out, doing));
    EXPECT_EQ(work_.expect(0, command).err, "");
  }
}

TEST_F(Commands, PlanFilesHaveTheKeysThatOtherToolsRelyOn) {
  const JsonDocument plan = parsed(work_.read("plan.json"));
  EXPECT_EQ(keys(member(plan, "inputs")), (Names{"batch", "topology", "model", "request", "profile"}));
  for (const char* way :
       {"format_version", "lowering_version", "strategy", "seed", "waves", "predicted.step_time_ns",
        "bounds.gap", "candidates", "inputs.batch.digest", "inputs.profile.content"}) {
    EXPECT_NO_THROW(member(plan, way)) << way;
  }
}

TEST_F(Commands, RecordedRowsJoinIntoStepsOfSeveralPacks) {
  const std::string text = work_
                               .expect(0, "plan --batch " + sample("codeparrot_32k.jsonl") +
                                              ":1 --packs-per-step 2 --topology cpu:1x2 --model tiny "
                                              "--strategy whole_document -o two.json")
                               .out;
  EXPECT_TRUE(contains(text, "65,536 tokens")) << text;
  EXPECT_TRUE(contains(text, "2 waves")) << text;
}

TEST_F(Commands, LintSaysWhatIsCleanAndWhatIsNot) {
  EXPECT_EQ(work_.expect(0, "lint plan.json").out,
            "plan.json: clean (ring, 2 waves, 4 ranks, 10 transfers, 19 tasks)\n");
  const JsonDocument clean = json("lint plan.json");
  EXPECT_EQ(keys(clean.root()), (Names{"plan", "strategy", "passed", "violations", "not_verified"}));
  EXPECT_TRUE(member(clean, "passed").boolean());
  work_.edit("plan.json", "\"arena_bytes\": 147968", "\"arena_bytes\": 147969");
  const Finished damaged = work_.expect(1, "lint plan.json");
  EXPECT_TRUE(contains(damaged.out, "plan.json: predicted")) << damaged.out;
  const JsonDocument document = json("lint plan.json", 1);
  EXPECT_FALSE(member(document, "passed").boolean());
  ASSERT_GE(member(document, "violations").size(), 1U);
  for (const JsonValue violation : member(document, "violations").items()) {
    EXPECT_EQ(keys(violation), (Names{"rule", "place", "message"}));
  }
}

TEST_F(Commands, ExplainNamesTheLayoutTheBoundAndTheRunnerUp) {
  work_.expect(0, "plan --batch b.jsonl --topology cpu:1x2:2 --model tiny --strategy all -o all.json");
  const std::string text = work_.expect(0, "explain all.json").out;
  for (const char* part :
       {"layout: ", "predicted step: ", "what binds: compute", "runner-up: ", "not in it: "}) {
    EXPECT_TRUE(contains(text, part)) << part << '\n' << text;
  }
  EXPECT_EQ(member(json("explain plan.json"), "strategy").string(), "ring");
}

TEST_F(Commands, EveryStepTimeComesWithTheSameListOfWhatIsNotInIt) {
  const auto list = [&](const std::string& arguments) {
    const std::string text = work_.expect(0, arguments).out;
    const auto begin = text.find("  not in it: ");
    EXPECT_NE(begin, std::string::npos) << arguments;
    const std::string end = "data loading\n";
    return text.substr(begin, text.find(end, begin) + end.size() - begin);
  };
  const std::string expected =
      "  not in it: embedding and output layers, norms, loss, optimiser, gradient synchronisation, pipeline "
      "bubbles,\n    data loading\n";
  EXPECT_EQ(list("plan --batch b.jsonl --topology cpu:1x2 --model tiny -o p.json"), expected);
  EXPECT_EQ(list("explain plan.json"), expected);
  EXPECT_EQ(list("simulate plan.json"), expected);
  EXPECT_EQ(list("compare --batches b.jsonl --topology cpu:1x2 --model tiny"), expected);
}

TEST_F(Commands, OneOfAThingIsNotNamedAsSeveral) {
  work_.write("one.jsonl", "{\"step\": 0, \"packs\": [[1]]}\n");
  const std::string plan =
      work_
          .expect(0,
                  "plan --batch one.jsonl --topology cpu:1x1 --model tiny --heads 1:1 --layers 1 -o one.json")
          .out;
  EXPECT_TRUE(contains(plan, "1 token in 1 document, 1 wave; 1 rank on cpu:1x1\n")) << plan;
  EXPECT_TRUE(contains(plan, "\n  1 query and 1 KV head of 64; ")) << plan;
  EXPECT_EQ(work_.expect(0, "lint one.json").out,
            "one.json: clean (ulysses, 1 wave, 1 rank, 0 transfers, 1 task)\n");
  EXPECT_EQ(work_
                .expect(3,
                        "plan --batch one.jsonl --topology cpu:1x2 --model tiny --heads 1:1 "
                        "--strategy ulysses -o two.json")
                .err,
            "strata: no feasible plan\n  ulysses: 1 query head cannot be divided evenly among 2 ranks"
            "; degrees that work: 1 (of 2 ranks); other"
            " strategies divide no heads\n");
  EXPECT_TRUE(contains(work_
                           .expect(3,
                                   "plan --batch one.jsonl --topology cpu:1x1 --model tiny --memory-cap 1 "
                                   "--strategy ring -o two.json")
                           .err,
                       "  ring: document 0 of 1 token needs "));
}

TEST_F(Commands, SimulateWritesATimelineAndATrace) {
  const std::string text = work_.expect(0, "simulate plan.json --timeline t.json --trace trace.json").out;
  EXPECT_TRUE(contains(text, "exposed communication")) << text;
  EXPECT_TRUE(contains(text, "peak memory")) << text;
  const JsonDocument trace = parsed(work_.read("trace.json"));
  EXPECT_GT(member(trace, "traceEvents").size(), 20U);
  const JsonDocument document = json("simulate plan.json --layers 1");
  EXPECT_EQ(member(document, "ranks").size(), 4U);
  EXPECT_NO_THROW(member(document, "predicted.bytes_by_level.network"));
}

TEST_F(Commands, SimulateOnlyOneLayerTakesHalfOfTwo) {
  const auto step = [&](const std::string& more) {
    return member(json("simulate plan.json" + more), "predicted.bytes_by_level.device")
        .integer(0, 1'000'000'000);
  };
  EXPECT_EQ(2 * step(" --layers 1"), step(""));
}

TEST_F(Commands, RunChecksTheResultAndReportsBytesTimesAndArenas) {
  const Finished finished =
      work_.expect(0, "run plan.json --check full --repeat 2 --poison --timeline m.json");
  for (const char* part : {"repeat 1: ", "bytes and arena are as predicted", "dq ",
                           "check passed (full): the result is what one device computes"}) {
    EXPECT_TRUE(contains(finished.out, part)) << part << '\n' << finished.out;
  }
  const JsonDocument document = json("run plan.json --check sampled --repeat 2");
  EXPECT_EQ(keys(document.root()),
            (Names{"plan", "check", "wall_ns", "bytes_by_level", "sent_bytes", "arena_bytes"}));
  EXPECT_EQ(keys(member(document, "check")), (Names{"passed", "max_relative_l2", "mode"}));
  EXPECT_TRUE(member(document, "check.passed").boolean());
  EXPECT_EQ(member(document, "check.mode").string(), "sampled");
  EXPECT_EQ(member(document, "wall_ns").size(), 2U);
  EXPECT_EQ(member(document, "arena_bytes").size(), 4U);
  EXPECT_TRUE(member(json("run plan.json"), "check").is_null());
}

TEST_F(Commands, RunSendsExactlyTheBytesThatThePlanPredicts) {
  const JsonDocument ran = json("run plan.json");
  const JsonDocument predicted = parsed(work_.read("plan.json"));
  for (const char* level : {"device", "node", "network"}) {
    const std::string name = std::string("bytes_by_level.") + level;
    EXPECT_EQ(member(ran, name).integer(0, 1 << 30),
              member(predicted, "predicted." + name).integer(0, 1 << 30));
  }
  EXPECT_GT(member(ran, "sent_bytes").integer(0, 1 << 30), 0);
}

TEST_F(Commands, ValidateFindsNoErrorBetweenASimulationAndItself) {
  work_.expect(0, "simulate plan.json --attention-only --timeline t.json");
  const JsonDocument document = json("validate plan.json t.json");
  EXPECT_EQ(keys(member(document, "step")), (Names{"predicted_ns", "measured_ns", "relative_error"}));
  EXPECT_EQ(member(document, "step.relative_error").number(), 0.0);
  EXPECT_EQ(member(document, "unmatched").integer(0, 1000), 0);
  EXPECT_GT(member(document, "matched").integer(0, 100000), 40);
  ASSERT_GT(member(document, "kinds").size(), 2U);
  for (const JsonValue kind : member(document, "kinds").items()) {
    const Names names = keys(kind);
    for (const char* name :
         {"kind", "count", "median_absolute_relative_error", "p95_absolute_relative_error"}) {
      EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
    }
  }
}

TEST_F(Commands, ValidateJudgesAgainstATolerance) {
  work_.expect(0, "simulate plan.json --attention-only --timeline t.json");
  work_.expect(0, "validate plan.json t.json --tolerance-percent 1");
  const JsonDocument plan = parsed(work_.read("plan.json"));
  // A machine whose kernels take a millisecond to start is far from the prediction.
  work_.write("slow.json", member(plan, "inputs.profile.content").canonical_text());
  std::string slow = work_.read("slow.json");
  for (std::size_t at = 0; (at = slow.find("\"launch_ns\":2000,\"pass\"", at)) != std::string::npos;) {
    slow.replace(at, 16, "\"launch_ns\":1000000");
  }
  work_.write("slow.json", slow);
  const Finished finished =
      work_.expect(1, "validate plan.json t.json --profile slow.json --tolerance-percent 1");
  EXPECT_TRUE(contains(finished.out, "is above the tolerance of 1 %\n")) << finished.out;
}

TEST_F(Commands, ValidateReadsWhatRunMeasured) {
  work_.expect(0, "run plan.json --repeat 2 --timeline m.json");
  const std::string text = work_.expect(0, "validate plan.json m.json").out;
  EXPECT_TRUE(contains(text, "AttentionBackward")) << text;
  EXPECT_TRUE(contains(text, "linear layers were neither run nor predicted here")) << text;
}

TEST_F(Commands, QuietLeavesOnlyResults) {
  for (const char* arguments :
       {"plan --batch b.jsonl --topology cpu:1x2 --model tiny -o q.json", "lint plan.json",
        "explain plan.json", "simulate plan.json", "run plan.json", "inspect b.jsonl", "topo cpu:1x2",
        "compare --batches b.jsonl --topology cpu:1x2 --model tiny"}) {
    const Finished finished = work_.expect(0, std::string(arguments) + " --quiet");
    EXPECT_EQ(finished.out + finished.err, "") << arguments;
  }
  EXPECT_EQ(work_.expect(0, "run plan.json --check full --quiet").out,
            "check passed (full): the result is what one device computes\n");
}

TEST_F(Commands, ARunPastItsDeadlineIsADeviceFailureThatNamesTheRank) {
  work_.expect(0, "plan --batch " + sample("codeparrot_32k.jsonl") +
                      ":1 --topology cpu:1x2:2 --model tiny --layers 1000 --strategy ring -o long.json");
  const Finished finished = work_.expect(4, "run long.json --threads 1 --deadline-s 1 --timeline m.json");
  EXPECT_TRUE(contains(finished.err, "strata: rank ")) << finished.err;
  EXPECT_TRUE(contains(finished.err, "the deadline has passed")) << finished.err;
  EXPECT_EQ(finished.out, "");
  EXPECT_FALSE(work_.has("m.json"));
}

TEST_F(Commands, AnOutputThatCannotBeWrittenIsNoSuccess) {
  const std::string command = std::string("'") + STRATA_BINARY + "' topo cpu:1x2 > /dev/full 2>/dev/null";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 2);
}

}  // namespace
}  // namespace strata::test
