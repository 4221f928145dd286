// SPDX-License-Identifier: Apache-2.0
#include "core/base/closest_name.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace strata {
namespace {

const std::vector<std::string_view> kNames = {"ulysses",      "ring",      "zigzag_ring",
                                              "per_document", "allgather", "whole_document"};

TEST(ClosestName, TakesBackOneSlipOfTheHand) {
  EXPECT_EQ(closest_name("rings", kNames), "ring");
  EXPECT_EQ(closest_name("rnig", kNames), "ring");
  EXPECT_EQ(closest_name("ulises", kNames), "ulysses");
  EXPECT_EQ(closest_name("all_gather", kNames), "allgather");
  EXPECT_EQ(closest_name("ZigZag-Ring", kNames), "zigzag_ring");
}

TEST(ClosestName, CompletesTheBeginningOfOneNameOnly) {
  EXPECT_EQ(closest_name("per_doc", kNames), "per_document");
  EXPECT_EQ(closest_name("zigzag", kNames), "zigzag_ring");
  EXPECT_EQ(closest_name("llama", {"llama3_8b", "llama3_70b"}), "");
}

TEST(ClosestName, OffersNothingWhereNothingIsNear) {
  for (const char* name : {"", "tree", "magic", "f8", "r"}) EXPECT_EQ(closest_name(name, kNames), "") << name;
  EXPECT_EQ(closest_name("gpu", {"cpu"}), "");
  EXPECT_EQ(closest_name("CPU", {"cpu"}), "cpu");
  EXPECT_EQ(closest_name(std::string(100'000, 'r'), kNames), "");
  EXPECT_EQ(closest_name("ring", {}), "");
  EXPECT_EQ(did_you_mean("tree", kNames), "");
  EXPECT_EQ(did_you_mean("rings", kNames), "; did you mean 'ring'?");
}

RC_GTEST_PROP(ClosestName, TakesBackEveryOneSlipInALongerName, ()) {
  const std::string name(*rc::gen::elementOf(kNames));
  std::string typed = name;
  const auto at = *rc::gen::inRange<std::size_t>(0, name.size());
  switch (*rc::gen::inRange(0, 4)) {
    case 0:
      typed.erase(at, 1);
      break;
    case 1:
      typed.insert(at, 1, *rc::gen::inRange('a', 'z'));
      break;
    case 2:
      typed[at] = *rc::gen::inRange('a', 'z');
      break;
    default:
      if (at > 0) std::swap(typed[at], typed[at - 1]);
  }
  RC_ASSERT(closest_name(typed, kNames) == name);
}

}  // namespace
}  // namespace strata
