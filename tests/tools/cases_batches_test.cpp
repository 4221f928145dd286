// SPDX-License-Identifier: Apache-2.0
// Files of batches that users have and that were once read wrongly: each with what it means, through the
// program as it is called. The files are small copies, written here.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/problem/batch_json.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/tools/workspace.hpp"
#include "tests/traces/lengths/made_files.hpp"

namespace strata::test {
namespace {

const std::string kMachine = " --topology cpu:1x2 --model tiny";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class BatchCases : public testing::Test {
 protected:
  std::string inspect(const std::string& arguments) const {
    return work_.expect(0, "inspect " + arguments).out;
  }
  /// The batch that the plan of a file holds, as the plan writes it.
  std::string planned(const std::string& arguments) const {
    work_.expect(0, "plan --batch " + arguments + kMachine + " --strategy ring -o p.json");
    const JsonDocument plan = parsed(work_.read("p.json"));
    return to_json(read_batch(member(plan, "inputs.batch.content")));
  }
  void refused(const std::string& command, const std::vector<std::string>& parts) const {
    const Finished finished = work_.expect(2, command);
    for (const std::string& part : parts)
      EXPECT_TRUE(contains(finished.err, part)) << part << "\n" << finished.err;
  }
  Workspace work_;
};

TEST_F(BatchCases, StartsOfAPackedRowAreItsBorders) {
  const std::string tokens = "\"input_ids\":[1,2,3,4,5,6,7,8,9,10],",
                    mask = ",\"loss_mask\":[1,1,1,1,1,1,1,1,1,1]}\n";
  work_.write("rows.jsonl", "{" + tokens + "\"seq_start_id\":[0,6]" + mask + "{" + tokens +
                                "\"seq_start_id\":[0,3,5]" + mask);
  const std::string text = inspect("rows.jsonl");
  EXPECT_TRUE(contains(text, "read as 5 documents of 20 tokens in 2 fixed packs, 2 steps")) << text;
  EXPECT_EQ(planned("rows.jsonl"), "{\"step\":0,\"packs\":[[6,4]]}");
  EXPECT_EQ(planned("rows.jsonl:2"), "{\"step\":0,\"packs\":[[3,2,5]]}");
  EXPECT_EQ(planned("rows.jsonl --packs-per-step 2"), "{\"step\":0,\"packs\":[[6,4],[3,2,5]]}");
}

TEST_F(BatchCases, OffsetsAndPositionsAreNotTakenForLengths) {
  work_.write("offsets.json", "[9, 17, 25, 37, 45, 57]\n");
  std::vector<std::int64_t> positions;
  for (const int tokens : {9, 8, 8, 12, 8, 12}) {
    for (int p = 1; p <= tokens; ++p) positions.push_back(p);
  }
  work_.write("positions.npy", made_npy(positions));
  for (const std::string file : {"offsets.json", "positions.npy"}) {
    for (const std::string& command :
         {"inspect " + file, fmt::format("plan --batch {}{} -o p.json", file, kMachine),
          fmt::format("compare --batches {}{}", file, kMachine)}) {
      refused(command, {file, "lengths", file == "offsets.json" ? "offsets" : "positions", "--lengths-are"});
    }
  }
  EXPECT_EQ(planned("offsets.json --lengths-are offsets"), "{\"step\":0,\"packs\":[[9,8,8,12,8,12]]}");
  EXPECT_EQ(planned("positions.npy --lengths-are positions"), "{\"step\":0,\"packs\":[[9,8,8,12,8,12]]}");
  EXPECT_TRUE(contains(inspect("offsets.json --lengths-are lengths"), "6 documents of 190 tokens"));
}

TEST_F(BatchCases, OffsetsWithPaddedTwinsGiveDocumentsAndPadding) {
  work_.write(
      "offsets.json",
      "{\"cu_seqlens_q\": [0, 9, 17, 25, 37, 45, 57], \"cu_seqlens_q_padded\": [0, 12, 20, 28, 40, 48, 60], "
      "\"max_seqlen_q\": 12}\n");
  const std::string text = inspect("offsets.json");
  EXPECT_TRUE(contains(
      text, "read as 6 documents of 57 tokens in 1 fixed pack, 1 step; 3 tokens of padding left out"))
      << text;
  EXPECT_TRUE(contains(text, "note: padding: 3 tokens, all in document 0")) << text;
  EXPECT_TRUE(contains(text, "second half of rank 0 of document 0 is all padding at cp 2")) << text;
  EXPECT_EQ(planned("offsets.json"), "{\"step\":0,\"packs\":[[9,8,8,12,8,12]]}");
}

TEST_F(BatchCases, EmptyMicroBatchesAndSentinelsAreSkippedWithANote) {
  work_.write("step.jsonl", "{\"step\":0,\"packs\":[[120,7],[]]}\n");
  work_.write("sentinels.jsonl", "{\"seq_lengths\":[9,8,8,12,8,12,0,0]}\n");
  EXPECT_EQ(planned("step.jsonl"), "{\"step\":0,\"packs\":[[120,7]]}");
  EXPECT_TRUE(contains(inspect("step.jsonl"), "note: 1 empty pack skipped"));
  EXPECT_EQ(planned("sentinels.jsonl"), "{\"step\":0,\"packs\":[[9,8,8,12,8,12]]}");
  EXPECT_TRUE(contains(inspect("sentinels.jsonl"), "note: 2 documents of 0 tokens skipped"));
  work_.write("nothing.jsonl", "{\"step\":0,\"packs\":[[],[]]}\n");
  refused("inspect nothing.jsonl", {"no lengths"});
}

TEST_F(BatchCases, AFileAndItsLinesHaveOneReader) {
  work_.write("rows.jsonl",
              "{\"input_ids\":[1,2,3,4,5,6,7,8],\"seq_lengths\":[5,3]}\n{\"input_ids\":[1,2,3,4],\"seq_"
              "lengths\":[4]}\n");
  work_.write("lens.txt", "368\n12\n");
  work_.write("lens.csv", "id,length\na,368\nb,12\n");
  work_.write("lens.npy", made_npy({368, 12}));
  work_.write("list.json", "[368, 12]\n");
  EXPECT_EQ(planned("rows.jsonl:1"), planned("rows.jsonl"));
  EXPECT_EQ(planned("rows.jsonl:2"), "{\"step\":0,\"packs\":[[4]]}");
  EXPECT_EQ(planned("lens.txt:1"), planned("lens.txt"));
  EXPECT_EQ(planned("lens.txt:2"), "{\"step\":0,\"documents\":[12]}");
  EXPECT_EQ(planned("lens.csv:3"), "{\"step\":0,\"documents\":[12]}");
  EXPECT_EQ(planned("lens.txt:1 --documents-per-step 1"), "{\"step\":0,\"documents\":[368]}");
  EXPECT_TRUE(contains(inspect("rows.jsonl:2"), "read as 1 document of 4 tokens"));
  work_.expect(0, "compare --strategies ring --batches rows.jsonl:2" + kMachine);
  for (const std::string file : {"lens.npy", "list.json"}) {
    refused(fmt::format("plan --batch {}:1{} -o p.json", file, kMachine),
            {file + ":1", "no lines", "without a line number"});
  }
  refused("inspect rows.jsonl:3", {"found 2 lines, expected a line 3"});
  work_.write("odd:7", "5\n");
  EXPECT_TRUE(contains(inspect("odd:7"), "read as 1 document of 5 tokens")) << "a file may have such a name";
}

TEST_F(BatchCases, DataParallelRowsSayWhatIsNotUsed) {
  std::string rows;
  for (int rank = 0; rank < 4; ++rank) {
    rows +=
        "{\"batch\":0,\"dp_rank\":" + std::to_string(rank) + ",\"seqlens\":[96,96],\"measured_ms\":812.5}\n";
  }
  work_.write("rows.jsonl", rows);
  const std::string plan = "plan --batch rows.jsonl --strategy ring -o p.json" + kMachine;
  for (const std::string& command : {std::string("inspect rows.jsonl"), plan, plan + " --packs-per-step 4",
                                     "compare --strategies ring --batches rows.jsonl" + kMachine}) {
    const std::string text = work_.expect(0, command).out;
    EXPECT_TRUE(contains(text, "8 documents of 768 tokens in 4 fixed packs, 1 step")) << text;
    EXPECT_TRUE(
        contains(text, "dp_rank is not used: the rows of 4 data-parallel ranks run one after another"))
        << text;
    EXPECT_TRUE(contains(text, "measured_ms is not compared with any prediction: 812.5 ms in 4 rows"))
        << text;
  }
  const Finished json = work_.expect(0, "inspect rows.jsonl --json --quiet");
  const JsonDocument document = parsed(json.out);
  EXPECT_EQ(member(document, "read_as.batch.notes").size(), 2U);
  EXPECT_EQ(member(document, "read_as.batch.unused_keys").size(), 2U);
}

TEST_F(BatchCases, LengthsBecomeStepsTheSameWayInEveryCommand) {
  work_.write("lens.txt", "123\n223\n680\n231\n2305\n730\n573\n611\n");
  const std::string options = " --pack-tokens 1024 --cut-documents --packs-per-step 2";
  const std::string read = "read as 13 documents of 5,476 tokens in 6 fixed packs, 3 steps";
  const std::string compared = "compare --strategies ring --batches lens.txt" + kMachine;
  EXPECT_TRUE(contains(inspect("lens.txt" + options), read)) << inspect("lens.txt" + options);
  EXPECT_TRUE(contains(work_.expect(0, compared + options).out, read));
  EXPECT_TRUE(contains(work_.expect(0, compared + options).out, "3 batches on 2 ranks"));
  EXPECT_EQ(planned("lens.txt" + options), "{\"step\":0,\"packs\":[[123,223,678],[2,231,791]]}");
  EXPECT_EQ(planned("lens.txt --tokens-per-step 1300"), "{\"step\":0,\"documents\":[123,223,680,231]}");
  EXPECT_EQ(planned("lens.txt --pack-tokens 1024"), "{\"step\":0,\"packs\":[[123,223]]}");
  const std::string whole = "note: the whole file is one step";
  EXPECT_TRUE(contains(work_.expect(0, compared).out, whole));
  EXPECT_TRUE(contains(inspect("lens.txt"), whole));
  EXPECT_TRUE(contains(inspect("lens.txt --pack-tokens 1024"), "1 document longer than 1,024 tokens"));
  refused("inspect lens.txt --packs-per-step 2", {"--packs-per-step", "--pack-tokens"});
}

TEST_F(BatchCases, ACountBesideALengthIsACount) {
  work_.write("histogram.csv", "length,count\n4,839\n1000,3\n8192,1\n");
  const std::string text = inspect("histogram.csv");
  EXPECT_TRUE(contains(text, "read as 843 documents of 14,548 tokens")) << text;
  EXPECT_TRUE(contains(text, "keys used: length, count")) << text;
}

TEST_F(BatchCases, ForeignFilesAreNamedWhereverTheyAreMet) {
  work_.write("b.jsonl", "{\"documents\":[5]}\n");
  work_.write("topo.txt", "\tGPU0\tGPU1\nGPU0\t X \tNV18\nGPU1\tNV18\t X \n");
  work_.write("model.yaml", "hidden: 64\n");
  work_.write("batch.gz", "\x1f\x8b\x08rest");
  refused("topo topo.txt", {"topo.txt", "a table of nvidia-smi"});
  refused("plan --batch b.jsonl --topology cpu:1x2 --model model.yaml -o p.json",
          {"model.yaml", "YAML", "JSON"});
  refused("inspect batch.gz", {"a gzip archive", "unpack it first"});
  refused("lint batch.gz", {"a gzip archive", "a JSON file"});
}

/// One step of `count` free documents of one to a hundred tokens.
std::string many_documents(int count) {
  std::string text = "{\"step\":0,\"documents\":[";
  for (int i = 0; i < count; ++i) text += fmt::format("{}{}", i == 0 ? "" : ",", 1 + i * 37 % 100);
  return text + "]}\n";
}

/// That their number costs no more than itself is counted by work_growth_test.
TEST_F(BatchCases, ThousandsOfDocumentsUnderUlyssesPlanAndLintClean) {
  work_.write("b.jsonl", many_documents(kSanitized ? 400 : 8000));
  work_.expect(0,
               "plan --batch b.jsonl --topology dgx_h100:1 --model llama3_8b --memory-cap none --strategy "
               "ulysses -o p.json");
  work_.expect(0, "lint p.json");
}

}  // namespace
}  // namespace strata::test
