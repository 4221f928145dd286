// SPDX-License-Identifier: Apache-2.0
// Prediction errors are what one computes by hand. Shown on two ranks that swap KV, with durations changed
// one at a time; and that a comparison which cannot be made is refused.
#include "traces/timelines/compare_timelines.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <tuple>

#include "tests/core/json/bad_input.hpp"
#include "tests/traces/timelines/small_run.hpp"
#include "traces/timelines/critical_path.hpp"

namespace strata {
namespace {

Timeline measured_timeline() {
  Timeline timeline = test::small_timeline();
  timeline.source = "cpu";
  return timeline;
}

TimelineComparison compare(const Timeline& predicted, const Timeline& measured,
                           std::int64_t floor_ns = 2000) {
  return compare_timelines(predicted, measured, test::small_programs(), floor_ns);
}

std::string error_of(const Timeline& predicted, const Timeline& measured) {
  return test::input_error([&] { compare(predicted, measured); });
}

ErrorSummary kind(const TimelineComparison& comparison, std::string_view name) {
  for (const KindError& each : comparison.kinds) {
    if (each.kind == name) return each.error;
  }
  ADD_FAILURE() << "no kind " << name;
  return {};
}

TEST(CompareTimelines, APerfectPredictionHasNoError) {
  const TimelineComparison c = compare(test::small_timeline(), measured_timeline());
  EXPECT_EQ(c.matched, 8);
  EXPECT_EQ(c.only_predicted + c.only_measured, 0);
  EXPECT_EQ(c.step, (StepError{44'000, 44'000, 0}));
  ASSERT_EQ(c.kinds.size(), 3U);
  EXPECT_EQ(c.kinds[0].kind, "Attention");
  EXPECT_EQ(c.kinds[0].error, (ErrorSummary{4, 46'000, 46'000, 0, 0, 0, 0}));
  EXPECT_EQ(c.kinds[1].kind, "AttentionBackward");
  EXPECT_EQ(c.kinds[1].error.count, 1) << "the other took 1.5 us, below the floor";
  EXPECT_EQ(c.kinds[2].kind, "Exchange");
  EXPECT_EQ(c.kinds[2].error, (ErrorSummary{2, 20'000, 20'000, 0, 0, 0, 0}))
      << "waiting is not transfer time";
  EXPECT_EQ(c.below_floor, (ErrorSummary{1, 1500, 1500, 0, 0, 0, 0}));
  ASSERT_EQ(c.ranks.size(), 2U);
  EXPECT_EQ(c.ranks[0].error.count, 3);
  EXPECT_EQ(c.ranks[0].measured_end_ns, 34'500);
  EXPECT_EQ(c.ranks[1].measured_end_ns, 44'000);
}

TEST(CompareTimelines, ErrorsArePerKindAndSigned) {
  Timeline measured = measured_timeline();
  measured.events[2].end_ns = 13'000 + 25'000;  // predicted 20,000: 20 % low
  measured.events[4].end_ns = 3000 + 4000;      // predicted 8,000: 100 % high
  measured.events[5].end_ns = 13'000 + 10'000;  // exact
  const ErrorSummary error = kind(compare(test::small_timeline(), measured), "Attention");
  EXPECT_EQ(error.count, 4);
  EXPECT_DOUBLE_EQ(error.median, 0) << "errors 0 0 0.2 1, nearest rank";
  EXPECT_DOUBLE_EQ(error.p95, 1);
  EXPECT_DOUBLE_EQ(error.max, 1);
  EXPECT_DOUBLE_EQ(error.bias, -1000.0 / 47'000.0);
}

TEST(CompareTimelines, ALatePeerIsNotASlowLink) {
  Timeline measured = measured_timeline();
  measured.events[0].matched_ns += 5000;  // rank 1 came 5 us later; the transfer took as long as predicted
  measured.events[0].end_ns += 5000;
  measured.events[3].posted_ns += 5000;
  measured.events[3].matched_ns += 5000;
  measured.events[3].end_ns += 5000;
  EXPECT_DOUBLE_EQ(kind(compare(test::small_timeline(), measured), "Exchange").max, 0);
  measured.events[3].end_ns += 10'000;
  EXPECT_DOUBLE_EQ(kind(compare(test::small_timeline(), measured), "Exchange").max, 0.5);
}

TEST(CompareTimelines, RepeatsAreReducedByTheMedianWithoutTheWarmUp) {
  Timeline measured = measured_timeline();
  const std::vector<TimelineEvent> first = measured.events;
  const std::vector<std::int64_t> durations = {90'000, 21'000, 30'000, 19'000};
  measured.events.clear();
  for (std::size_t repeat = 0; repeat < durations.size(); ++repeat) {
    for (TimelineEvent event : first) {
      event.repeat = static_cast<std::int32_t>(repeat);
      if (event.rank == 0 && event.instruction == 2) event.end_ns = event.posted_ns + durations[repeat];
      if (event.pass == Pass::backward && event.rank == 1)
        event.end_ns += 1000 * static_cast<std::int64_t>(repeat);
      measured.events.push_back(event);
    }
  }
  TimelineComparison c = compare(test::small_timeline(), measured);
  EXPECT_EQ(c.repeats, 3);
  EXPECT_TRUE(c.warm_up_excluded);
  EXPECT_EQ(c.matched, 8);
  EXPECT_DOUBLE_EQ(kind(c, "Attention").max, 1000.0 / 21'000.0) << "median of 21, 30 and 19 us";
  EXPECT_EQ(c.step.measured_ns, 46'000) << "median of 45, 46 and 47 us";

  measured.events.resize(16);  // two repeats: both count
  c = compare(test::small_timeline(), measured);
  EXPECT_EQ(c.repeats, 2);
  EXPECT_FALSE(c.warm_up_excluded);
  EXPECT_DOUBLE_EQ(kind(c, "Attention").max, 35'500.0 / 55'500.0) << "the mean of the middle two";
}

TEST(CompareTimelines, TheCriticalPathGoesThroughTheLateRankToTheEnd) {
  Timeline timeline = measured_timeline();
  timeline.events[7].posted_ns = timeline.events[7].matched_ns = 23'000;
  timeline.events[7].end_ns = 33'000;  // rank 0's backward ends last, at 34.5 us
  // rank 0: backward <- other block <- exchange, which waited for rank 1's, before which rank 1 had nothing.
  const std::vector<std::size_t> path = critical_path(timeline, test::small_programs(), 0);
  EXPECT_EQ(path, (std::vector<std::size_t>{3, 2, 6}));
  Timeline predicted = timeline;
  predicted.source = "simulator";
  predicted.events[2].end_ns -= 10'000;
  const TimelineComparison c = compare(predicted, timeline);
  EXPECT_EQ(c.critical_path.instructions, 3);
  EXPECT_EQ(c.critical_path.gap_ns, 3000) << "before rank 1 was there";
  EXPECT_EQ(c.critical_path.error.count, 3);
  EXPECT_EQ(c.critical_path.error.measured_ns, 10'000 + 20'000 + 1500);
  EXPECT_EQ(c.critical_path.error.predicted_ns, 10'000 + 10'000 + 1500);
  ASSERT_EQ(c.critical_path.kinds.size(), 3U);
  EXPECT_EQ(c.critical_path.kinds[0].kind, "Attention");
  EXPECT_DOUBLE_EQ(c.critical_path.kinds[0].error.max, 0.5);
}

TEST(CompareTimelines, TheFirstInstructionOfAPassFollowsWhatItsRankDidBefore) {
  const std::vector<std::size_t> path = critical_path(test::small_timeline(), test::small_programs(), 0);
  EXPECT_EQ(path, (std::vector<std::size_t>{3, 5, 7})) << "rank 1: exchange, other block, backward";
}

TEST(CompareTimelines, InstructionsOfOneSideOnlyThatAreNotNamedAreStillCounted) {
  for (const std::size_t missing : {4U, 5U, 7U}) {
    Timeline measured = measured_timeline();
    // All repeats of the first instructions.
    const Timeline predicted = test::small_timeline();
    std::erase_if(measured.events, [&](const TimelineEvent& event) {
      return std::any_of(
          predicted.events.begin(), predicted.events.begin() + static_cast<std::ptrdiff_t>(missing),
          [&](const TimelineEvent& gone) {
            return std::tuple(gone.pass, gone.rank, gone.instruction, gone.layer, gone.wave) ==
                   std::tuple(event.pass, event.rank, event.instruction, event.layer, event.wave);
          });
    });
    const TimelineComparison c = compare(predicted, measured);
    ASSERT_EQ(c.only_predicted, static_cast<std::int64_t>(missing));
    const auto unsaid = c.only_predicted - std::ssize(c.unmatched_examples);
    const std::string more = fmt::format("\n  and {} more\n", unsaid);
    EXPECT_EQ(to_text(c).find(more) != std::string::npos, unsaid > 0) << to_text(c);
    EXPECT_EQ(to_text(c).find(" more\n") != std::string::npos, unsaid > 0) << to_text(c);
  }
}

TEST(CompareTimelines, InstructionsOfOneSideOnlyAreCountedAndNamed) {
  Timeline predicted = test::small_timeline(), measured = measured_timeline();
  predicted.events.erase(predicted.events.begin() + 1);
  measured.events.pop_back();
  const TimelineComparison c = compare(predicted, measured);
  EXPECT_EQ(c.matched, 6);
  EXPECT_EQ(c.only_predicted, 1);
  EXPECT_EQ(c.only_measured, 1);
  EXPECT_EQ(c.unmatched_examples,
            (std::vector<std::string>{"only measured: wave 0, layer 0, forward, rank 0, instruction 1",
                                      "only predicted: wave 0, layer 0, backward, rank 1, instruction 0"}));
}

TEST(CompareTimelines, WhatCannotBeComparedIsRefused) {
  Timeline measured = measured_timeline();
  for (TimelineEvent& event : measured.events) event.layer = 1;
  EXPECT_EQ(error_of(test::small_timeline(), measured),
            "timeline \"cpu\": found 8 instructions of which none was predicted, expected some of the 8 of "
            "timeline "
            "\"simulator\"");
  measured = measured_timeline();
  measured.plan_digest = "ffff";
  EXPECT_EQ(error_of(test::small_timeline(), measured),
            "timeline \"cpu\": found plan ffff, expected plan 0123abcd, that of the prediction");
  measured = measured_timeline();
  measured.linear_included = true;
  EXPECT_EQ(
      error_of(test::small_timeline(), measured),
      "timeline \"cpu\": found a measurement with linear work, expected one without it, as the prediction");
  measured = measured_timeline();
  measured.events.clear();
  EXPECT_EQ(error_of(test::small_timeline(), measured),
            "timeline \"cpu\": found no events, expected at least one");
  measured = measured_timeline();
  measured.events.back().instruction = 5;
  EXPECT_NE(error_of(test::small_timeline(), measured).find("instruction 5 of wave 0"), std::string::npos);
}

TEST(CompareTimelines, TheTextFitsAHundredColumns) {
  Timeline measured = measured_timeline();
  measured.events[4].end_ns = measured.events[4].posted_ns;  // measured 0 ns: an enormous relative error
  measured.events[1].end_ns = measured.events[1].posted_ns + 2'000'000'000'000;
  const std::string text = to_text(compare(test::small_timeline(), measured, 0));
  EXPECT_NE(text.find(">9999 %"), std::string::npos);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
  EXPECT_EQ(
      to_text(compare(test::small_timeline(), measured_timeline())),
      "step: predicted 0.044 ms, measured 0.044 ms, +0.0 %  (1 repeat)\n"
      "instructions: 8 matched, 0 only predicted, 0 only measured\n"
      "absolute relative error      count predicted ms  measured ms    median       p95       max      bias\n"
      "Attention                        4        0.046        0.046     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "AttentionBackward                1        0.010        0.010     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "Exchange                         2        0.020        0.020     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "shorter than 2 us                1        0.002        0.002     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "rank 0                           3        0.038        0.038     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "rank 1                           4        0.038        0.038     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "critical path                    3        0.030        0.030     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "  Attention                      1        0.010        0.010     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "  AttentionBackward              1        0.010        0.010     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "  Exchange                       1        0.010        0.010     0.0 %     0.0 %     0.0 %    +0.0 %\n"
      "critical path: 3 instructions, 0.014 ms between them\n");
}

}  // namespace
}  // namespace strata
