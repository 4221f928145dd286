// SPDX-License-Identifier: Apache-2.0
// Bad length files: each kind of fault, with the whole message that the user reads. A reader that guessed
// instead would plan for documents that do not exist.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "tests/core/json/bad_input.hpp"
#include "tests/traces/lengths/made_files.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {
namespace {

const std::string kAnyColumn =
    "one of length, seq_len, seqlen, num_tokens, n_tokens, token_count, total_lengths, seq_lengths, "
    "input_length + "
    "output_length, ContextTokens + GeneratedTokens, num_prefill_tokens + num_decode_tokens";

std::string error_of(const std::string& text) {
  std::istringstream in(text);
  return test::input_error([&] { read_length_source(in, "data"); });
}

std::string length_error(int line, const std::string& found) {
  return "data:" + std::to_string(line) + ": found \"" + found +
         "\", expected a length, an integer from 1 to 2147483647";
}

TEST(BadLengths, NothingIsNotALength) {
  EXPECT_EQ(error_of(""), "data: found an empty file, expected lengths");
  EXPECT_EQ(error_of("\n \n# only a comment\n"), "data: found no lengths, expected at least one");
  EXPECT_EQ(error_of("length\n"), "data: found no lengths, expected at least one");
  EXPECT_EQ(error_of("[]"), "data: found no lengths, expected at least one");
  EXPECT_EQ(error_of(test::made_npy(std::vector<std::int64_t>{})),
            "data: found no lengths, expected at least one");
}

TEST(BadLengths, NumbersInTextAreWholePositiveAndSmallEnough) {
  EXPECT_EQ(error_of("5\n-3\n"), length_error(2, "-3"));
  EXPECT_EQ(error_of("-3\n"), length_error(1, "-3"));
  EXPECT_EQ(error_of("5\n\n0\n"), length_error(3, "0"));
  EXPECT_EQ(error_of("5\n3.5\n"), length_error(2, "3.5"));
  EXPECT_EQ(error_of("5\n+3\n"), length_error(2, "+3"));
  EXPECT_EQ(error_of("5\n1e3\n"), length_error(2, "1e3"));
  EXPECT_EQ(error_of("5\nnan\n"), length_error(2, "nan"));
  EXPECT_EQ(error_of("5\nNaN\n"), length_error(2, "NaN"));
  EXPECT_EQ(error_of("5\n2147483648\n"), length_error(2, "2147483648"));
  EXPECT_EQ(error_of("5\n99999999999999999999\n"), length_error(2, "99999999999999999999"));
  EXPECT_EQ(error_of("5\n6 7\n"), length_error(2, "6 7"));
  EXPECT_EQ(error_of("5\n6,7\n"), length_error(2, "6,7"));
  EXPECT_EQ(error_of("5\nhello\n"), length_error(2, "hello"));
}

TEST(BadLengths, AWordInTheFirstLineIsAHeaderThatIsNotKnown) {
  for (const std::string word : {"rows", "hello", "NaN"}) {
    EXPECT_EQ(error_of(word + "\n5\n"),
              "data:1: found \"" + word + "\", expected an integer, or a header with " + kAnyColumn);
  }
  EXPECT_EQ(error_of("tokens\n5\n"), "data:1: found \"tokens\", expected an integer, or a header with " +
                                         kAnyColumn + "; did you mean 'n_tokens'?");
  EXPECT_EQ(error_of("legnth\n5\n"), "data:1: found \"legnth\", expected an integer, or a header with " +
                                         kAnyColumn + "; did you mean 'length'?");
  EXPECT_EQ(error_of("id,legnth\n1,5\n"),
            "data:1: found the columns \"id\", \"legnth\", expected a header with " + kAnyColumn +
                "; did you mean 'length'?");
}

TEST(BadLengths, BinaryGarbageIsCalledThat) {
  EXPECT_EQ(error_of(std::string("\1\2\0\0", 4)),
            "data:1: found a zero byte, expected text (is this a binary file?)");
  EXPECT_EQ(error_of("12\n\xfe\xff"
                     "abc\n"),
            length_error(2, "\\xfe\\xffabc"));
  const std::string any = ", expected lengths as text, CSV, JSON, JSON lines, .npy or .idx ";
  EXPECT_EQ(error_of("\x1f\x8b\x08rest"), "data: found a gzip archive" + any + "(unpack it first)");
  EXPECT_EQ(error_of("PAR1rest"),
            "data: found a Parquet file" + any + "(export its length column as text, CSV or .npy)");
  EXPECT_EQ(error_of("PK\x03\x04rest"), "data: found a zip archive" + any + "(unpack it first)");
  EXPECT_EQ(error_of("\x80\x02"
                     "}q"),
            "data: found a Python pickle" + any +
                "(export the lengths as text, CSV or .npy with the program that wrote it)");
  EXPECT_EQ(error_of("\x7f"
                     "ELF"),
            "data: found a program" + any + "(give a text file)");
  EXPECT_EQ(error_of("2026-01-31 12:00:00 step 1\n"),
            "data: found a log" + any + "(take its numbers out first)");
  EXPECT_EQ(error_of("lengths: [1, 2]\n"), "data: found YAML" + any + "(write it as JSON)");
  EXPECT_EQ(error_of("[run]\nlengths = 5\n"), "data: found TOML or INI" + any + "(write it as JSON)");
}

TEST(BadLengths, AnOversizedLineIsRefused) {
  EXPECT_EQ(error_of("5\n" + std::string(2'000'000, '7')),
            "data:2: found a line of more than 1048576 bytes, expected a shorter line");
}

TEST(BadLengths, ACsvNeedsAKnownColumn) {
  EXPECT_EQ(error_of("id,size\n1,2\n"),
            "data:1: found the columns \"id\", \"size\", expected a header with " + kAnyColumn);
  EXPECT_EQ(error_of("a,b,c,d,e,f,g,h\n"),
            "data:1: found the columns \"a\", \"b\", \"c\", \"d\", \"e\", \"f\" and 2 more, "
            "expected a header with " +
                kAnyColumn);
  EXPECT_EQ(error_of("3,4\n5,6\n"),
            "data:1: found the columns \"3\", \"4\", expected a header with " + kAnyColumn)
      << "without a header several columns could mean anything";
  EXPECT_EQ(error_of("input_length,id\n5,6\n"),
            "data:1: found the columns \"input_length\", \"id\", expected a header with " + kAnyColumn);
  EXPECT_EQ(error_of("length,length\n5,6\n"), "data:1: found the column \"length\" twice, expected it once");
}

TEST(BadLengths, RowsOfACsvAreAsTheHeaderSays) {
  EXPECT_EQ(error_of("id,length\na,5\nb\n"), "data:3: found 1 column, expected 2, as in the header");
  EXPECT_EQ(error_of("id,length\na,5\nb,6,7\n"), "data:3: found 3 columns, expected 2, as in the header");
  EXPECT_EQ(error_of("id,length\na,\n"),
            "data:2: found \"\", expected length, an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("id,length\na,0\n"),
            "data:2: found \"0\", expected length, an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("id,length\na,5.0\n"),
            "data:2: found \"5.0\", expected length, an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("input_length,output_length\n4,-1\n"),
            "data:2: found \"-1\", expected output_length, an integer from 0 to 2147483647");
  EXPECT_EQ(error_of("input_length,output_length\n0,0\n"),
            "data:2: found input_length + output_length = 0, expected a sum from 1 to 2147483647");
  EXPECT_EQ(error_of("input_length,output_length\n2147483647,1\n"),
            "data:2: found input_length + output_length = 2147483648, expected a sum from 1 to 2147483647");
  EXPECT_EQ(error_of("text,length\n\"a,5\n"),
            "data:2: found a quoted field left open, expected a closing quote");
  EXPECT_EQ(error_of("text,length\n\"a\"b,5\n"), "data:2: found \"b,5\" after a quoted field, expected ','");
}

TEST(BadLengths, JsonListsHoldOnlyLengths) {
  EXPECT_EQ(error_of("[5, -3]"), "data: [1]: found -3, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("[5, 0]"), "data: [1]: found 0, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("[5, 3.5]"), "data: [1]: found 3.5, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("[5, 2147483648]"),
            "data: [1]: found 2147483648, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("[5, \"6\"]"), "data: [1]: found \"6\", expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("[[5, 6]]"), "data: [0]: found a list, expected an integer from 1 to 2147483647");
  EXPECT_NE(error_of("[5, 6").find("data: line 1"), std::string::npos);
  EXPECT_NE(error_of("[5, NaN]").find("data: line 1"), std::string::npos);
  EXPECT_NE(error_of("[5] [6]").find("data: line 1"), std::string::npos);
  EXPECT_NE(error_of(std::string(100'000, '[')).find("data: "), std::string::npos);
}

TEST(BadLengths, JsonLinesAreAllLikeTheFirst) {
  EXPECT_EQ(error_of("{\"id\": 5}"), "data: line 1: found the keys \"id\", expected " + kAnyColumn +
                                         ", input_ids, or borders such as cu_seqlens");
  EXPECT_EQ(error_of("{}"), "data: line 1: found an object without keys, expected " + kAnyColumn +
                                ", input_ids, or borders such as cu_seqlens");
  EXPECT_EQ(error_of("{\"id\": 5, \"legnth\": 7}"),
            "data: line 1: found the keys \"id\", \"legnth\", expected " + kAnyColumn +
                ", input_ids, or borders such as cu_seqlens; did you mean 'length'?");
  EXPECT_EQ(error_of("{\"length\": 5}\n{\"len\": 5}\n"),
            "data: line 2: found no \"length\", expected it in every row, as in the first");
  EXPECT_EQ(error_of("{\"length\": 5}\n{\"length\": -1}\n"),
            "data: line 2: length: found -1, expected an integer from 1 to 2147483647");
  EXPECT_EQ(error_of("{\"length\": [5]}"), "data: line 1: length: found a list, expected an integer");
  EXPECT_EQ(error_of("{\"input_ids\": []}"),
            "data: line 1: input_ids: found an empty list, expected a list of at least one token");
  EXPECT_EQ(error_of("{\"seq_lengths\": []}"), "data: found no lengths, expected at least one");
  EXPECT_EQ(error_of("{\"input_length\": 0, \"output_length\": 0}"),
            "data: line 1: found 0 tokens, expected 1 to 2147483647");
  EXPECT_NE(error_of("{\"length\": 5}\n{\"length\": 5\n").find("data: line 2"), std::string::npos)
      << "a truncated line";
  EXPECT_NE(error_of("{\"length\": 5, \"length\": 6}").find("data: line 1"), std::string::npos)
      << "a duplicated key";
  EXPECT_NE(error_of("{\"seqlens\": [5, -2, 3]}").find("seqlens[1]"), std::string::npos);
}

TEST(BadLengths, ItemsOfAnArrayAreLengths) {
  EXPECT_EQ(error_of(test::made_npy({5, 0})),
            "data: item 1: found 0, expected a length, an integer from 1 to 2147483647");
  EXPECT_EQ(error_of(test::made_npy({5, -1})),
            "data: item 1: found -1, expected a length, an integer from 1 to 2147483647");
}

TEST(BadLengths, APathThatIsNoFileIsNamed) {
  EXPECT_EQ(test::input_error([] { read_length_source(std::filesystem::path("no/such/file.txt")); }),
            "no/such/file.txt: found no such file, expected a readable file");
  EXPECT_EQ(test::input_error([] { read_length_source(std::filesystem::path("/")); }),
            "/: found a folder, expected a readable file");
}

}  // namespace
}  // namespace strata
