// SPDX-License-Identifier: Apache-2.0
// What is placed, cut into tasks and passed on in time that grows with the result is what the long way gives,
// which asks every piece and every rank, over random waves.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/problem/mask.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "core/schedule/rank_set.hpp"
#include "planner/realise/attention_tasks.hpp"
#include "planner/realise/placement.hpp"
#include "planner/realise/relay.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/planner/realise/random_waves.hpp"

namespace strata::testing {
namespace {

/// Sorted spans without overlap, of few or many documents, with gaps.
std::vector<TokenSpan> random_spans(RandomWaves& random) {
  std::vector<TokenSpan> spans;
  auto document = static_cast<std::int32_t>(random.number(0, 3));
  for (std::int64_t i = random.number(0, 8); i > 0; --i) {
    std::int64_t begin = random.number(0, 5);
    for (std::int64_t j = random.number(1, 4); j > 0; --j) {
      const std::int64_t end = begin + random.number(1, 6);
      spans.push_back({document, begin, end});
      begin = end + random.number(0, 5);
    }
    document += static_cast<std::int32_t>(random.number(1, random.number(0, 3) == 0 ? 9 : 2));
  }
  return spans;
}

TEST(AttentionTasks, AreThoseOfEveryQuerySpanWithEveryKeySpan) {
  RandomWaves random(31);
  std::size_t made = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::vector<TokenSpan> queries = random_spans(random), keys = random_spans(random);
    const TaskMaker maker{{random.number(0, 1) == 0 ? 0 : random.number(1, 12)}, 3, {0, 2}};
    std::vector<AttentionTask> expected, tasks;
    for (const TokenSpan& query : queries) {
      for (const TokenSpan& each : keys) {
        const TokenSpan key = intersect(each, keys_seen_by(maker.mask, query));
        if (key.empty()) continue;
        expected.push_back({3, intersect(query, queries_that_see(maker.mask, key, query.end)), key, {0, 2}});
      }
    }
    maker.append(queries, keys, tasks);
    ASSERT_EQ(tasks, expected) << i;
    made += tasks.size();
  }
  EXPECT_GT(made, 5000U);
}

TEST(PerDocumentPlacement, DealsShortDocumentsAsIfItWentThroughAllChunks) {
  RandomWaves random(32);
  for (int i = 0; i < 3000; ++i) {
    const WaveRequest request = random.next();
    const std::int32_t ranks = request.rank_count;
    SequenceLayout expected;
    expected.spans.resize(static_cast<std::size_t>(ranks));
    std::int32_t next = 0;
    for (std::size_t d = 0; d < request.documents.size(); ++d) {
      const auto extra = static_cast<std::int32_t>(request.lengths[d] % (2 * ranks));
      std::int64_t begin = 0;
      for (std::int32_t chunk = 0; chunk < 2 * ranks; ++chunk) {
        const std::int32_t rank = zigzag_owner(chunk, ranks);
        const std::int32_t turn = (rank - next + ranks) % ranks + (chunk < ranks ? 0 : ranks);
        const std::int64_t end = begin + request.lengths[d] / (2 * ranks) + (turn < extra ? 1 : 0);
        append_span(expected, rank, {request.documents[d], begin, end});
        begin = end;
      }
      next = (next + extra) % ranks;
    }
    ASSERT_EQ(place_per_document(request), expected) << i;
  }
}

/// The rows of the owner's pieces that `rank` needs, every piece and query asked.
std::vector<TokenSpan> needed_rows(const WaveRequest& request, const SequenceLayout& layout,
                                   std::int32_t owner, std::int32_t rank) {
  std::vector<TokenSpan> needed;
  for (const TokenSpan& piece : layout.spans[static_cast<std::size_t>(owner)]) {
    TokenSpan rows{piece.document, piece.end, piece.end};
    for (const TokenSpan& query : layout.spans[static_cast<std::size_t>(rank)]) {
      const TokenSpan seen = intersect(piece, keys_seen_by(request.model.mask(), query));
      if (!seen.empty()) rows.begin = std::min(rows.begin, seen.begin);
    }
    if (!rows.empty()) needed.push_back(rows);
  }
  return needed;
}

TEST(OpenChain, PassesOnWhatRanksNeedWhenEveryRankIsAskedForEveryPiece) {
  RandomWaves random(33);
  std::size_t moved = 0;
  for (int i = 0; i < 1500; ++i) {
    WaveRequest request = random.next();
    request.exchange = ExchangeMode::needed;
    const bool zigzag = random.number(0, 1) == 0;
    const SequenceLayout layout = zigzag ? place_zigzag(request) : place_contiguous(request);
    const CommSchedule schedule = schedule_relay(request, layout);
    for (std::int32_t hop = 1; hop < request.rank_count; ++hop) {
      ScheduleStep expected;
      for (std::int32_t rank = 0; rank < request.rank_count; ++rank) {
        for (const std::int32_t way : {-1, 1}) {
          const std::int32_t owner = rank + way * hop;
          if (owner < 0 || owner >= request.rank_count) continue;
          for (const TokenSpan& rows : needed_rows(request, layout, owner, rank)) {
            expected.transfers.push_back(
                {rank + way, {{rank, rank + 1}}, TensorKind::kv, rows, request.kv_heads(), 0, hop});
          }
        }
      }
      sort_canonically(expected);
      const auto step = static_cast<std::size_t>(hop - 1);
      const std::vector<Transfer> made =
          step < schedule.steps.size() ? schedule.steps[step].transfers : std::vector<Transfer>{};
      ASSERT_EQ(made, expected.transfers) << i << " hop " << hop;
      moved += made.size();
    }
  }
  EXPECT_GT(moved, 3000U);
}

TEST(RankSet, ReadsOutTheRangesOfItsMembers) {
  RandomWaves random(34);
  for (int i = 0; i < 300; ++i) {
    const auto ranks = static_cast<std::int32_t>(random.number(1, 300));
    RankSet set(ranks);
    std::multiset<std::int32_t> members;
    for (int step = 0; step < 60; ++step) {
      const auto rank = static_cast<std::int32_t>(random.number(0, ranks - 1));
      if (random.number(0, 2) > 0 || members.empty()) {
        set.add(rank);
        members.insert(rank);
      } else {
        const auto gone = random.number(0, 3) == 0 ? std::prev(members.end()) : members.begin();
        set.remove(*gone);
        members.erase(gone);
      }
      std::set<std::int32_t> others(members.begin(), members.end());
      others.erase(rank);
      ASSERT_EQ(set.ranges_without(rank), rank_ranges({others.begin(), others.end()})) << i;
    }
  }
}

/// The wave with documents numbered 7, 20, 33, ..., so that most numbers are of no document.
Wave renumbered(Wave wave) {
  const auto renumber = [&](std::int32_t& document) { document = 7 + 13 * document; };
  for (std::int32_t& document : wave.documents) renumber(document);
  for (auto& spans : wave.placement.spans) {
    for (TokenSpan& span : spans) renumber(span.document);
  }
  for (ScheduleStep& step : wave.schedule.steps) {
    for (Transfer& transfer : step.transfers) renumber(transfer.span.document);
    for (AttentionTask& task : step.tasks) {
      renumber(task.query.document);
      renumber(task.key.document);
    }
  }
  return wave;
}

TEST(Backward, IsTheSameWhateverTheNumbersOfTheDocumentsAre) {
  RandomWaves random(35);
  for (int i = 0; i < 200; ++i) {
    WaveRequest request = random.next();
    for (std::size_t d = 0; d < request.documents.size(); ++d)
      request.documents[d] = static_cast<std::int32_t>(d);
    PlanOptions options;
    if (random.number(0, 1) == 0) options.gradient_return = GradientReturn::reverse_tree;
    for (const Strategy& strategy : all_strategies()) {
      if (strategy.rejects(request)) continue;
      Wave wave = make_wave(strategy, request, options);
      Wave expected = wave;  // its schedule becomes the backward one, so that `renumbered` takes it along
      expected.schedule = derive_backward(wave, request.model);
      for (ScheduleStep& step : expected.schedule.steps) {
        for (Reduction& reduction : step.reductions)
          reduction.span.document = 7 + 13 * reduction.span.document;
      }
      ASSERT_EQ(derive_backward(renumbered(wave), request.model), renumbered(expected).schedule)
          << strategy.name << " " << i;
    }
  }
}

}  // namespace
}  // namespace strata::testing
