// SPDX-License-Identifier: Apache-2.0
// The writer's layout, its numbers and its escapes, against text written by hand and read back.
#include "core/json/json_writer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "core/base/check.hpp"
#include "core/json/json_document.hpp"

namespace strata {
namespace {

TEST(JsonWriter, PutsLinesAndCompactPartsWhereTold) {
  std::ostringstream text;
  JsonWriter out(text);
  out.open_object(JsonLayout::lines);
  out.member("a", 1);
  out.key("b");
  out.open_array(JsonLayout::lines);
  out.open_object(JsonLayout::compact);
  out.member("c", "d");
  out.key("e");
  out.open_array(JsonLayout::lines);  // inside a compact object everything is compact
  out.value(true);
  out.null();
  out.close();
  out.close();
  out.value(-0.5);
  out.close();
  out.key("f");
  out.open_array(JsonLayout::lines);
  out.close();
  out.close();
  out.finish();
  EXPECT_EQ(text.str(),
            "{\n  \"a\": 1,\n  \"b\": [\n    {\"c\":\"d\",\"e\":[true,null]},\n    -0.5\n  ],\n"
            "  \"f\": []\n}\n");
}

TEST(JsonWriter, WritesNumbersThatReadBackEqual) {
  for (const double number : {0.1, 1.0 / 3.0, 1e300, 5e-324, 1e15, 123456789.125, -2.0, 370.0}) {
    const std::string text = number_text(number);
    EXPECT_EQ(JsonDocument::parse_text(text, "f").root().number(), number) << text;
  }
  EXPECT_EQ(number_text(370.0), "370");
  EXPECT_TRUE(std::signbit(JsonDocument::parse_text(number_text(-0.0), "f").root().number()));
  EXPECT_THROW(number_text(std::numeric_limits<double>::quiet_NaN()), InternalError);
  EXPECT_THROW(number_text(std::numeric_limits<double>::infinity()), InternalError);
}

TEST(JsonWriter, EscapesWhatJsonCannotHold) {
  std::ostringstream text;
  JsonWriter out(text);
  using namespace std::string_literals;
  const std::string hard = "q\" b\\ n\n z\0 u\xc3\xa9"s;
  out.value(hard);
  out.finish(false);
  EXPECT_EQ(JsonDocument::parse_text(text.str(), "f").root().string(), hard);
}

TEST(JsonWriter, RefusesUnbalancedText) {
  std::ostringstream text;
  JsonWriter out(text);
  out.open_object(JsonLayout::lines);
  EXPECT_THROW(out.value(1), InternalError);
  EXPECT_THROW(out.finish(), InternalError);
}

}  // namespace
}  // namespace strata
