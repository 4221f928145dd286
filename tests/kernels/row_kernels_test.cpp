// SPDX-License-Identifier: Apache-2.0
// Shows the row kernels right against loops over doubles, on every instruction set: strides and ragged
// widths, rounding for every bit pattern class, and the algebra of merging partial outputs.
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
#include "kernels/functors/row_chunks.hpp"

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
constexpr Element kHalves[] = {Element::bf16, Element::f16};

std::uint16_t to_bf16(float value) { return half_bits(value, Element::bf16); }

std::vector<std::uint16_t> halves(const std::vector<float>& values, Element element) {
  std::vector<std::uint16_t> result;
  result.reserve(values.size());
  for (const float value : values) result.push_back(half_bits(value, element));
  return result;
}

/// The definition of binary16: 5 bits of exponent, 10 of fraction, the lowest exponent without a leading one.
double value_of_half(std::uint16_t bits) {
  const double sign = (bits & 0x8000U) != 0 ? -1 : 1;
  const int exponent = (bits >> 10) & 31;
  const double fraction = (bits & 0x3FFU) / 1024.0;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  return sign * (exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15));
}

/// The nearest half of a number: rounded to the step of its binade, ties to even, in doubles.
std::uint16_t nearest_half(double value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000U : 0U;
  const double magnitude = std::abs(value);
  if (magnitude == 0) return sign;
  const int exponent = std::max(magnitude >= 65536 ? 16 : std::ilogb(magnitude), -14);
  const double steps = exponent == 16 ? 2048 : std::nearbyint(std::ldexp(magnitude, 10 - exponent));
  if (exponent == 16 || (exponent == 15 && steps == 2048)) return sign | 0x7C00U;
  // 1024 steps reach the next binade; of the lowest one the bits are the steps themselves.
  return static_cast<std::uint16_t>(sign + (exponent + 14) * 1024 + static_cast<int>(steps));
}

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

TEST_P(RowKernels, StreamsOneValueIntoExactlyTheFloatsAskedFor) {
  for (const std::int64_t count : {0, 1, 15, 16, 17, 100, 5000}) {
    for (const std::size_t begin : {0U, 1U, 15U, 16U}) {
      std::vector<float> filled(6000, 1.0F);
      std::vector<float> expected = filled;
      stream_fill(filled.data() + begin, kEmpty, count);
      std::fill_n(expected.data() + begin, count, kEmpty);
      EXPECT_TRUE(filled == expected) << count << " floats from " << begin;
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

TEST_P(RowKernels, WidensEveryHalfToTheValueOfItsDefinition) {
  std::vector<std::uint16_t> every(0x10000);
  for (std::size_t bits = 0; bits < every.size(); ++bits) every[bits] = static_cast<std::uint16_t>(bits);
  std::vector<float> wide(every.size());
  std::vector<std::uint16_t> back(every.size());
  // 13 elements a row: whole vectors and ragged ends.
  const auto rows = std::ssize(every) / 13;
  convert_rows(wide.data(), Element::f32, 13, every.data(), Element::f16, 13, 13, rows);
  convert_rows(wide.data() + 13 * rows, Element::f32, 16, every.data() + 13 * rows, Element::f16, 16,
               std::ssize(every) - 13 * rows, 1);
  const auto count = std::ssize(every);
  convert_rows(back.data(), Element::f16, count, wide.data(), Element::f32, count, count, 1);
  for (std::size_t i = 0; i < every.size(); ++i) {
    const double expected = value_of_half(every[i]);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(wide[i])) << i;
      EXPECT_EQ(back[i], every[i] | 0x200U) << "a NaN keeps its sign and payload, and is quiet";
      EXPECT_EQ(std::signbit(wide[i]), i >= 0x8000) << i;
    } else {
      EXPECT_EQ(std::bit_cast<std::uint64_t>(static_cast<double>(wide[i])),
                std::bit_cast<std::uint64_t>(expected))
          << i;
      EXPECT_EQ(back[i], every[i]);
    }
    EXPECT_EQ(std::bit_cast<std::uint32_t>(wide[i]),
              std::bit_cast<std::uint32_t>(load_element(&every[i], Element::f16)));
  }
}

TEST_P(RowKernels, RoundsToTheNearestHalfBesideEveryTieAndAnywhere) {
  std::vector<float> values = {65519.0F, 65519.998F,      65520.0F, 65536.0F, 1e9F, INFINITY,
                               0x1p-25F, 0x1.000002p-25F, 0x1p-26F, 1e-40F,   0.0F};
  for (std::uint16_t bits = 0; bits < 0x7BFF; ++bits) {
    const auto low = static_cast<float>(value_of_half(bits));
    const auto high = static_cast<float>(value_of_half(static_cast<std::uint16_t>(bits + 1)));
    const float middle = (low + high) / 2;
    for (const float value : {middle, std::nextafter(middle, low), std::nextafter(middle, high)}) {
      values.push_back(value);
    }
  }
  for (int i = 0; i < 100'000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(generator_()));
    if (!std::isnan(value)) values.push_back(value);
  }
  const std::size_t positive = values.size();
  for (std::size_t i = 0; i < positive; ++i) values.push_back(-values[i]);
  const auto count = std::ssize(values);
  std::vector<std::uint16_t> narrow(values.size());
  convert_rows(narrow.data(), Element::f16, count, values.data(), Element::f32, count, count, 1);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(narrow[i], nearest_half(static_cast<double>(values[i]))) << std::hexfloat << values[i];
    ASSERT_EQ(narrow[i], half_bits(values[i], Element::f16)) << std::hexfloat << values[i];
  }
}

TEST_P(RowKernels, NarrowsNaNToTheSameQuietHalfInVectorsAndAtRaggedEnds) {
  std::vector<float> values;
  for (const std::uint32_t bits :
       {0x7F800001U, 0x7FC00000U, 0xFF800001U, 0xFFC00000U, 0x7FFFFFFFU, 0x7F802000U}) {
    for (int i = 0; i < 17; ++i) values.push_back(std::bit_cast<float>(bits));
  }
  const std::uint16_t expected[] = {0x7E00, 0x7E00, 0xFE00, 0xFE00, 0x7FFF, 0x7E01};
  std::vector<std::uint16_t> narrow(values.size());
  convert_rows(narrow.data(), Element::f16, 17, values.data(), Element::f32, 17, 17, 6);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(narrow[i], expected[i / 17]) << i;
}

TEST_P(RowKernels, ConvertsBetweenTheSixteenBitTypesAsThroughFp32) {
  const std::vector<float> values = random(37);
  for (const auto& [from, to] :
       {std::pair(Element::bf16, Element::f16), std::pair(Element::f16, Element::bf16)}) {
    const std::vector<std::uint16_t> source = halves(values, from);
    std::vector<std::uint16_t> target(source.size());
    convert_rows(target.data(), to, 37, source.data(), from, 37, 37, 1);
    for (std::size_t i = 0; i < source.size(); ++i) {
      EXPECT_EQ(target[i], half_bits(load_element(&source[i], from), to));
    }
  }
}

TEST_P(RowKernels, AddsRowsOfEveryElementWithStrides) {
  for (const std::int64_t columns : {1, 4, 7, 16, 37}) {
    const auto width = static_cast<std::size_t>(columns);
    const std::vector<float> source = random(3 * (width + 2));
    const std::vector<float> before = random(3 * (width + 1));
    std::vector<float> sum = before;
    add_rows(sum.data(), columns + 1, source.data(), Element::f32, columns + 2, columns, 3);
    for (std::size_t r = 0; r < 3; ++r) {
      for (std::size_t c = 0; c < width; ++c) {
        EXPECT_EQ(sum[r * (width + 1) + c], before[r * (width + 1) + c] + source[r * (width + 2) + c]);
      }
      EXPECT_EQ(sum[r * (width + 1) + width], before[r * (width + 1) + width]);
    }
    for (const Element element : kHalves) {
      const std::vector<std::uint16_t> half = halves(source, element);
      std::vector<float> half_sum = before;
      add_rows(half_sum.data(), columns + 1, half.data(), element, columns + 2, columns, 3);
      for (std::size_t r = 0; r < 3; ++r) {
        for (std::size_t c = 0; c < width; ++c) {
          EXPECT_EQ(half_sum[r * (width + 1) + c],
                    before[r * (width + 1) + c] + load_element(&half[r * (width + 2) + c], element));
        }
        EXPECT_EQ(half_sum[r * (width + 1) + width], before[r * (width + 1) + width]);
      }
    }
  }
}

TEST_P(RowKernels, DeltaIsTheRowSumOfProducts) {
  for (const std::int64_t dim : {1, 8, 19, 128}) {
    const auto width = static_cast<std::size_t>(dim);
    const std::vector<float> a = random(6 * width);
    const std::vector<float> b = random(6 * width);
    for (const Element first : {Element::f32, Element::bf16, Element::f16}) {
      for (const Element second : {Element::f32, Element::bf16, Element::f16}) {
        const std::vector<std::uint16_t> half_a = halves(a, first);
        const std::vector<std::uint16_t> half_b = halves(b, second);
        const void* grad_out = first == Element::f32 ? static_cast<const void*>(a.data()) : half_a.data();
        const void* out = second == Element::f32 ? static_cast<const void*>(b.data()) : half_b.data();
        std::vector<float> delta(6);
        compute_delta(delta.data(), grad_out, first, out, second, 3, 2, dim);
        for (std::size_t i = 0; i < 6; ++i) {
          double sum = 0;
          double absolute = 0;
          for (std::size_t c = i * width; c < (i + 1) * width; ++c) {
            const float x = first == Element::f32 ? a[c] : load_element(&half_a[c], first);
            const float y = second == Element::f32 ? b[c] : load_element(&half_b[c], second);
            sum += static_cast<double>(x) * static_cast<double>(y);
            absolute += std::abs(static_cast<double>(x) * static_cast<double>(y));
          }
          EXPECT_NEAR(delta[i], sum, 1e-6 * absolute);
        }
      }
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

TEST_P(RowKernels, MergesPartsOfOneAndOfSeveralElements) {
  constexpr Element kElements[] = {Element::f32, Element::bf16, Element::f16};
  for (const std::int64_t dim : {5, 37}) {
    Parts parts;
    for (int p = 0; p < 3; ++p) {
      parts.out.push_back(random(static_cast<std::size_t>(6 * dim)));
      parts.lse.push_back(random(6));
    }
    for (int mix = 0; mix < 27; ++mix) {
      const Element elements[] = {kElements[mix % 3], kElements[mix / 3 % 3], kElements[mix / 9]};
      Parts wide = parts;
      std::vector<std::vector<std::uint16_t>> half(3);
      std::vector<PartialOutput> views = parts.views();
      for (std::size_t p = 0; p < 3; ++p) {
        if (elements[p] == Element::f32) continue;
        half[p] = halves(parts.out[p], elements[p]);
        for (std::size_t i = 0; i < half[p].size(); ++i) {
          wide.out[p][i] = load_element(&half[p][i], elements[p]);
        }
        views[p].out = half[p].data();
        views[p].element = elements[p];
      }
      const Merged merged = merge(views, 3, 2, dim);
      const Merged expected = merge(wide.views(), 3, 2, dim);
      EXPECT_EQ(merged.lse, expected.lse);
      for (std::size_t i = 0; i < merged.out.size(); ++i) EXPECT_NEAR(merged.out[i], expected.out[i], 1e-6);
    }
  }
}

TEST_P(RowKernels, MergesInPlaceWithStridesAndStoresSixteenBits) {
  std::vector<float> whole = random(2 * 20);  // rows of 20: two heads of 8 start at column 2
  const std::vector<float> original = whole;
  std::vector<float> whole_lse = {0.5F, 1.5F, 9.0F, 2.5F, 3.5F, 9.0F};  // rows of 3
  const std::vector<float> other = random(2 * 16);
  const std::vector<float> other_lse = random(4);
  std::vector<std::uint16_t> half[2] = {std::vector<std::uint16_t>(32), std::vector<std::uint16_t>(32)};
  std::vector<float> half_lse(4);
  const std::vector<PartialOutput> parts = {{whole.data() + 2, whole_lse.data(), Element::f32, 20, 3},
                                            {other.data(), other_lse.data()}};
  for (std::size_t h = 0; h < 2; ++h) {
    merge_partials({half[h].data(), half_lse.data(), kHalves[h]}, parts, 2, 2, 8);
  }
  merge_partials({whole.data() + 2, whole_lse.data(), Element::f32, 20, 3}, parts, 2, 2, 8);
  for (std::size_t r = 0; r < 2; ++r) {
    for (std::size_t c = 0; c < 20; ++c) {
      if (c < 2 || c >= 18) {
        EXPECT_EQ(whole[r * 20 + c], original[r * 20 + c]);
      } else {
        for (std::size_t h = 0; h < 2; ++h) {
          EXPECT_EQ(half[h][r * 16 + c - 2], half_bits(whole[r * 20 + c], kHalves[h]));
        }
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
