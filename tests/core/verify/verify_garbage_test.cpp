// SPDX-License-Identifier: Apache-2.0
// Waves that no planner would write: extreme integers in every field, which the verifier must survive (run
// under the sanitizers too), and large waves made to defeat sorted sweeps, on which its verdict must still be
// right.
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "tests/core/verify/verify_support.hpp"

namespace strata::test {
namespace {

class Vandal {
 public:
  explicit Vandal(std::uint64_t seed) : engine_(seed) {}

  void damage(Wave& wave) {
    for (std::uint64_t i = 1 + below(3); i > 0; --i) damage_once(wave);
    if (below(2) == 0) {
      for (ScheduleStep& step : wave.schedule.steps) sort_canonically(step);
      for (ScheduleStep& step : wave.backward.steps) sort_canonically(step);
    }
  }

 private:
  std::uint64_t below(std::uint64_t count) { return engine_() % count; }

  template <typename Integer>
  void spoil(Integer& value) {
    using Limits = std::numeric_limits<Integer>;
    const Integer extremes[] = {
        Limits::min(), Limits::max(), Limits::max() - 1, Limits::max() / 2, -1, 0, 1, 2, 64};
    value = extremes[below(std::size(extremes))];
  }
  void spoil(HeadRange& heads) { below(2) == 0 ? spoil(heads.begin) : spoil(heads.end); }
  void spoil(TokenSpan& span) {
    switch (below(3)) {
      case 0:
        return spoil(span.document);
      case 1:
        return spoil(span.begin);
      default:
        return spoil(span.end);
    }
  }
  void spoil(std::vector<RankRange>& ranges) {
    if (ranges.empty()) return;
    RankRange& range = ranges[below(ranges.size())];
    below(2) == 0 ? spoil(range.begin) : spoil(range.end);
  }
  void spoil(AttentionTask& task) {
    switch (below(4)) {
      case 0:
        return spoil(task.rank);
      case 1:
        return spoil(task.query);
      case 2:
        return spoil(task.key);
      default:
        return spoil(task.heads);
    }
  }
  template <typename Record>
  void spoil_move(Record& record, std::int32_t& single, std::vector<RankRange>& many) {
    switch (below(7)) {
      case 0:
        return spoil(single);
      case 1:
        return spoil(many);
      case 2:
        return spoil(record.span);
      case 3:
        return spoil(record.heads);
      case 4:
        return spoil(record.lane);
      case 5:
        return spoil(record.ready);
      default:
        record.tensor = static_cast<TensorKind>(below(256));
    }
  }
  void spoil(ScheduleStep& step) {
    switch (below(4)) {
      case 0:
        if (!step.tasks.empty()) spoil(step.tasks[below(step.tasks.size())]);
        return;
      case 1:
        if (step.reductions.empty())
          return;
        else {
          Reduction& reduction = step.reductions[below(step.reductions.size())];
          return spoil_move(reduction, reduction.target, reduction.sources);
        }
      case 2:
        step.collective = static_cast<CollectiveKind>(below(256));
        return;
      default:
        if (step.transfers.empty())
          return;
        else {
          Transfer& transfer = step.transfers[below(step.transfers.size())];
          return spoil_move(transfer, transfer.source, transfer.targets);
        }
    }
  }
  void damage_once(Wave& wave) {
    switch (below(8)) {
      case 0:
        return spoil(wave.documents[below(wave.documents.size())]);
      case 1:
        return spoil(wave.lengths[below(wave.lengths.size())]);
      case 2: {
        auto& spans = wave.placement.spans[below(wave.placement.spans.size())];
        if (!spans.empty()) spoil(spans[below(spans.size())]);
        return;
      }
      case 3: {
        GroupLayout& group = wave.groups[below(wave.groups.size())];
        below(2) == 0 ? spoil(group.ranks[below(group.ranks.size())]) : spoil(group.dims[0].degree);
        return;
      }
      case 4:
      case 5:
        if (!wave.backward.steps.empty()) spoil(wave.backward.steps[below(wave.backward.steps.size())]);
        return;
      default:
        spoil(wave.schedule.steps[below(wave.schedule.steps.size())]);
    }
  }

  std::mt19937_64 engine_;
};

TEST(VerifyGarbage, SurvivesExtremeIntegersEverywhere) {
  const std::vector<Wave> waves = {
      multicast_wave(),
      head_split_wave(),
      with_explicit_backward(relay_wave(), hand_built_model()),
      with_explicit_backward(travelling_query_wave(), hand_built_model()),
  };
  std::size_t rejected = 0;
  for (std::uint64_t seed = 0; seed < 20000; ++seed) {
    Wave wave = waves[seed % waves.size()];
    Vandal(seed).damage(wave);
    const auto violations = verify(wave);
    rejected += violations.empty() ? 0 : 1;
    for (const Violation& violation : violations) EXPECT_FALSE(violation.message.empty());
  }
  EXPECT_GT(rejected, 15000u);
}

Wave large_wave(std::int64_t length) {
  Wave wave;
  wave.documents = {0};
  wave.lengths = {length};
  wave.groups = {{{0, 1}, {{"ring", 2}}, {0}}};
  wave.placement.spans = {{{0, 0, length / 2}}, {{0, length / 2, length}}};
  wave.schedule.steps.resize(2);
  return wave;
}

TEST(VerifyGarbage, TilesACrossOfThinStrips) {
  // Rank 1's queries against rank 0's keys: first half of the queries in columns of one key, second half in
  // rows of one query, so that thousands of tasks are open at once.
  constexpr std::int64_t kHalf = 10000;
  Wave wave = large_wave(2 * kHalf);
  wave.schedule.steps[0].transfers = {{0, {{1, 2}}, TensorKind::kv, {0, 0, kHalf}, {0, 2}, 0, 1}};
  for (std::int32_t rank = 0; rank < 2; ++rank) {
    const TokenSpan own = wave.placement.spans[static_cast<std::size_t>(rank)].front();
    wave.schedule.steps[0].tasks.push_back({rank, own, own, {0, 4}});
  }
  auto& tasks = wave.schedule.steps[1].tasks;
  for (std::int64_t i = 0; i < kHalf; ++i) {
    tasks.push_back({1, {0, kHalf, kHalf + kHalf / 2}, {0, i, i + 1}, {0, 4}});
  }
  for (std::int64_t i = kHalf + kHalf / 2; i < 2 * kHalf; ++i) {
    tasks.push_back({1, {0, i, i + 1}, {0, 0, kHalf}, {0, 4}});
  }
  EXPECT_TRUE(verify(wave).empty()) << listed(verify(wave));
  tasks[77].query.end += 1;
  sort_canonically(wave.schedule.steps[1]);  // it is the last of the columns now
  expect_only(verify(wave), "computed_twice", ".steps[1].tasks[10000]",
              "queries [15000, 15001) with keys [77, 78) of document 0, heads [0, 4), are computed by "
              "steps[1].tasks[9999] too");
  tasks[9999].query.end -= 2;
  sort_canonically(wave.schedule.steps[1]);
  expect_only(verify(wave), "coverage", "",
              "no task computes queries [14999, 15000) with keys [77, 78) of document 0, heads [0, 4)");
}

TEST(VerifyGarbage, FollowsManyPiecesUnderManyUses) {
  // Every key row arrives alone and every query row asks for all of them.
  constexpr std::int64_t kHalf = 4000;
  Wave wave = large_wave(2 * kHalf);
  for (std::int64_t i = 0; i < kHalf; ++i) {
    wave.schedule.steps[0].transfers.push_back({0, {{1, 2}}, TensorKind::kv, {0, i, i + 1}, {0, 2}, 0, 1});
  }
  wave.schedule.steps[0].tasks.push_back({0, {0, 0, kHalf}, {0, 0, kHalf}, {0, 4}});
  for (std::int64_t i = kHalf; i < 2 * kHalf; ++i) {
    wave.schedule.steps[1].tasks.push_back({1, {0, i, i + 1}, {0, 0, i + 1}, {0, 4}});
  }
  EXPECT_TRUE(verify(wave).empty()) << listed(verify(wave));
  wave.schedule.steps[0].transfers[123].ready = 2;
  wave.schedule.steps.push_back({});
  expect_only(
      verify(wave), "not_held", ".steps[1].tasks[0]",
      "rank 1 reads kv rows [123, 124) of document 0, heads [0, 2) in step 1, but steps[0].transfers[123]");
}

}  // namespace
}  // namespace strata::test
