// SPDX-License-Identifier: Apache-2.0
#include "core/base/visible_text.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace strata {
namespace {

TEST(VisibleText, KeepsWritingAndEscapesWhatATerminalObeys) {
  EXPECT_EQ(visible_text(""), "");
  EXPECT_EQ(visible_text("plan.json: ring \\ ~"), "plan.json: ring \\ ~");
  EXPECT_EQ(visible_text("\x1b[31mred"), "\\x1b[31mred");
  EXPECT_EQ(visible_text("a\nb\tc\rd\x7f"), "a\\nb\\tc\\x0dd\\x7f");
  EXPECT_EQ(visible_text("a\nb\x1b", LineEnds::kept), "a\nb\\x1b");
  EXPECT_EQ(visible_text(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(visible_text("Zürich 東京 😀"), "Zürich 東京 😀");
  EXPECT_EQ(visible_text("\xc2\x9b"
                         "31m\xe2\x80\xae"),
            "\\u009b31m\\u202e");
}

TEST(VisibleText, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(visible_text("caf\xe9"), "caf\\xe9");
  EXPECT_EQ(visible_text("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(visible_text("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(visible_text("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // above the last character
  EXPECT_EQ(visible_text("\xe2\x82"), "\\xe2\\x82");                    // cut off
  EXPECT_EQ(visible_text("\xe2\x82\xac"), "€");
}

TEST(VisibleText, AnExcerptEndsBetweenCharacters) {
  EXPECT_EQ(visible_excerpt("größe", 7), "größe");
  EXPECT_EQ(visible_excerpt("größe", 4), "grö...");
  EXPECT_EQ(visible_excerpt("größe", 3), "gr...");
  EXPECT_EQ(visible_excerpt("\xff\xff\n", 2), "\\xff\\xff...");
}

RC_GTEST_PROP(VisibleText, NeverLetsAControlByteThrough, (const std::string& text)) {
  const std::string shown = visible_text(text);
  RC_ASSERT(std::none_of(shown.begin(), shown.end(),
                         [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
  RC_ASSERT(visible_text(shown) == shown);
}

}  // namespace
}  // namespace strata
