// SPDX-License-Identifier: Apache-2.0
// The waves of every strategy over recorded packs, as digests of placement, transfers and tasks. They say
// that a change which is about time or structure decides nothing anew; one that decides anew changes a line
// here and says why.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

#include "core/base/digest.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/support/recorded_packs.hpp"

namespace strata::testing {
namespace {

void add(Digest& digest, const TokenSpan& span) {
  digest.add(span.document);
  digest.add(span.begin);
  digest.add(span.end);
}

void add(Digest& digest, const HeadRange& heads) {
  digest.add(heads.begin);
  digest.add(heads.end);
}

void add(Digest& digest, const SequenceLayout& placement) {
  for (std::int32_t rank = 0; rank < placement.rank_count(); ++rank) {
    const auto& spans = placement.spans[static_cast<std::size_t>(rank)];
    digest.add(spans.size());
    for (const TokenSpan& span : spans) add(digest, span);
  }
}

void add(Digest& digest, const ScheduleStep& step) {
  digest.add(step.collective);
  digest.add(step.transfers.size());
  for (const Transfer& transfer : step.transfers) {
    digest.add(transfer.source);
    digest.add(transfer.targets.size());
    for (const RankRange& targets : transfer.targets)
      digest.add_pair(static_cast<std::uint64_t>(targets.begin), static_cast<std::uint64_t>(targets.end));
    digest.add(transfer.tensor);
    add(digest, transfer.span);
    add(digest, transfer.heads);
    digest.add(transfer.lane);
    digest.add(transfer.ready);
  }
  digest.add(step.tasks.size());
  for (const AttentionTask& task : step.tasks) {
    digest.add(task.rank);
    add(digest, task.query);
    add(digest, task.key);
    add(digest, task.heads);
  }
}

/// Of the waves of every 60th recorded pack on `ranks` ranks.
std::string digest_of_waves(const Strategy& strategy, std::int32_t ranks, ExchangeMode exchange) {
  Digest digest;
  const auto packs = recorded_packs();
  for (std::size_t i = 0; i < packs.size(); i += 60) {
    WaveRequest wanted;
    wanted.lengths = packs[i];
    for (std::size_t k = 0; k < packs[i].size(); ++k)
      wanted.documents.push_back(static_cast<std::int32_t>(k));
    wanted.rank_count = ranks;
    wanted.model = named_model("llama3_70b");
    wanted.exchange = exchange;
    EXPECT_FALSE(strategy.rejects(wanted)) << strategy.name << ", pack " << i;
    PlanOptions options;
    options.exchange = exchange;
    const Wave wave = make_wave(strategy, wanted, options);
    add(digest, wave.placement);
    digest.add(wave.schedule.steps.size());
    for (const ScheduleStep& step : wave.schedule.steps) add(digest, step);
  }
  return digest.text();
}

struct Expected {
  std::string_view strategy;
  std::int32_t ranks = 0;
  ExchangeMode exchange = ExchangeMode::needed;
  std::string_view digest;
};

constexpr std::array<Expected, 24> kExpected = {{
    {"ulysses", 8, ExchangeMode::needed, "1a0fcfdc3442d26b2c573143ce601302"},
    {"ulysses", 8, ExchangeMode::full, "1a0fcfdc3442d26b2c573143ce601302"},
    {"ulysses", 64, ExchangeMode::needed, "954c4921e0507fd2b34bf7e52076d73b"},
    {"ulysses", 64, ExchangeMode::full, "954c4921e0507fd2b34bf7e52076d73b"},
    {"ring", 8, ExchangeMode::needed, "761c123493e2af2042f3d2abdd5a46a5"},
    {"ring", 8, ExchangeMode::full, "343b81f282f8867dd5aaba71e50edacc"},
    {"ring", 64, ExchangeMode::needed, "13318d3d58dbabce25c9cd21689c0bc3"},
    {"ring", 64, ExchangeMode::full, "ff961e5c565d7b83c6050d321f1509f9"},
    {"zigzag_ring", 8, ExchangeMode::needed, "d08381485022edcf54722ad060e7ee44"},
    {"zigzag_ring", 8, ExchangeMode::full, "2554f2f8036f6fc8a726fe0be6a22074"},
    {"zigzag_ring", 64, ExchangeMode::needed, "fa9c5d58cb50a8e7936ce356cbfa47e8"},
    {"zigzag_ring", 64, ExchangeMode::full, "e361b4a07df2c88914d18322ec164a76"},
    {"per_document", 8, ExchangeMode::needed, "19526c79e8e049769a45fbd3932dd8fc"},
    {"per_document", 8, ExchangeMode::full, "bc67891d9b3e7c19a586c0c8d1541df6"},
    {"per_document", 64, ExchangeMode::needed, "63c46ba8410333c32f40562c2a5f9340"},
    {"per_document", 64, ExchangeMode::full, "42df536d6ccea4d8ad61854ceaec6574"},
    {"allgather", 8, ExchangeMode::needed, "6c061013dce6f47664759f09a79f73a1"},
    {"allgather", 8, ExchangeMode::full, "0b45b5f2d95124335cc6e8ca5a2be0b5"},
    {"allgather", 64, ExchangeMode::needed, "bec4956b6260511006ccd7a7356716b6"},
    {"allgather", 64, ExchangeMode::full, "1ed44a3e9932401b554b649795a2fe76"},
    {"whole_document", 8, ExchangeMode::needed, "9b5b9511887e389d6f2ca9720b07fbad"},
    {"whole_document", 8, ExchangeMode::full, "9b5b9511887e389d6f2ca9720b07fbad"},
    {"whole_document", 64, ExchangeMode::needed, "8446cecf3725290e450c634ab8b91b23"},
    {"whole_document", 64, ExchangeMode::full, "8446cecf3725290e450c634ab8b91b23"},
}};

TEST(WaveDigests, EveryStrategyDecidesAsBefore) {
  std::size_t at = 0;
  for (const Strategy& strategy : all_strategies()) {
    for (const std::int32_t ranks : {8, 64}) {
      for (const ExchangeMode exchange : {ExchangeMode::needed, ExchangeMode::full}) {
        ASSERT_LT(at, kExpected.size());
        const Expected& expected = kExpected[at++];
        EXPECT_EQ(expected.strategy, strategy.name);
        EXPECT_EQ(expected.ranks, ranks);
        EXPECT_EQ(expected.exchange, exchange);
        EXPECT_EQ(expected.digest, digest_of_waves(strategy, ranks, exchange))
            << strategy.name << " on " << ranks << " ranks";
      }
    }
  }
  EXPECT_EQ(at, kExpected.size());
}

}  // namespace
}  // namespace strata::testing
