// SPDX-License-Identifier: Apache-2.0
// Documents, groups, placement and model of a wave: every rule is broken alone in a wave that is otherwise
// good, and must be named with the place and the values.
#include <gtest/gtest.h>

#include "tests/core/verify/verify_support.hpp"

namespace strata::test {
namespace {

TEST(VerifyWave, AcceptsTheHandBuiltWavesUnderEveryBackwardPolicy) {
  for (const Wave& good : {multicast_wave(), relay_wave(), head_split_wave(), travelling_query_wave()}) {
    for (const BackwardKeep keep : {BackwardKeep::retain, BackwardKeep::refetch}) {
      for (const GradientReturn way : {GradientReturn::owner, GradientReturn::reverse_tree}) {
        Wave wave = good;
        wave.backward = {keep, way, {}};
        EXPECT_TRUE(verify(wave).empty()) << listed(verify(wave));
        wave = with_explicit_backward(wave, hand_built_model());
        EXPECT_TRUE(verify(wave).empty()) << listed(verify(wave));
      }
    }
  }
}

TEST(VerifyWave, NamesAModelThatCannotBe) {
  ModelShape model = hand_built_model();
  model.kv_heads = 3;
  expect_only(verify(multicast_wave(), model), "model", "", "multiple of the KV heads");
  model = hand_built_model();
  model.query_heads = model.kv_heads = 1 << 20;
  expect_only(verify(multicast_wave(), model), "model", "", "query_heads = 1048576, expected at most 4096");
  model = hand_built_model();
  model.attention = AttentionKind::window;
  model.window = std::int64_t{1} << 62;
  expect_only(verify(multicast_wave(), model), "model", "", "a window of");
}

TEST(VerifyWave, WantsAscendingDocumentsWithLengths) {
  Wave wave = multicast_wave();
  wave.lengths.clear();
  expect_only(verify(wave), "documents", ".documents", "1 documents but 0 lengths");
  wave = multicast_wave();
  wave.documents.clear();
  wave.lengths.clear();
  expect_only(verify(wave), "documents", ".documents", "no documents");
  wave = multicast_wave();
  wave.documents = {0, 0};
  wave.lengths = {12, 12};
  expect_only(verify(wave), "documents", ".documents[1]", "document 0 follows 0");
  wave = multicast_wave();
  wave.documents = {-1};
  expect_only(verify(wave), "documents", ".documents[0]", "document -1 is negative");
  for (const std::int64_t length : {std::int64_t{0}, std::int64_t{-5}, std::int64_t{1} << 40}) {
    wave = multicast_wave();
    wave.lengths = {length};
    expect_only(verify(wave), "documents", ".documents[0]", "tokens, expected 1 to 2147483647");
  }
  wave = multicast_wave();
  wave.documents = {0, 2147483647};
  wave.lengths = {12, 12};
  expect_only(verify(wave), "documents", ".documents", "document numbers 0 to 2147483647 on 3 ranks");
}

TEST(VerifyWave, WantsEveryDocumentInOneGroupOfDistinctRanks) {
  const auto broken = [](auto change) {
    Wave wave = multicast_wave();
    change(wave.groups);
    return verify(wave);
  };
  using Groups = std::vector<GroupLayout>;
  expect_only(broken([](Groups& groups) { groups[0].ranks[2] = 3; }), "groups", ".groups[0]",
              "rank 3 is not below 3");
  expect_only(broken([](Groups& groups) { groups[0].ranks[2] = -1; }), "groups", ".groups[0]",
              "rank -1 is not below 3");
  expect_only(broken([](Groups& groups) { groups[0].ranks[2] = 0; }), "groups", ".groups[0]",
              "rank 0 is already in groups[0]");
  expect_only(broken([](Groups& groups) { groups[0].dims[0].degree = 4; }), "groups", ".groups[0]",
              "the degrees multiply to 4 but the group has 3 ranks");
  expect_only(broken([](Groups& groups) { groups[0].dims[0].degree = 0; }), "groups", ".groups[0]",
              "dimension 'ring' has degree 0");
  expect_only(broken([](Groups& groups) {
                groups[0].dims.assign(9, {"ring", 2147483647});
              }),
              "groups", ".groups[0]", "the degrees multiply to");
  expect_only(broken([](Groups& groups) { groups[0].documents.clear(); }), "groups", ".groups",
              "document 0 is in no group");
  expect_only(broken([](Groups& groups) {
                groups[0].documents = {0, 7};
              }),
              "groups", ".groups[0]", "document 7 is not in the wave");
  expect_only(broken([](Groups& groups) {
                groups.push_back({{}, {{"ring", 0}}, {}});
              }),
              "groups", ".groups[1]", "degree 0");
}

TEST(VerifyWave, RejectsADocumentOfTwoGroupsAndDocumentsOutOfOrder) {
  Wave wave = multicast_wave();
  wave.groups = {{{0, 1}, {{"ring", 2}}, {0}}, {{2}, {{"ring", 1}}, {0}}};
  expect_only(verify(wave), "groups", ".groups[1]", "document 0 is already in groups[0]");
  wave = multicast_wave();
  wave.groups[0].documents = {0, 0};
  expect_only(verify(wave), "groups", ".groups[0]", "document 0 follows 0");
}

TEST(VerifyWave, WantsSortedSpansOfTheWavesDocuments) {
  const auto broken = [](auto change) {
    Wave wave = multicast_wave();
    change(wave.placement.spans);
    return verify(wave);
  };
  using Spans = std::vector<std::vector<TokenSpan>>;
  expect_only(broken([](Spans& spans) {
                spans[1] = {{4, 4, 8}};
              }),
              "placement", ".placement[1].spans[0]", "document 4 is not in the wave");
  expect_only(broken([](Spans& spans) {
                spans[2] = {{0, 8, 13}};
              }),
              "placement", ".placement[2].spans[0]",
              "rows [8, 13) of document 0 is empty or outside its 12 tokens");
  expect_only(broken([](Spans& spans) {
                spans[2] = {{0, 12, 8}};
              }),
              "placement", ".placement[2].spans[0]", "empty");
  expect_only(broken([](Spans& spans) {
                spans[2] = {{0, 8, 10}, {0, 10, 12}};
              }),
              "placement", ".placement[2].spans[1]", "continues the span before it");
  expect_only(broken([](Spans& spans) {
                spans[0] = {{0, 2, 4}, {0, 0, 1}};
              }),
              "placement", ".placement[0].spans[1]", "is not after the span before it");
  Wave wave = multicast_wave();
  const auto violations = verify_wave(wave, hand_built_model(), 4, "waves[0]");
  expect_only(violations, "placement", ".placement", "3 ranks, expected 4");
}

TEST(VerifyWave, WantsOwnersInTheGroupOfTheirDocument) {
  Wave wave = multicast_wave();
  wave.groups = {{{0, 1}, {{"ring", 2}}, {0}}, {{2}, {{"ring", 1}}, {}}};
  expect_only(verify(wave), "placement", ".placement[2].spans[0]",
              "rank 2 is not in groups[0] of document 0");
}

TEST(VerifyWave, WantsExactlyOneOwnerForEveryToken) {
  Wave wave = multicast_wave();
  wave.placement.spans[1] = {{0, 4, 7}};
  expect_only(verify(wave), "ownership", ".placement", "no rank owns rows [7, 8) of document 0");
  wave = multicast_wave();
  wave.placement.spans[2] = {{0, 8, 11}};
  expect_only(verify(wave), "ownership", ".placement", "no rank owns rows [11, 12) of document 0");
  wave = multicast_wave();
  wave.placement.spans[1] = {{0, 3, 8}};
  expect_only(verify(wave), "ownership", ".placement[1]",
              "rows [3, 4) of document 0, owned by rank 1, belong to rank 0 too");
}

TEST(VerifyWave, StopsAtTheLimit) {
  Wave wave = multicast_wave();
  for (auto& spans : wave.placement.spans) spans = {{9, 0, 1}};
  EXPECT_EQ(verify_wave(wave, hand_built_model(), 3, "waves[0]").size(), 3u);
  EXPECT_EQ(verify_wave(wave, hand_built_model(), 3, "waves[0]", 2).size(), 2u);
}

}  // namespace
}  // namespace strata::test
