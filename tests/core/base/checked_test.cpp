// SPDX-License-Identifier: Apache-2.0
// Sizes do not wrap: sums and products that do not fit stay above every limit, alone and inside the unit
// types.
#include "core/base/checked.hpp"

#include <gtest/gtest.h>

#include <random>

#include "core/base/check.hpp"
#include "core/base/units.hpp"
#include "core/lowering/lower.hpp"
#include "core/verify/verify_schedule.hpp"

namespace strata {
namespace {

constexpr std::int64_t kHalf = std::int64_t{1} << 62;

TEST(Checked, SumsAndProductsThatDoNotFitAreUncountable) {
  EXPECT_EQ(checked_sum(kHalf, kHalf - 2), kUncountable - 1);
  EXPECT_EQ(checked_sum(kHalf, kHalf), kUncountable);
  EXPECT_EQ(checked_sum(kUncountable, 1), kUncountable);
  EXPECT_EQ(checked_product(kHalf, 2), kUncountable);
  EXPECT_EQ(checked_product(kHalf, 1), kHalf);
  EXPECT_EQ(checked_product(kUncountable, 0), 0);
  EXPECT_EQ(checked_product(3, 5, 7), 105);
  EXPECT_EQ(checked_product(kHalf, 4, 1), kUncountable);
}

TEST(Checked, AgreesWithWideArithmeticOnRandomNumbers) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10'000; ++i) {
    const auto a = static_cast<std::int64_t>(random() >> (1 + random() % 62));
    const auto b = static_cast<std::int64_t>(random() >> (1 + random() % 62));
    const auto wide = static_cast<long double>(a) * static_cast<long double>(b);
    const bool fits = wide < static_cast<long double>(kUncountable);
    EXPECT_EQ(checked_product(a, b) == kUncountable, !fits) << a << " x " << b;
    if (fits) {
      EXPECT_EQ(checked_product(a, b), a * b);
    }
  }
}

TEST(Checked, BytesAndDurationsStayUncountable) {
  Bytes bytes{kHalf};
  bytes += Bytes{kHalf};
  EXPECT_EQ(bytes, Bytes{kUncountable});
  EXPECT_EQ(bytes * 3, Bytes{kUncountable});
  EXPECT_EQ(Bytes{5} * 3 + Bytes{1}, Bytes{16});
  EXPECT_EQ(Duration{kHalf} * 8, Duration{kUncountable});
}

TEST(Checked, ATotalThatDoesNotFitEqualsNothing) {
  Total total;
  total.add(kHalf, 1);
  EXPECT_TRUE(total.is(kHalf));
  total.add(kHalf, 1);
  EXPECT_FALSE(total.fits());
  EXPECT_FALSE(total.is(total.value()));
  EXPECT_EQ(total.text(), "more than 2^63 - 1");
}

TEST(Checked, ABufferOfTheLargestHeadsDoesNotWrapToNothing) {
  Buffer buffer;
  buffer.rows = 2'147'483'647;
  buffer.heads = {0, 4096};
  buffer.width = 1 << 20;
  buffer.type = ElementType::f32;
  EXPECT_EQ(buffer.row_bytes(), std::int64_t{1} << 34);
  EXPECT_EQ(buffer.bytes(), Bytes{kUncountable});
}

/// One document on one rank.
Wave whole_document(std::int64_t tokens, const ModelShape& model) {
  Wave wave;
  const auto length = static_cast<std::int32_t>(tokens);
  wave.documents = {0};
  wave.lengths = {tokens};
  wave.placement.spans = {{{0, 0, length}}};
  wave.groups = {{{0}, {}, {0}}};
  wave.schedule.steps.resize(1);
  wave.schedule.steps[0].tasks = {{0, {0, 0, length}, {0, 0, length}, {0, model.query_heads}}};
  return wave;
}

TEST(Checked, LoweringRefusesWhatNoArenaCanHold) {
  ModelShape model = named_model("tiny");
  EXPECT_NO_THROW(lower_wave(whole_document(100, model), model));
  model.query_heads = model.kv_heads = 4096;
  model.head_dim = model.value_head_dim = 1 << 20;
  try {
    lower_wave(whole_document(2'147'483'647, model), model);
    FAIL() << "lowered";
  } catch (const UncountableError& error) {
    EXPECT_STREQ(error.what(),
                 "rank 0: found buffers of more than 2 EiB for one layer, expected fewer tokens or heads, or "
                 "smaller dimensions of a head");
  }
}

TEST(Checked, LimitsOfTheVerifierAreNamedBeforeAWaveIsMade) {
  ModelShape model = named_model("tiny");
  EXPECT_EQ(beyond_limits({0, 8191}, model, 8192), std::nullopt);
  const auto many = beyond_limits({5, 8197}, model, 8192);
  ASSERT_TRUE(many.has_value());
  EXPECT_EQ(many->rule, "documents");
  model.attention = AttentionKind::window;
  model.window = std::numeric_limits<std::int64_t>::max();
  const auto window = beyond_limits({0}, model, 1);
  ASSERT_TRUE(window.has_value());
  EXPECT_EQ(window->rule, "model");
}

}  // namespace
}  // namespace strata
