// SPDX-License-Identifier: Apache-2.0
// When layers count as alike, and what one more adds.
#include "cost_models/simulator/steady_layers.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "core/base/check.hpp"

namespace strata {
namespace {

constexpr std::int32_t kLayers = 8;
using Increment =
    std::function<std::int64_t(std::size_t wave, Pass pass, std::int32_t order, std::size_t rank)>;

/// Every pass-layer of a rank takes what `increment` says; it is busy for half of it and waits for a quarter.
LayerMarks marks_of(std::size_t waves, std::size_t ranks, const Increment& increment) {
  LayerMarks marks(waves, kLayers, ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    LayerMark mark;
    for (std::size_t wave = 0; wave < waves; ++wave) {
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        for (std::int32_t order = 0; order < kLayers; ++order) {
          const std::int64_t ns = increment(wave, pass, order, rank);
          mark.end_ns += ns, mark.busy_ns += ns / 2, mark.exposed_ns += ns / 4;
          marks.at(wave, pass, order, rank) = mark;
        }
      }
    }
  }
  return marks;
}

std::optional<LayerGrowth> steady(const LayerMarks& marks) { return steady_growth(marks, false); }

TEST(SteadyLayers, EqualIncrementsOfAllWavesAndPassesAddUp) {
  const auto growth = steady(marks_of(2, 2, [](std::size_t wave, Pass pass, std::int32_t, std::size_t) {
    return (wave == 0 ? 1000 : 3000) + (pass == Pass::forward ? 0 : 4000);
  }));
  ASSERT_TRUE(growth.has_value());
  // Four layers of 1000, 5000, 3000 and 7000.
  EXPECT_EQ(growth->layers, 4);
  for (const LayerGrowth::Rank& rank : growth->ranks) {
    EXPECT_EQ(rank.end_ns, 4 * 16'000);
    EXPECT_EQ(rank.forward_ns, 4 * 4'000);
    EXPECT_EQ(rank.busy_ns, 4 * 8'000);
    EXPECT_EQ(rank.exposed_ns, 4 * 4'000);
  }
}

TEST(SteadyLayers, OnlyRanksThatAreApartMayHaveRhythmsOfTheirOwn) {
  const LayerMarks marks = marks_of(1, 3, [](std::size_t, Pass, std::int32_t, std::size_t rank) {
    return 1000 * static_cast<std::int64_t>(rank);
  });
  EXPECT_FALSE(steady_growth(marks, false).has_value());
  const auto growth = steady_growth(marks, true);
  ASSERT_TRUE(growth.has_value());
  EXPECT_EQ(growth->ranks.at(0).end_ns, 0) << "a rank without work stays where it is";
  EXPECT_EQ(growth->ranks.at(2).end_ns, 2 * 4 * 2'000);
}

TEST(SteadyLayers, FirstLayersMayDiffer) {
  EXPECT_TRUE(steady(marks_of(1, 1, [](std::size_t, Pass, std::int32_t order, std::size_t) {
                return order < kLayers - kSteadyIncrements ? 7000 - 900 * order : 5000;
              })).has_value());
}

TEST(SteadyLayers, OneIncrementThatDiffersIsEnoughToSayNo) {
  for (const Pass unsteady : {Pass::forward, Pass::backward}) {
    for (std::int32_t order = kLayers - kSteadyIncrements; order < kLayers; ++order) {
      const auto differs = [&](std::int64_t by) {
        return !steady(marks_of(2, 3, [&](std::size_t wave, Pass pass, std::int32_t at, std::size_t rank) {
                  const bool here = wave == 1 && pass == unsteady && at == order && rank == 2;
                  return std::int64_t{100'000} + (here ? by : 0);
                })).has_value();
      };
      EXPECT_TRUE(differs(1000)) << order;
      EXPECT_TRUE(differs(-1000)) << order;
      EXPECT_FALSE(differs(90)) << order;
    }
  }
}

TEST(SteadyLayers, ARhythmOfTwoOrThreeIsNotSteady) {
  for (const std::int32_t period : {2, 3}) {
    EXPECT_FALSE(steady(marks_of(1, 1, [&](std::size_t, Pass, std::int32_t order, std::size_t) {
                   return order % period == 0 ? 1100 : 1000;
                 })).has_value());
  }
}

TEST(SteadyLayers, ThirdsOfANanosecondCountAsEqual) {
  EXPECT_TRUE(steady(marks_of(1, 1, [](std::size_t, Pass, std::int32_t order, std::size_t) {
                return order % 3 == 0 ? 18 : 17;
              })).has_value());
}

TEST(SteadyLayers, GrowthIsAddedLayerByLayerWithoutLosingAFraction) {
  EXPECT_EQ(grown(10, 4 * 7, 4, 5), 10 + 35);
  EXPECT_EQ(grown(10, 7, 4, 4), 17);
  EXPECT_EQ(grown(10, 7, 4, 2), 13) << "3.5 rounded down";
  EXPECT_THROW(grown(0, std::int64_t{1} << 60, 4, 1 << 20), InputError);
}

}  // namespace
}  // namespace strata
