// SPDX-License-Identifier: Apache-2.0
// The JSON reader accepts exactly JSON, within its limits, and says where it stopped. Each kind of bad text
// is tested on its whole message.
#include "core/json/json_document.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/core/json/bad_input.hpp"

namespace strata {
namespace {

using test::input_error;

std::string error_of(const std::string& text, const JsonLimits& limits = {}) {
  return input_error([&] { JsonDocument::parse_text(text, "f.json", limits); });
}

std::string canonical(const std::string& text) {
  return JsonDocument::parse_text(text, "f.json").root().canonical_text();
}

TEST(JsonDocument, KeepsEveryKindOfValue) {
  const JsonDocument document = JsonDocument::parse_text(
      R"({"a": [1, -2, 3.5, "x", true, null], "b": {"c": 18446744073709551615}})", "f");
  EXPECT_EQ(document.root().canonical_text(),
            R"({"a":[1,-2,3.5,"x",true,null],"b":{"c":18446744073709551615}})");
}

TEST(JsonDocument, CanonicalTextSortsKeysAndIsAFixedPoint) {
  for (const char* text : {R"({"b":1.0,"a":{"z":-0.0,"y":1e22}})", R"([1e-300,0.1,123456789012345.6])",
                           R"({"":"\u0001\"\\\u00e9"})", R"("plain")", "[]", "{}", "-0", "1e15", "1E16"}) {
    EXPECT_EQ(canonical(canonical(text)), canonical(text)) << text;
  }
  EXPECT_EQ(canonical(R"({"b":1.0,"a":{"z":-0.0,"y":1e22}})"), R"({"a":{"y":1e+22,"z":-0.0},"b":1})");
}

TEST(JsonDocument, NamesLineAndColumnOfASyntaxError) {
  EXPECT_EQ(error_of("{\"a\": 1,\n \"b\": }"),
            "f.json: line 2, column 7: found syntax error while parsing value - unexpected '}', expected "
            "'[', '{', or a literal");
  EXPECT_EQ(error_of("{\"a\": NaN}"),
            "f.json: line 1, column 7: found syntax error while parsing value - invalid literal; last read: "
            "'\"a\": N', expected JSON");
  EXPECT_EQ(
      error_of("{\"a\": [1, 2"),
      "f.json: line 1, column 12: found syntax error while parsing array - unexpected end of input, expected "
      "']'");
  EXPECT_EQ(
      error_of(""),
      "f.json: line 1, column 1: found syntax error while parsing value - unexpected end of input, expected "
      "'[', '{', or a literal");
  EXPECT_EQ(
      error_of("{} {}"),
      "f.json: line 1, column 4: found syntax error while parsing value - unexpected '{', expected end of "
      "input");
}

TEST(JsonDocument, CountsLinesOfAJsonLinesFile) {
  EXPECT_EQ(
      input_error([] { JsonDocument::parse_text("{\"a\" 1}", "f.jsonl", {}, 17); }),
      "f.jsonl: line 17, column 6: found syntax error while parsing object separator - unexpected number "
      "literal, expected ':'");
  EXPECT_EQ(input_error([] { JsonDocument::parse_text("{\"a\":1}", "f.jsonl", {}, 17).root().items(); }),
            "f.jsonl: line 17: found an object, expected a list");
}

TEST(JsonDocument, RejectsEveryLiteralThatIsNoFiniteNumber) {
  for (const char* text : {"NaN", "-Infinity", "Infinity", "nan", "+1", "01", ".5", "1.", "0x10", "1e999"}) {
    EXPECT_NE(error_of(text).find("f.json: "), std::string::npos) << text;
  }
  EXPECT_EQ(error_of("{\"a\": [0, 1e999]}"),
            "f.json: a[1]: found number overflow parsing '1e999', expected a finite number");
}

TEST(JsonDocument, RejectsAFieldThatStandsTwice) {
  EXPECT_EQ(error_of(R"({"a": 1, "b": 2, "a": 3})"),
            "f.json: a: found field 'a' twice, expected every field once");
  EXPECT_EQ(error_of(R"({"w": [{"x": 1}, {"x": {"y": 1, "z": {"y": 2}, "y": 3}}]})"),
            "f.json: w[1].x.y: found field 'y' twice, expected every field once");
  EXPECT_EQ(canonical(R"({"a":{"a":{"a":1},"b":{"a":2}},"b":[{"a":3},{"a":4}]})"),
            R"({"a":{"a":{"a":1},"b":{"a":2}},"b":[{"a":3},{"a":4}]})");
}

TEST(JsonDocument, RejectsIntegersBeyondSixtyFourBits) {
  EXPECT_EQ(error_of(R"({"a": [1, 123456789012345678901234567890]})"),
            "f.json: a[1]: found 123456789012345678901234567890, expected an integer of at most 64 bits");
  const JsonDocument document = JsonDocument::parse_text(R"({"a": 18446744073709551615})", "f.json");
  const JsonValue value = *document.root().members().begin();
  EXPECT_EQ(input_error([&] { value.integer(0, std::numeric_limits<std::int64_t>::max()); }),
            "f.json: a: found 18446744073709551615, expected an integer of at least 0");
  EXPECT_EQ(value.unsigned_integer(), 18446744073709551615ULL);
}

TEST(JsonDocument, RejectsWhatIsTooLargeTooDeepOrTooLong) {
  EXPECT_EQ(error_of("[1,2,3,4]", {.max_bytes = 8}),
            "f.json: found more than 8 bytes, expected a smaller file");
  EXPECT_EQ(error_of(std::string(65, '[')),
            "f.json: found more than 64 levels of nesting, expected at most 64");
  EXPECT_EQ(error_of(std::string(5'000'000, '[')),
            "f.json: found more than 64 levels of nesting, expected at most 64");
  EXPECT_EQ(canonical(std::string(64, '[') + std::string(64, ']')),
            std::string(64, '[') + std::string(64, ']'));
  EXPECT_EQ(error_of(R"({"a": "12345"})", {.max_string_bytes = 4}),
            "f.json: a: found a string of 5 bytes, expected at most 4");
}

TEST(JsonDocument, RejectsBytesThatAreNoUtf8) {
  EXPECT_EQ(
      error_of("\"\xff\""),
      "f.json: line 1, column 2: found syntax error while parsing value - invalid string: ill-formed UTF-8 "
      "byte; last read: '\"?', expected JSON");
}

TEST(JsonDocument, RejectsANulByteWhereverItStands) {
  const std::string nul(1, '\0');
  EXPECT_EQ(error_of("{}" + nul + " garbage"), "f.json: line 1, column 3: found a NUL byte, expected JSON");
  EXPECT_EQ(error_of("{}\n\n " + nul), "f.json: line 3, column 2: found a NUL byte, expected JSON");
  EXPECT_EQ(error_of(nul + "{}"), "f.json: line 1, column 1: found a NUL byte, expected JSON");
  EXPECT_EQ(error_of("[\"a" + nul + "\"]"), "f.json: line 1, column 4: found a NUL byte, expected JSON");
  EXPECT_EQ(error_of("[1, 2" + nul + "]"), "f.json: line 1, column 6: found a NUL byte, expected JSON");
  EXPECT_EQ(input_error([&] { JsonDocument::parse_text("{}" + nul, "f.jsonl", {}, 17); }),
            "f.jsonl: line 17, column 3: found a NUL byte, expected JSON");
  EXPECT_EQ(error_of("{} {" + nul).find("f.json: line 1, column 4: found syntax error"), 0u)
      << "the first error counts";
}

TEST(JsonDocument, CountsLinesAndColumnsOverBlocksOfALargeText) {
  for (const std::size_t size : {65535U, 65536U, 65537U, 131072U, 200'000U}) {
    const std::string blanks(size, ' ');
    const std::string at_end = "f.json: line 2, column " + std::to_string(size + 1) + ":";
    std::string text = "{}\n" + blanks;
    text.push_back('\0');
    EXPECT_EQ(error_of(text), at_end + " found a NUL byte, expected JSON");
    text.insert(2, blanks);
    EXPECT_EQ(error_of(text), at_end + " found a NUL byte, expected JSON");
    text.replace(2, text.size() - 2, blanks).append("\n\n").push_back('\0');
    EXPECT_EQ(error_of(text), "f.json: line 3, column 1: found a NUL byte, expected JSON");
    EXPECT_EQ(error_of("{}\n" + blanks + "}").find(at_end), 0u);
    EXPECT_EQ(canonical("{" + blanks + "}"), "{}");
  }
}

TEST(JsonDocument, NamesAFileThatCannotBeRead) {
  EXPECT_EQ(input_error([] { JsonDocument::read_file("no/such/file.json"); }),
            "no/such/file.json: found No such file or directory, expected a readable JSON file");
  EXPECT_EQ(input_error([] { JsonDocument::read_file("tests"); }),
            "tests: found a directory, expected a JSON file");
}

TEST(JsonValue, KnowsItsPath) {
  const JsonDocument document =
      JsonDocument::parse_text(R"({"w":[{"a":0},{"steps":[[],[7,8,[9]]]}],"z":1})", "p");
  JsonValue value = *document.root().members().begin();
  value = *++value.items().first;
  value = *value.members().begin();
  value = *++value.items().first;
  EXPECT_EQ(value.path(), "p: w[1].steps[1]");
  JsonValue::Iterator at = value.items().first;
  ++at;
  ++at;
  EXPECT_EQ((*(*at).items().begin()).path(), "p: w[1].steps[1][2][0]");
  EXPECT_EQ((*++document.root().members().first).path(), "p: z");
  EXPECT_EQ(document.root().path(), "p");
}

TEST(JsonValue, SaysWhatItFoundInsteadOfWhatWasWanted) {
  const JsonDocument document = JsonDocument::parse_text(R"([3.9, 3.0, -1, "x", null, {}, [], true])", "f");
  std::vector<std::string> said;
  for (const JsonValue item : document.root().items()) {
    said.push_back(input_error([&] { item.integer(0, 9); }));
  }
  EXPECT_EQ(said, (std::vector<std::string>{"f: [0]: found 3.9, expected an integer from 0 to 9",
                                            "f: [1]: found 3.0, expected an integer from 0 to 9",
                                            "f: [2]: found -1, expected an integer from 0 to 9",
                                            "f: [3]: found \"x\", expected an integer from 0 to 9",
                                            "f: [4]: found null, expected an integer from 0 to 9",
                                            "f: [5]: found an object, expected an integer from 0 to 9",
                                            "f: [6]: found a list, expected an integer from 0 to 9",
                                            "f: [7]: found true, expected an integer from 0 to 9"}));
}

}  // namespace
}  // namespace strata
