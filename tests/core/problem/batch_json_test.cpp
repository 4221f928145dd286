// SPDX-License-Identifier: Apache-2.0
// A step as plans hold it: both forms, line references, and every kind of fault by its whole message.
#include "core/problem/batch_json.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/json/json_document.hpp"
#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

using test::input_error;

Batch batch(const std::string& text) { return read_batch(JsonDocument::parse_text(text, "b.json").root()); }

std::string error_of(const std::string& text) {
  return input_error([&] { batch(text); });
}

TEST(BatchJson, ReadsPacksAndDocuments) {
  EXPECT_EQ(batch("{\"step\": 4, \"packs\": [[5, 6], [7]]}"), (Batch{4, true, {{5, 6}, {7}}}));
  EXPECT_EQ(batch("{\"documents\": [8, 9]}"), (Batch{0, false, {{8, 9}}}));
  const Batch read = batch("{\"step\": 4, \"packs\": [[5, 6], [7]]}");
  EXPECT_EQ(read.document_lengths(), (std::vector<std::int64_t>{5, 6, 7}));
  EXPECT_EQ(read.token_count(), 18);
}

TEST(BatchJson, WritesWhatItReads) {
  for (const Batch& written : {Batch{7, true, {{1}, {2147483647, 3}}}, Batch{0, false, {{5, 4, 3}}}}) {
    EXPECT_EQ(batch(to_json(written)), written);
    EXPECT_EQ(to_json(batch(to_json(written))), to_json(written));
  }
  EXPECT_EQ(to_json(Batch{7, true, {{1}, {2, 3}}}), R"({"step":7,"packs":[[1],[2,3]]})");
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

TEST(BatchJson, NamesWhatIsWrong) {
  EXPECT_EQ(error_of("{\"documents\":[1, 0]}"),
            "b.json: documents[1]: found 0, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("{\"packs\":[[1],[]]}"),
            "b.json: packs[1]: found an empty list, expected at least one document");
  EXPECT_EQ(error_of("{\"packs\":[]}"), "b.json: packs: found an empty list, expected at least one pack");
  EXPECT_EQ(error_of("{\"packs\":[[2.5]]}"),
            "b.json: packs[0][0]: found 2.5, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("{\"documents\":[2147483648]}"),
            "b.json: documents[0]: found 2147483648, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("{\"step\":-1,\"documents\":[1]}"),
            "b.json: step: found -1, expected an integer of at least 0");
  EXPECT_EQ(error_of("{\"step\":1,\"document\":[1]}"),
            "b.json: document: found an unknown field, expected 'documents'");
  EXPECT_EQ(error_of("{\"step\":1}"), "b.json: found no documents, expected a field 'packs' or 'documents'");
  EXPECT_EQ(error_of("{\"packs\":[[1]],\"documents\":[1]}"),
            "b.json: found both 'packs' and 'documents', expected one of them");
  EXPECT_EQ(error_of("{\"documents\":[1],\"seqlens\":[1]}"),
            "b.json: seqlens: found an unknown field, expected one of step, packs, documents");
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
