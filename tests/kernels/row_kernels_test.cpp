// SPDX-License-Identifier: Apache-2.0
// Shows the row kernels right against loops over doubles, on every instruction set: strides and ragged
// widths, bf16 rounding for every bit pattern class, and the algebra of merging partial outputs.
#include "kernels/row_kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cpu_features.hpp"

namespace strata::kernels {
namespace {

class RowKernels : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    best_ = instruction_set();
    ASSERT_TRUE(select_instruction_set(GetParam()));
  }
  void TearDown() override { select_instruction_set(best_); }

  std::vector<float> random(std::size_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = normal(generator_);
    return values;
  }

  std::mt19937 generator_{23};

 private:
  std::string best_;
};

constexpr float kEmpty = -INFINITY;

TEST_P(RowKernels, CopiesHeadSlicesBetweenArraysOfDifferentWidthAndNothingElse) {
  const std::vector<float> source = random(5 * 12);  // [5, 4 heads, 3]
  std::vector<float> packed(5 * 6, 99.0F);           // heads 1 and 2 of each row
  copy_rows(packed.data(), 6 * 4, source.data() + 3, 12 * 4, 6 * 4, 5);
  std::vector<float> unpacked(5 * 12, 99.0F);
  copy_rows(unpacked.data() + 3, 12 * 4, packed.data(), 6 * 4, 6 * 4, 5);
  for (std::size_t i = 0; i < source.size(); ++i) {
    const bool inside = i % 12 >= 3 && i % 12 < 9;
    EXPECT_EQ(unpacked[i], inside ? source[i] : 99.0F);
  }
}

TEST_P(RowKernels, StreamsExactlyWhatCopyCopiesWhateverTheLengthAndAlignment) {
  const std::int64_t lengths[] = {0, 1, 63, 64, 65, 127, 512, 4095, 32768, 32769, 40000, 70001};
  std::vector<unsigned char> source(200'000), copied(200'000), streamed(200'000);
  for (unsigned char& byte : source) byte = static_cast<unsigned char>(generator_());
  for (const std::int64_t bytes : lengths) {
    for (const std::int64_t rows : {1, 2}) {
      for (const auto& [to, from, gap] :
           {std::tuple(0, 0, 0), {3, 0, 0}, {0, 5, 7}, {64, 1, 64}, {61, 62, 1}}) {
        std::fill(copied.begin(), copied.end(), static_cast<unsigned char>(0xAA));
        std::fill(streamed.begin(), streamed.end(), static_cast<unsigned char>(0xAA));
        copy_rows(copied.data() + to, bytes + gap, source.data() + from, bytes, bytes, rows);
        stream_rows(streamed.data() + to, bytes + gap, source.data() + from, bytes, bytes, rows);
        EXPECT_TRUE(streamed == copied)
            << rows << " rows of " << bytes << " bytes from " << from << " to " << to;
      }
    }
  }
}

TEST_P(RowKernels, ConvertsWithRoundingToNearestEvenForEveryKindOfValue) {
  std::vector<float> values = {0.0F, -0.0F, INFINITY, -INFINITY, 1.0F, 3.4e38F, 1e-40F, NAN};
  for (const std::uint32_t bits :
       {0x3F808000U, 0x3F818000U, 0x3F808001U, 0x3F807FFFU, 0x7F7FFFFFU, 0x7F800001U}) {
    values.push_back(
        std::bit_cast<float>(bits));  // ties to even both ways, just above, just below, overflow, NaN
  }
  const std::vector<float> more = random(40);
  values.insert(values.end(), more.begin(), more.end());
  const auto count = static_cast<std::int64_t>(values.size());
  std::vector<std::uint16_t> narrow(values.size());
  std::vector<float> wide(values.size());
  convert_rows(narrow.data(), Element::bf16, count, values.data(), Element::f32, count, count, 1);
  convert_rows(wide.data(), Element::f32, count, narrow.data(), Element::bf16, count, count, 1);
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(narrow[i], to_bf16(values[i])) << i;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::uint32_t{narrow[i]} << 16) << i;
    EXPECT_EQ(std::isnan(wide[i]), std::isnan(values[i])) << i;
  }
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808000U)), 0x3F80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F818000U)), 0x3F82);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3F808001U)), 0x3F81);
}

TEST_P(RowKernels, AddsRowsOfBothElementsWithStrides) {
  for (const std::int64_t columns : {1, 4, 7, 16, 37}) {
    const auto width = static_cast<std::size_t>(columns);
    const std::vector<float> source = random(3 * (width + 2));
    std::vector<std::uint16_t> half;
    half.reserve(source.size());
    for (const float value : source) half.push_back(to_bf16(value));
    const std::vector<float> before = random(3 * (width + 1));
    std::vector<float> sum = before;
    add_rows(sum.data(), columns + 1, source.data(), Element::f32, columns + 2, columns, 3);
    std::vector<float> half_sum = before;
    add_rows(half_sum.data(), columns + 1, half.data(), Element::bf16, columns + 2, columns, 3);
    for (std::size_t r = 0; r < 3; ++r) {
      for (std::size_t c = 0; c < width; ++c) {
        EXPECT_EQ(sum[r * (width + 1) + c], before[r * (width + 1) + c] + source[r * (width + 2) + c]);
        EXPECT_EQ(half_sum[r * (width + 1) + c],
                  before[r * (width + 1) + c] + from_bf16(half[r * (width + 2) + c]));
      }
      EXPECT_EQ(sum[r * (width + 1) + width], before[r * (width + 1) + width]);
    }
  }
}

TEST_P(RowKernels, DeltaIsTheRowSumOfProducts) {
  for (const std::int64_t dim : {1, 8, 19, 128}) {
    const auto width = static_cast<std::size_t>(dim);
    const std::vector<float> a = random(6 * width);
    const std::vector<float> b = random(6 * width);
    std::vector<std::uint16_t> half;
    half.reserve(b.size());
    for (const float value : b) half.push_back(to_bf16(value));
    std::vector<float> delta(6), half_delta(6);
    compute_delta(delta.data(), a.data(), Element::f32, b.data(), Element::f32, 3, 2, dim);
    compute_delta(half_delta.data(), a.data(), Element::f32, half.data(), Element::bf16, 3, 2, dim);
    for (std::size_t i = 0; i < 6; ++i) {
      double sum = 0;
      double half_sum = 0;
      double absolute = 0;
      for (std::size_t c = 0; c < width; ++c) {
        sum += static_cast<double>(a[i * width + c]) * static_cast<double>(b[i * width + c]);
        half_sum +=
            static_cast<double>(a[i * width + c]) * static_cast<double>(from_bf16(half[i * width + c]));
        absolute += std::abs(static_cast<double>(a[i * width + c]) * static_cast<double>(b[i * width + c]));
      }
      EXPECT_NEAR(delta[i], sum, 1e-6 * absolute);
      EXPECT_NEAR(half_delta[i], half_sum, 1e-6 * absolute);
    }
  }
}

/// Parts of one [rows, heads, dim] output with their lse.
struct Parts {
  std::vector<std::vector<float>> out, lse;

  [[nodiscard]] std::vector<PartialOutput> views() const {
    std::vector<PartialOutput> parts;
    for (std::size_t p = 0; p < out.size(); ++p) parts.push_back({out[p].data(), lse[p].data()});
    return parts;
  }
};

struct Merged {
  std::vector<float> out, lse;
};

Merged merge(const std::vector<PartialOutput>& parts, std::int64_t rows, std::int64_t heads,
             std::int64_t dim) {
  Merged merged{std::vector<float>(static_cast<std::size_t>(rows * heads * dim)),
                std::vector<float>(static_cast<std::size_t>(rows * heads))};
  merge_partials({merged.out.data(), merged.lse.data()}, parts, rows, heads, dim);
  return merged;
}

TEST_P(RowKernels, MergeEqualsTheFormulaInDoublePrecision) {
  for (const std::int64_t dim : {1, 5, 16, 64}) {
    for (const float spread : {0.0F, 1.0F, 30.0F, 1e4F}) {
      Parts parts;
      for (int p = 0; p < 5; ++p) {
        parts.out.push_back(random(static_cast<std::size_t>(6 * dim)));
        parts.lse.push_back(random(6));
        for (float& value : parts.lse.back()) value *= spread;
      }
      parts.lse[1][2] = kEmpty;
      const Merged merged = merge(parts.views(), 3, 2, dim);
      for (std::size_t i = 0; i < 6; ++i) {
        double peak = -INFINITY;
        for (const auto& lse : parts.lse) peak = std::max(peak, static_cast<double>(lse[i]));
        double total = 0;
        for (const auto& lse : parts.lse) total += std::exp(static_cast<double>(lse[i]) - peak);
        EXPECT_NEAR(merged.lse[i], peak + std::log(total), 1e-6 * (1.0 + std::abs(peak)));
        for (std::size_t c = 0; c < static_cast<std::size_t>(dim); ++c) {
          double sum = 0;
          for (std::size_t p = 0; p < 5; ++p) {
            const double weight = std::exp(static_cast<double>(parts.lse[p][i]) - peak) / total;
            sum += weight * static_cast<double>(parts.out[p][i * static_cast<std::size_t>(dim) + c]);
          }
          EXPECT_NEAR(merged.out[i * static_cast<std::size_t>(dim) + c], sum, 2e-6);
        }
      }
    }
  }
}

TEST_P(RowKernels, MergeHasAnIdentityAndIsPermutableWithinRounding) {
  Parts parts;
  for (int p = 0; p < 4; ++p) {
    parts.out.push_back(random(8));
    parts.lse.push_back(random(1));
  }
  const Merged forward = merge(parts.views(), 1, 1, 8);
  std::vector<PartialOutput> views = parts.views();
  std::reverse(views.begin(), views.end());
  const Merged backward = merge(views, 1, 1, 8);
  EXPECT_NEAR(forward.lse[0], backward.lse[0], 1e-6);
  for (std::size_t c = 0; c < 8; ++c) EXPECT_NEAR(forward.out[c], backward.out[c], 1e-6);
  // Pairwise equals all at once.
  const Merged left = merge({parts.views()[0], parts.views()[1]}, 1, 1, 8);
  const Merged right = merge({parts.views()[2], parts.views()[3]}, 1, 1, 8);
  const Merged nested =
      merge({{left.out.data(), left.lse.data()}, {right.out.data(), right.lse.data()}}, 1, 1, 8);
  for (std::size_t c = 0; c < 8; ++c) EXPECT_NEAR(nested.out[c], forward.out[c], 1e-6);
  // An empty part changes not one bit, and its output is never read.
  const std::vector<float> poison(8, NAN);
  views = {parts.views()[0], {poison.data(), &kEmpty}};
  const Merged same = merge(views, 1, 1, 8);
  EXPECT_EQ(same.out, parts.out[0]);
  EXPECT_EQ(same.lse, parts.lse[0]);
}

TEST_P(RowKernels, MergeOfEmptyPartsIsZeroAndMinusInfinity) {
  const std::vector<float> poison(8, NAN);
  const Merged merged = merge({{poison.data(), &kEmpty}, {poison.data(), &kEmpty}}, 1, 1, 8);
  EXPECT_EQ(merged.lse[0], kEmpty);
  EXPECT_EQ(merged.out, std::vector<float>(8, 0.0F));
}

TEST_P(RowKernels, MergesInPlaceWithStridesAndStoresBf16) {
  std::vector<float> whole = random(2 * 20);  // rows of 20: two heads of 8 start at column 2
  const std::vector<float> original = whole;
  std::vector<float> whole_lse = {0.5F, 1.5F, 9.0F, 2.5F, 3.5F, 9.0F};  // rows of 3
  const std::vector<float> other = random(2 * 16);
  const std::vector<float> other_lse = random(4);
  std::vector<std::uint16_t> half(32);
  std::vector<float> half_lse(4);
  const std::vector<PartialOutput> parts = {{whole.data() + 2, whole_lse.data(), Element::f32, 20, 3},
                                            {other.data(), other_lse.data()}};
  merge_partials({half.data(), half_lse.data(), Element::bf16}, parts, 2, 2, 8);
  merge_partials({whole.data() + 2, whole_lse.data(), Element::f32, 20, 3}, parts, 2, 2, 8);
  for (std::size_t r = 0; r < 2; ++r) {
    for (std::size_t c = 0; c < 20; ++c) {
      if (c < 2 || c >= 18) {
        EXPECT_EQ(whole[r * 20 + c], original[r * 20 + c]);
      } else {
        EXPECT_EQ(half[r * 16 + c - 2], to_bf16(whole[r * 20 + c]));
      }
    }
    EXPECT_EQ(whole_lse[r * 3 + 2], 9.0F);
    EXPECT_EQ(half_lse[r * 2], whole_lse[r * 3]);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryInstructionSet, RowKernels, ::testing::ValuesIn(available_instruction_sets()),
                         [](const auto& name) { return name.param; });

}  // namespace
}  // namespace strata::kernels
