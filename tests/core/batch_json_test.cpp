// SPDX-License-Identifier: Apache-2.0
// Batches as JSON lines: the three forms, line references, and every kind of bad line by its whole message.
#include "core/batch_json.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/core/bad_input.hpp"

namespace strata {
namespace {

using test::input_error;

std::vector<Batch> batches(const std::string& text, std::int64_t max = -1, std::int64_t packs = 1) {
  std::istringstream in(text);
  return read_batches(in, "b.jsonl", max, packs);
}

std::string error_of(const std::string& text, std::int64_t packs = 1) {
  return input_error([&] { batches(text, -1, packs); });
}

TEST(BatchJson, ReadsPacksDocumentsAndRecordedRows) {
  const auto read = batches(
      "{\"step\": 4, \"packs\": [[5, 6], [7]]}\n"
      "\n"
      "{\"documents\": [8, 9]}\r\n"
      "{\"batch\":2,\"sample\":74,\"seqlens\":[1,2],\"doc_ids\":[3,4],\"first_doc_is_partial\":true,"
      "\"last_doc_is_partial\":false,\"padded_seqlens\":[2,2],\"dp_rank\":0,\"measured_ms\":1.5}");
  ASSERT_EQ(read.size(), 3U);
  EXPECT_EQ(read[0], (Batch{4, true, {{5, 6}, {7}}}));
  EXPECT_EQ(read[1], (Batch{0, false, {{8, 9}}}));
  EXPECT_EQ(read[2], (Batch{2, true, {{1, 2}}}));
  EXPECT_EQ(read[0].document_lengths(), (std::vector<std::int64_t>{5, 6, 7}));
  EXPECT_EQ(read[0].token_count(), 18);
}

TEST(BatchJson, WritesWhatItReads) {
  for (const Batch& batch : {Batch{7, true, {{1}, {2147483647, 3}}}, Batch{0, false, {{5, 4, 3}}}}) {
    EXPECT_EQ(batches(to_json(batch)), std::vector<Batch>{batch});
    EXPECT_EQ(to_json(batches(to_json(batch))[0]), to_json(batch));
  }
  EXPECT_EQ(to_json(Batch{7, true, {{1}, {2, 3}}}), R"({"step":7,"packs":[[1],[2,3]]})");
}

TEST(BatchJson, JoinsRecordedRowsIntoSteps) {
  const std::string rows =
      "{\"batch\":0,\"seqlens\":[1]}\n{\"batch\":1,\"seqlens\":[2]}\n{\"batch\":2,\"seqlens\":[3]}";
  EXPECT_EQ(batches(rows, -1, 2), (std::vector<Batch>{{0, true, {{1}, {2}}}, {2, true, {{3}}}}));
  EXPECT_EQ(batches(rows, 1, 3), (std::vector<Batch>{{0, true, {{1}, {2}, {3}}}}));
  EXPECT_EQ(
      error_of("{\"step\":0,\"documents\":[1]}", 2),
      "b.jsonl: line 1: found a whole step, expected recorded rows with 'seqlens', 2 of which form a step");
}

TEST(BatchJson, FindsALineOfAFile) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("strata_batch_{}.jsonl", ::getpid());
  std::ofstream(path) << "{\"documents\":[1]}\nnot read\n{\"documents\":[3]}\n";
  EXPECT_EQ(read_batch(path, 3), (Batch{0, false, {{3}}}));
  EXPECT_EQ(input_error([&] { read_batch(path, 4); }), path.string() + ": found 3 lines, expected a line 4");
  EXPECT_EQ(input_error([&] { read_batch(path, 9); }), path.string() + ": found 3 lines, expected a line 9");
  EXPECT_EQ(input_error([&] { read_batch(path, 0); }),
            path.string() + ": found line 0, expected a line number of at least 1");
  std::filesystem::remove(path);
  EXPECT_EQ(input_error([&] { read_batch(path, 1); }),
            path.string() + ": found No such file or directory, expected a readable JSON lines file");
}

TEST(BatchJson, TellsALineReferenceFromAPath) {
  EXPECT_EQ(parse_batch_reference("a/b.jsonl:17"), (BatchReference{"a/b.jsonl", 17}));
  EXPECT_EQ(parse_batch_reference("a/b.jsonl"), (BatchReference{"a/b.jsonl", 0}));
  EXPECT_EQ(parse_batch_reference("a:b"), (BatchReference{"a:b", 0}));
  EXPECT_EQ(parse_batch_reference("a:1:2"), (BatchReference{"a:1", 2}));
  EXPECT_EQ(parse_batch_reference("a:"), (BatchReference{"a:", 0}));
  EXPECT_EQ(input_error([] { parse_batch_reference("a:0"); }),
            "a:0: found line 0, expected a line number of at least 1");
}

TEST(BatchJson, NamesWhatIsWrongWithALine) {
  EXPECT_EQ(error_of("{\"documents\":[1]}\n{\"documents\":[1, 0]}"),
            "b.jsonl: line 2: documents[1]: found 0, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("{\"packs\":[[1],[]]}"),
            "b.jsonl: line 1: packs[1]: found an empty list, expected at least one document");
  EXPECT_EQ(error_of("{\"packs\":[]}"),
            "b.jsonl: line 1: packs: found an empty list, expected at least one pack");
  EXPECT_EQ(error_of("{\"packs\":[[2.5]]}"),
            "b.jsonl: line 1: packs[0][0]: found 2.5, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("{\"documents\":[2147483648]}"),
            "b.jsonl: line 1: documents[0]: found 2147483648, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("{\"step\":-1,\"documents\":[1]}"),
            "b.jsonl: line 1: step: found -1, expected an integer of at least 0");
  EXPECT_EQ(error_of("{\"step\":1,\"document\":[1]}"),
            "b.jsonl: line 1: document: found an unknown field, expected 'documents'");
  EXPECT_EQ(error_of("{\"step\":1}"),
            "b.jsonl: line 1: found no documents, expected a field 'packs', 'documents' or 'seqlens'");
  EXPECT_EQ(error_of("{\"packs\":[[1]],\"documents\":[1]}"),
            "b.jsonl: line 1: found both 'packs' and 'documents', expected one of them");
  EXPECT_EQ(
      error_of("{\"batch\":0,\"seqlens\":[1],\"colour\":1}"),
      "b.jsonl: line 1: colour: found an unknown field, expected one of batch, seqlens, sample, doc_ids, "
      "padded_seqlens, first_doc_is_partial, last_doc_is_partial, dp_rank, measured_ms");
  EXPECT_EQ(error_of("{\"documents\":[1]"),
            "b.jsonl: line 1, column 17: found syntax error while parsing object - unexpected end of input, "
            "expected '}'");
  EXPECT_EQ(error_of("\n\n"), "b.jsonl: found no batches, expected at least one line");
}

TEST(Batch, IsCheckedWhereverItComesFrom) {
  EXPECT_EQ(input_error([] { validate(Batch{}, "here"); }),
            "here: found no documents, expected at least one");
  EXPECT_EQ(input_error([] {
              validate(Batch{0, true, {{1}, {}}}, "here");
            }),
            "here: found pack 1 without documents, expected at least one document in every pack");
  EXPECT_EQ(input_error([] {
              validate(Batch{0, false, {{1}, {2}}}, "here");
            }),
            "here: found 2 packs of free documents, expected one list of documents");
  EXPECT_EQ(input_error([] {
              validate(Batch{0, true, {{1}, {3, -4}}}, "here");
            }),
            "here: found -4 tokens in document 2, expected 1 to 2147483647 tokens");
}

}  // namespace
}  // namespace strata
