// SPDX-License-Identifier: Apache-2.0
// The table of held rows against one that lists every row and head.
#include "core/lowering/held_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "core/base/check.hpp"
#include "tests/support/dice.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using detail::HeldRows;
using detail::HeldRun;

constexpr std::int32_t kDocuments = 4;
constexpr std::int64_t kRows = 60;
constexpr std::int32_t kHeads = 8;

/// Every row of every head range by itself.
class RowTable {
 public:
  void add(HeadRange heads, const TokenSpan& span, std::int32_t group, std::int64_t row) {
    for (std::int64_t at = span.begin; at < span.end; ++at) {
      places_[heads][{span.document, at}] = {group, row + at - span.begin};
    }
    borders_.insert({heads.begin, heads.end});
  }

  std::vector<HeldRun> find_held(const TokenSpan& span, HeadRange heads) const {
    std::vector<HeldRun> runs;
    for (const auto& [range, places] : places_) {
      if (!contains(range, heads)) continue;
      const std::size_t first = runs.size();
      for (std::int64_t at = span.begin; at < span.end; ++at) {
        const auto found = places.find({span.document, at});
        if (found == places.end()) continue;
        const HeldRun row{found->second.first, found->second.second, {span.document, at, at + 1}};
        if (runs.size() > first && runs.back().continues_in(row)) {
          runs.back().span.end = at + 1;
        } else {
          runs.push_back(row);
        }
      }
    }
    std::stable_sort(runs.begin(), runs.end(),
                     [](const HeldRun& a, const HeldRun& b) { return a.span < b.span; });
    return runs;
  }

  std::vector<HeadRange> head_parts(HeadRange heads) const {
    std::vector<HeadRange> parts;
    std::int32_t begin = heads.begin;
    for (const std::int32_t border : borders_) {
      if (border > heads.begin && border < heads.end) parts.push_back({std::exchange(begin, border), border});
    }
    parts.push_back({begin, heads.end});
    return parts;
  }

  bool is_free(HeadRange heads, const TokenSpan& span) const {
    const auto range = places_.find(heads);
    if (range == places_.end()) return true;
    for (std::int64_t at = span.begin; at < span.end; ++at) {
      if (range->second.contains({span.document, at})) return false;
    }
    return true;
  }

 private:
  using Row = std::pair<std::int32_t, std::int64_t>;  ///< document and row, or group and row
  std::map<HeadRange, std::map<Row, Row>> places_;
  std::set<std::int32_t> borders_;
};

template <typename Dice>
HeadRange random_heads(Dice& dice) {
  const std::int32_t begin = dice.small(0, kHeads - 1);
  return dice.one_in(3) ? HeadRange{0, kHeads} : HeadRange{begin, dice.small(begin + 1, kHeads)};
}

template <typename Dice>
TokenSpan random_span(Dice& dice, std::int64_t longest) {
  const std::int64_t begin = dice.number(0, kRows - 1);
  return {dice.small(0, kDocuments - 1), begin, std::min(kRows, begin + dice.number(1, longest))};
}

/// Whether `runs` are what resolve may give: all rows of `span`, each once.
bool covers(const std::vector<HeldRun>& runs, const TokenSpan& span) {
  std::int64_t at = span.begin;
  for (const HeldRun& run : runs) {
    if (run.span.begin != at) return false;
    at = run.span.end;
  }
  return at == span.end;
}

/// By span, so that runs of the same rows in different places have an order.
std::vector<HeldRun> sorted(std::vector<HeldRun> runs) {
  std::sort(runs.begin(), runs.end(), [](const HeldRun& a, const HeldRun& b) {
    return std::tie(a.span, a.group, a.row) < std::tie(b.span, b.group, b.row);
  });
  return runs;
}

void expect_equal_answers(const HeldRows& held, const RowTable& table, test::Dice& dice) {
  const TokenSpan span = random_span(dice, kRows);
  const HeadRange heads = random_heads(dice);
  std::vector<HeadRange> parts;
  held.head_parts(heads, parts);
  ASSERT_EQ(parts, table.head_parts(heads));
  parts.push_back(heads);  // uncut, too
  for (const HeadRange part : parts) {
    const HeldRun before{9, 9, {9, 9, 9}};
    std::vector<HeldRun> runs{before};
    held.find_held(span, part, runs);
    ASSERT_EQ(runs.front(), before);
    runs.erase(runs.begin());
    const std::vector<HeldRun> expected = table.find_held(span, part);
    ASSERT_EQ(sorted(runs), sorted(expected));
    std::vector<HeldRun> resolved;
    if (covers(expected, span)) {
      held.resolve(span, part, resolved);
      ASSERT_EQ(resolved, expected);
    } else {
      ASSERT_THROW(held.resolve(span, part, resolved), InternalError);
    }
  }
}

TEST(HeldRows, AnswersLikeATableOfAllRows) {
  for (int i = 0; i < (small_scale() ? 300 : 3000); ++i) {
    test::Dice dice(3, {i});
    HeldRows held;
    RowTable table;
    std::int64_t next_row = 0;
    std::vector<HeadRange> ranges{{0, kHeads}};
    for (std::int32_t more = dice.small(0, 3); more > 0; --more) ranges.push_back(random_heads(dice));
    for (std::int32_t step = dice.small(1, 12); step > 0; --step) {
      for (std::int32_t added = dice.small(0, 10); added > 0; --added) {
        const HeadRange heads = dice.pick(ranges);
        TokenSpan span = random_span(dice, dice.one_in(3) ? 20 : 4);
        // Up to three pieces that may continue each other, in any order.
        const std::int64_t row = dice.one_in(2) ? next_row : span.begin;
        const auto cuts = dice.cuts(span.length(), 2);
        const std::int32_t group = dice.small(0, 1);
        for (std::size_t cut = 0; cut + 1 < cuts.size(); ++cut) {
          const std::size_t at = dice.one_in(2) ? cut : cuts.size() - 2 - cut;
          const TokenSpan piece{span.document, span.begin + cuts[at], span.begin + cuts[at + 1]};
          if (!table.is_free(heads, piece)) continue;
          held.add(heads, piece, group, row + cuts[at]);
          table.add(heads, piece, group, row + cuts[at]);
        }
        next_row += span.length();
      }
      held.seal();
      for (int question = 0; question < 6; ++question) expect_equal_answers(held, table, dice);
    }
  }
}

TEST(HeldRows, JoinsWhatArrivesInManySteps) {
  constexpr std::int64_t kSteps = 1000;
  for (const bool back_to_front : {false, true}) {
    HeldRows held;
    for (std::int64_t step = 0; step < kSteps; ++step) {
      const std::int64_t begin = back_to_front ? kSteps - 1 - step : step;
      held.add({0, 1}, {1, begin, begin + 1}, 0, begin);
      held.add({1, 2}, {1, begin, begin + 1}, 0, 2 * begin);  // these lie apart
      held.seal();
      const TokenSpan so_far{1, back_to_front ? begin : 0, back_to_front ? kSteps : begin + 1};
      std::vector<HeldRun> runs;
      held.resolve(so_far, {0, 1}, runs);
      ASSERT_EQ(runs, (std::vector<HeldRun>{{0, so_far.begin, so_far}}));
      runs.clear();
      held.resolve(so_far, {1, 2}, runs);
      ASSERT_EQ(runs.size(), static_cast<std::size_t>(step) + 1);
    }
  }
}

}  // namespace
}  // namespace strata
