// SPDX-License-Identifier: Apache-2.0
// Requests whose parts are sound but do not go together: too many ranks, heads that do not divide, a cap that
// nothing fits, plans that were edited, timelines of another plan, outputs that cannot be written. Never a
// partial file, and a file that exists stays as it is.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/workspace.hpp"

namespace strata::test {
namespace {

class BadRequest : public testing::Test {
 protected:
  void SetUp() override {
    work_.write("b.jsonl", "{\"step\": 0, \"packs\": [[40, 24], [33]]}\n");
    work_.write("o.json", "what was there before");
  }
  /// One line on stderr, nothing on stdout, no file more and none changed.
  void expect_line(int code, const std::string& command, const std::string& message) {
    const std::vector<std::string> files = work_.files();
    for (const char* json : {"", " --json"}) {
      const Finished finished = work_.expect(code, command + json);
      EXPECT_EQ(finished.err, "strata: " + message + "\n");
      EXPECT_EQ(finished.out, "");
    }
    EXPECT_EQ(work_.files(), files);
    EXPECT_EQ(work_.read("o.json"), "what was there before");
  }
  std::string plan(const std::string& more) {
    return "plan --batch b.jsonl --topology cpu:1x4:2 --model tiny -o o.json " + more;
  }
  Workspace work_;
};

TEST_F(BadRequest, MoreRanksThanTheTopologyHas) {
  expect_line(2, plan("--ranks 99"), "ranks: found 99, expected 1 to 4, the ranks of topology 'cpu:1x4:2'");
  expect_line(2, plan("--ranks 0"), "--ranks: found '0', expected a whole number from 1");
  expect_line(2, plan("--cp -3"), "--ranks: found '-3', expected a whole number from 1");
}

TEST_F(BadRequest, HeadsThatDoNotDivide) {
  expect_line(
      2, plan("--heads 6:4"),
      "--model tiny: found 6 query heads and 4 KV heads, expected query heads that are a multiple of the KV "
      "heads");
  expect_line(2, plan("--heads 6"), "--heads: found '6', expected QUERY:KV, such as 32:8");
  const std::string reason =
      "wave 0: 3 query heads cannot be divided evenly among 4 ranks; degrees that work: 1 (of 4 ranks); other"
      " strategies divide no heads";
  const Finished none = work_.expect(3, plan("--heads 3:3 --strategy ulysses --quiet"));
  EXPECT_EQ(none.err, "strata: no feasible plan\n  ulysses: " + reason + "\n");
  EXPECT_EQ(none.out, "");
  const Finished none_json = work_.expect(3, plan("--heads 3:3 --strategy ulysses --json"));
  const JsonDocument document = parsed(none_json.out);
  EXPECT_TRUE(member(document, "plan").is_null());
  EXPECT_EQ(member(document, "would_fit").size(), 0U);
  EXPECT_EQ(member(document, "candidates").canonical_text(),
            R"([{"rejected":")" + reason +
                R"(","settled":true,"step_time_ns":null,"strategy":"ulysses","tied":false}])");
  // Among other strategies the rejection is a line of the table.
  const Finished all = work_.expect(
      0, "plan --batch b.jsonl --topology cpu:1x4:2 --model tiny -o p.json --heads 3:3 --strategy all");
  EXPECT_NE(all.out.find("\nulysses                 -        -  rejected\n"), std::string::npos) << all.out;
  EXPECT_NE(all.out.find("ulysses is rejected: wave 0: 3 query heads cannot be divided"), std::string::npos);
}

TEST_F(BadRequest, AModelLargerThanAPlanCanHold) {
  expect_line(2, plan("--heads 65536:1"), "--model tiny: found query_heads = 65536, expected at most 4096");
  expect_line(2, plan("--head-dim 2000000"),
              "--model tiny: found head_dim = 2000000, expected at most 1048576");
  expect_line(2, plan("--layers 1000000000"),
              "--model tiny: found layers = 1000000000, expected at most 1048576");
}

TEST_F(BadRequest, AStepTooLongToReckonWith) {
  work_.write("long.jsonl", "{\"documents\": [2000000000]}\n{\"documents\": [400000000]}\n");
  const std::string start = " --topology cpu:1x4 --model tiny --strategy per_document ";
  const std::string too_many =
      ": found 2,000,000,000 tokens with 2.0e+18 pairs of query and key in 4 query heads, expected at most "
      "4.6e18 pairs x heads";
  expect_line(2, "plan --batch long.jsonl:1 -o o.json" + start, "long.jsonl:1" + too_many);
  expect_line(2, "compare --batches long.jsonl" + start, "long.jsonl: step 0" + too_many);
  const std::string too_long =
      "the predicted step: found more than 73 years, expected a shorter one: fewer tokens or layers, or a "
      "faster profile and topology";
  expect_line(2, "plan --batch long.jsonl:2 -o o.json --layers 1000000" + start, too_long);
  work_.expect(0, plan("").replace(plan("").find("o.json"), 6, "p.json"));
  const JsonDocument made = parsed(work_.read("p.json"));
  std::string slow = member(made, "inputs.profile.content").canonical_text();
  slow.replace(slow.find("\"launch_ns\":"), 13, "\"launch_ns\":1e25,\"x\":");
  slow.erase(slow.find(",\"x\":"), slow.find_first_of(",}", slow.find(",\"x\":") + 1) - slow.find(",\"x\":"));
  work_.write("slow.json", slow);
  expect_line(2, plan("--profile slow.json"), too_long);
  expect_line(2, "simulate p.json --profile slow.json", too_long);
}

TEST_F(BadRequest, AMemoryCapNothingFitsGivesEveryCandidateItsReason) {
  for (const char* json : {"", " --json"}) {
    const Finished finished = work_.expect(3, plan("--memory-cap 1KiB --strategy all --quiet") + json);
    if (*json == '\0') {
      EXPECT_EQ(finished.out, "");
    } else {
      const JsonDocument document = parsed(finished.out);
      EXPECT_EQ(member(document, "candidates").size(), strategy_names().size());
      EXPECT_EQ(member(document, "read_as.batch.documents").integer(0, 99), 3);
      EXPECT_TRUE(member(document, "read_as.profile.extrapolated_share").is_null());
    }
    std::istringstream lines(finished.err);
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line, "strata: no feasible plan");
    for (const std::string& strategy : strategy_names()) {
      std::getline(lines, line);
      EXPECT_EQ(line.rfind("  " + strategy + ": wave 0 of 64 tokens needs ", 0), 0U) << line;
      EXPECT_NE(line.find(", over the memory cap of 1.00 KiB (1024 bytes): state 7.50 MiB, "),
                std::string::npos)
          << line;
    }
    EXPECT_FALSE(std::getline(lines, line));
  }
  EXPECT_EQ(work_.read("o.json"), "what was there before");
  const Finished compared =
      work_.expect(3, "compare --batches b.jsonl --topology cpu:1x4 --model tiny --memory-cap 1KiB");
  EXPECT_EQ(compared.err, "strata: no strategy accepts any of the batches\n");
  EXPECT_NE(compared.out.find("ring rejects 1 of 1: wave 0 of 64 tokens needs "), std::string::npos);
}

TEST_F(BadRequest, ComparingWhatEveryStrategyRejectsStillGivesADocumentAndExitCode3) {
  const Finished finished = work_.expect(
      3,
      "compare --batches b.jsonl --topology cpu:1x4 --model tiny --memory-cap 1KiB --strategies all --json");
  EXPECT_TRUE(finished.err.ends_with("strata: no strategy accepts any of the batches\n")) << finished.err;
  const JsonDocument document = parsed(finished.out);
  const JsonValue rows = member(document, "rows");
  EXPECT_EQ(rows.size(), 6U);
  const std::set<std::string_view> has_value_when_rejected = {"step",         "strategy",   "lower_bound_ns",
                                                              "plan_time_ns", "search_ns",  "lower_ns",
                                                              "verify_ns",    "simulate_ns"};
  for (const JsonValue row : rows.items()) {
    for (const JsonValue cell : row.members()) {
      const std::string_view key = cell.key();
      if (key == "rejected") {
        EXPECT_NE(cell.string().find("over the memory cap of 1.00 KiB"), std::string::npos);
      } else if (!has_value_when_rejected.contains(key)) {
        EXPECT_TRUE(cell.is_null()) << key;
      }
    }
  }
}

TEST_F(BadRequest, InputsThatAreNotThere) {
  expect_line(2, "plan --batch no.jsonl --topology cpu:1x4 --model tiny -o o.json",
              "no.jsonl: found no such file, expected a readable file");
  expect_line(2, "plan --batch b.jsonl:9 --topology cpu:1x4 --model tiny -o o.json",
              "b.jsonl: found 1 line, expected a line 9");
  expect_line(2, "plan --batch b.jsonl:0 --topology cpu:1x4 --model tiny -o o.json",
              "b.jsonl:0: found line 0, expected a line number of at least 1");
  expect_line(2, "plan --batch b.jsonl --topology no.json --model tiny -o o.json",
              "topology: found 'no.json', which is no file, expected dgx_h100:NODES, cpu:HOSTSxRANKS or "
              "cpu:HOSTSxRANKS:CORES, or a JSON file");
  expect_line(
      2, "plan --batch b.jsonl --topology cpu:0x4 --model tiny -o o.json",
      "topology: found 'cpu:0x4', expected dgx_h100:NODES, cpu:HOSTSxRANKS or cpu:HOSTSxRANKS:CORES, at "
      "most 65536 ranks on 4096 devices, or a JSON file");
  expect_line(
      2, "plan --batch b.jsonl --topology cpu:1x4 --model llama9 -o o.json",
      "model: found 'llama9', which is no file, expected tiny, llama3_8b, llama3_70b, a JSON file or a "
      "folder with a config.json");
  expect_line(
      2, "plan --batch b.jsonl --topology cpu:1x4 --model tiny --profile no.json -o o.json",
      "profile: found 'no.json', which is no file, expected a profile file from strata calibrate; without "
      "--profile the shipped one of the topology");
  for (const char* command : {"lint no.json", "explain no.json", "simulate no.json", "run no.json"}) {
    expect_line(2, command, "no.json: found No such file or directory, expected a readable JSON file");
  }
}

TEST_F(BadRequest, OutputsThatCannotBeWritten) {
  const std::string start = "plan --batch b.jsonl --topology cpu:1x4 --model tiny -o ";
  expect_line(2, start + "no/such/folder/p.json",
              "no/such/folder/p.json: found No such file or directory, expected a file that can be written");
  expect_line(2, start + ".", ".: found Is a directory, expected a file that can be written");
  work_.expect(0, start + "p.json");
  expect_line(2, "simulate p.json --timeline no/t.json",
              "no/t.json: found No such file or directory, expected a file that can be written");
  expect_line(2, "run p.json --trace no/t.json",
              "no/t.json: found No such file or directory, expected a file that can be written");
  const std::string name(300, 'x');
  expect_line(2, "run p.json --timeline " + name,
              name + ": found File name too long, expected a file that can be written");
  // Standard output is taken by the report or the document, so "-" is no name for it.
  const std::string dash = "-: found standard output, expected a file name, such as ./- or /dev/stdout";
  expect_line(2, start + "-", dash);
  expect_line(2, "simulate p.json --timeline -", dash);
  expect_line(2, "simulate p.json --trace -", dash);
  expect_line(2, "run p.json -o -", dash);
  expect_line(2, "calibrate -o -", dash);
  const Finished through = work_.expect(0, start + "/dev/stdout --quiet");
  EXPECT_EQ(through.out, work_.read("p.json"));
  work_.expect(0, start + "./-");
  EXPECT_EQ(work_.read("-"), work_.read("p.json"));
  // Where nobody can write, root included.
  const Finished nowhere = work_.expect(2, start + "/proc/strata.json");
  EXPECT_EQ(nowhere.err.rfind("strata: /proc/strata.json: found ", 0), 0U) << nowhere.err;
}

TEST_F(BadRequest, AFileLargerThanTheLimitOfTheShell) {
  work_.expect(0, "plan --batch b.jsonl --topology cpu:1x4 --model tiny -o p.json");
  const std::vector<std::string> files = work_.files();
  const Finished finished =
      work_.script("ulimit -f 4\n" STRATA_BINARY " run p.json --repeat 100 --quiet --timeline t.json");
  EXPECT_EQ(finished.code, 2);
  EXPECT_EQ(finished.err, "strata: t.json: found File too large, expected a file that can be written\n");
  EXPECT_EQ(work_.files(), files);
}

TEST_F(BadRequest, OutputsThatWouldReplaceAnInputOrEachOther) {
  const std::string reads = ": found a file that this command reads, expected another file to write";
  const std::string twice = ": found two results in one file, expected a file for each";
  const std::string start = "plan --topology cpu:1x4 --model tiny ";
  expect_line(2, start + "--batch b.jsonl -o b.jsonl", "b.jsonl" + reads);
  expect_line(2, start + "--batch b.jsonl:1 -o ./b.jsonl", "./b.jsonl" + reads);
  std::filesystem::create_symlink("b.jsonl", work_.path("link"));
  expect_line(2, start + "--batch link -o b.jsonl", "b.jsonl" + reads);
  work_.write("model.json", R"({"layers":1,"hidden":8,"ffn":8,"query_heads":1,"kv_heads":1,"head_dim":64,)"
                            R"("element_type":"f32"})");
  expect_line(2, "plan --batch b.jsonl --topology cpu:1x4 --model model.json -o model.json",
              "model.json" + reads);
  expect_line(2, "calibrate --model model.json -o model.json", "model.json" + reads);
  work_.expect(0, start + "--batch b.jsonl -o p.json");
  const std::string before = work_.read("p.json");
  expect_line(2, "run p.json -o p.json", "p.json" + reads);
  expect_line(2, "simulate p.json --trace p.json", "p.json" + reads);
  expect_line(2, "run p.json --timeline t.json --trace t.json", "t.json" + twice);
  expect_line(2, "simulate p.json --timeline o.json --trace ./o.json", "./o.json" + twice);
  work_.expect(0, "simulate p.json --timeline /dev/null --trace /dev/null");
  EXPECT_EQ(work_.read("p.json"), before);
  EXPECT_EQ(work_.read("b.jsonl"), "{\"step\": 0, \"packs\": [[40, 24], [33]]}\n");
}

TEST_F(BadRequest, APlanWhoseInputsWereEditedFailsLintAndIsNotRun) {
  work_.expect(0, "plan --batch b.jsonl --topology cpu:1x4:2 --model tiny --strategy ring -o good.json");
  struct Edit {
    const char *from, *to, *line;
  };
  const std::vector<Edit> edits = {
      {"\"packs\":[[40,24],[33]]", "\"packs\":[[40,24],[34]]", "inputs.batch: digest: "},
      {"\"cores\":2", "\"cores\":4", "inputs.topology: digest: "},
      {"\"ffn\":1024", "\"ffn\":2048", "inputs.model: digest: "},
      {"\"state_shards\":0", "\"state_shards\":3", "inputs.request: digest: "},
      {"\"threads\":", "\"threads\":1", "inputs.profile: digest: "},
  };
  for (const Edit& edit : edits) {
    work_.write("bad.json", work_.read("good.json"));
    work_.edit("bad.json", edit.from, edit.to);
    const Finished lint = work_.expect(1, "lint bad.json");
    EXPECT_NE(lint.out.find(std::string("bad.json: ") + edit.line), std::string::npos) << lint.out;
    for (const char* command : {"simulate bad.json", "explain bad.json"}) {
      EXPECT_EQ(work_.expect(1, command).out, lint.out) << "one verdict on one file";
    }
    const Finished refused = work_.expect(2, "run bad.json --timeline m.json");
    EXPECT_EQ(refused.err.rfind("strata: bad.json: ", 0), 0U) << refused.err;
    EXPECT_NE(refused.err.find("expected a plan that strata lint accepts\n"), std::string::npos)
        << refused.err;
    EXPECT_EQ(refused.out, "");
  }
  EXPECT_FALSE(work_.has("m.json"));
}

TEST_F(BadRequest, AProgramDigestOfAnotherLoweringFailsLintAndIsNotRun) {
  work_.expect(0, "plan --batch b.jsonl --topology cpu:1x2 --model tiny --strategy ring -o p.json");
  std::string text = work_.read("p.json");
  const auto digest = text.find("\"program_digests\": [\n    [\"") + 27;
  ASSERT_LT(digest, text.size());
  text[digest] = text[digest] == '0' ? '1' : '0';
  work_.write("p.json", text);
  const Finished lint = work_.expect(1, "lint p.json");
  EXPECT_NE(lint.out.find("program_digests[0][0]"), std::string::npos) << lint.out;
  const Finished refused = work_.expect(2, "run p.json");
  EXPECT_EQ(refused.err.rfind("strata: p.json: program_digests[0][0]: found " + text.substr(digest, 32), 0),
            0U)
      << refused.err;
}

TEST_F(BadRequest, AnArenaThatIsNotThatOfTheProgramsIsNotRun) {
  work_.expect(0, "plan --batch b.jsonl --topology cpu:1x2 --model tiny --strategy ring -o p.json");
  std::string text = work_.read("p.json");
  const auto arena = text.find("\"arena_bytes\": ") + 15;
  ASSERT_LT(arena, text.size());
  text.insert(arena, "1");
  work_.write("p.json", text);
  const Finished refused = work_.expect(2, "run p.json");
  EXPECT_EQ(refused.err.rfind("strata: p.json: predicted.arena_bytes: found 1", 0), 0U) << refused.err;
}

TEST_F(BadRequest, ATimelineOfAnotherPlan) {
  work_.expect(0, "plan --batch b.jsonl --topology cpu:1x2 --model tiny --strategy ring -o one.json");
  work_.expect(0, "plan --batch b.jsonl --topology cpu:1x2 --model tiny --strategy ulysses -o two.json");
  work_.expect(0, "simulate one.json --attention-only --timeline t.json");
  const Finished finished = work_.expect(2, "validate two.json t.json");
  EXPECT_EQ(finished.err.rfind("strata: t.json: found a run of plan ", 0), 0U) << finished.err;
  EXPECT_NE(finished.err.find(", expected plan "), std::string::npos) << finished.err;
  EXPECT_EQ(finished.out, "");
}

}  // namespace
}  // namespace strata::test
