// SPDX-License-Identifier: Apache-2.0
// Coverage against counting: random exact tilings of a document pass, damaged ones are judged as the
// brute-force interpreter judges them; and the lemma that the sweep rests on is checked for every pair of
// small rectangles.
#include <gtest/gtest.h>

#include <random>

#include "core/problem/mask.hpp"
#include "tests/core/verify/verify_support.hpp"
#include "tests/support/brute_force_schedule.hpp"

namespace strata::test {
namespace {

constexpr std::int64_t kLength = 7;

bool is_tight(const Mask& mask, const TokenSpan& query, const TokenSpan& key) {
  return contains(queries_that_see(mask, key, kLength), query) && contains(keys_seen_by(mask, query), key);
}

struct Rectangle {
  TokenSpan query, key;
};

std::vector<Rectangle> tight_rectangles(const Mask& mask) {
  std::vector<TokenSpan> spans;
  for (std::int64_t begin = 0; begin < kLength; ++begin) {
    for (std::int64_t end = begin + 1; end <= kLength; ++end) spans.push_back({0, begin, end});
  }
  std::vector<Rectangle> rectangles;
  for (const TokenSpan& query : spans) {
    for (const TokenSpan& key : spans) {
      if (is_tight(mask, query, key)) rectangles.push_back({query, key});
    }
  }
  return rectangles;
}

TEST(TightRectangles, OverlapExactlyWhenTheyShareAnAllowedPair) {
  for (const std::int64_t window : {0, 1, 2, 3, 5}) {
    const Mask mask{window};
    const auto all = tight_rectangles(mask);
    ASSERT_GT(all.size(), 7u);
    for (const Rectangle& a : all) {
      for (const Rectangle& b : all) {
        const TokenSpan query = intersect(a.query, b.query);
        const TokenSpan key = intersect(a.key, b.key);
        if (query.empty() || key.empty()) continue;
        ASSERT_GT(pair_count(mask, query, key), 0)
            << "window " << window << ": queries [" << a.query.begin << ", " << a.query.end << ") keys ["
            << a.key.begin << ", " << a.key.end << ") and queries [" << b.query.begin << ", " << b.query.end
            << ") keys [" << b.key.begin << ", " << b.key.end << ")";
      }
    }
  }
}

/// Random exact tilings of one document by tight tasks of rank 0.
class Tiler {
 public:
  Tiler(const ModelShape& model, std::int64_t length, std::uint64_t seed)
      : mask_(model.mask()), length_(length), engine_(seed) {
    cut({0, 0, length}, {0, 0, length}, {0, model.query_heads}, 5);
  }
  const std::vector<AttentionTask>& tasks() const { return tasks_; }
  std::int64_t below(std::int64_t count) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(count));
  }

 private:
  void cut(TokenSpan query, TokenSpan key, HeadRange heads, int depth) {
    query = intersect(query, queries_that_see(mask_, key, length_));
    if (query.empty()) return;
    key = intersect(key, keys_seen_by(mask_, query));
    if (key.empty()) return;
    const bool tight = contains(queries_that_see(mask_, key, length_), query);
    if (!tight) return cut(query, key, heads, depth);
    const std::int64_t way = depth == 0 ? 9 : below(4);
    if (way == 0 && query.length() > 1) {
      const std::int64_t middle = query.begin + 1 + below(query.length() - 1);
      cut({0, query.begin, middle}, key, heads, depth - 1);
      cut({0, middle, query.end}, key, heads, depth - 1);
    } else if (way == 1 && key.length() > 1) {
      const std::int64_t middle = key.begin + 1 + below(key.length() - 1);
      cut(query, {0, key.begin, middle}, heads, depth - 1);
      cut(query, {0, middle, key.end}, heads, depth - 1);
    } else if (way == 2 && heads.count() > 1) {
      const auto middle = static_cast<std::int32_t>(heads.begin + 1 + below(heads.count() - 1));
      cut(query, key, {heads.begin, middle}, depth - 1);
      cut(query, key, {middle, heads.end}, depth - 1);
    } else if (way == 3) {
      cut(query, key, heads, depth - 1);
    } else {
      tasks_.push_back({0, query, key, heads});
    }
  }

  Mask mask_;
  std::int64_t length_;
  std::mt19937_64 engine_;
  std::vector<AttentionTask> tasks_;
};

Wave one_rank_wave(std::int64_t length, std::vector<AttentionTask> tasks) {
  Wave wave;
  wave.documents = {0};
  wave.lengths = {length};
  wave.groups = {{{0}, {{"ring", 1}}, {0}}};
  wave.placement.spans = {{{0, 0, length}}};
  wave.schedule.steps.resize(1);
  wave.schedule.steps[0].tasks = std::move(tasks);
  sort_canonically(wave.schedule.steps[0]);
  return wave;
}

/// Nothing, a task dropped, a border moved, or two tasks exchanging keys.
void damage(std::vector<AttentionTask>& tasks, Tiler& dice) {
  AttentionTask& task = tasks[static_cast<std::size_t>(dice.below(static_cast<std::int64_t>(tasks.size())))];
  switch (dice.below(6)) {
    case 0:
      task = tasks.back();
      tasks.pop_back();
      return;
    case 1:
      task.query.begin += dice.below(3) - 1;
      return;
    case 2:
      task.query.end += dice.below(3) - 1;
      return;
    case 3:
      task.key.begin += dice.below(3) - 1;
      return;
    case 4:
      task.key.end += dice.below(3) - 1;
      return;
    default:
      return;
  }
}

TEST(VerifyCoverage, AgreesWithCountingOnRandomTilings) {
  int good = 0, bad = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    ModelShape model = hand_built_model();
    if (seed % 3 != 0) {
      model.attention = AttentionKind::window;
      model.window = static_cast<std::int64_t>(1 + seed % 9);
    }
    const auto length = static_cast<std::int64_t>(1 + seed % 17);
    Tiler tiler(model, length, seed);
    std::vector<AttentionTask> tasks = tiler.tasks();
    if (seed % 2 == 0) damage(tasks, tiler);
    const Wave wave = one_rank_wave(length, tasks);
    const auto violations = verify(wave, model);
    const auto faults = faults_of_meaning(wave, model, 1);
    ++(faults.empty() ? good : bad);
    if (!faults.empty()) {
      ASSERT_FALSE(violations.empty()) << "seed " << seed << ": " << faults.front();
      continue;
    }
    for (const Violation& violation : violations) {  // exact, but perhaps no longer tight
      ASSERT_EQ(violation.rule, "loose_task") << "seed " << seed << "\n" << listed(violations);
    }
  }
  EXPECT_GT(good, 1000);
  EXPECT_GT(bad, 500);
}

}  // namespace
}  // namespace strata::test
