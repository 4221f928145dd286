// SPDX-License-Identifier: Apache-2.0
// Seeded inputs are unit normal, belong to (seed, tensor, document, token, head, dimension) alone, and are
// rounded to the storage type before anything uses them.
#include "executor/seeded_tensors.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "executor/kernel_arguments.hpp"
#include "kernels/functors/row_chunks.hpp"

namespace strata {
namespace {

TEST(SeededTensors, AreUnitNormalToTheFourthMomentAndInTheTails) {
  const auto values = seeded_values(1, InputTensor::q, {0, 0, 2000}, {0, 8}, 64, ElementType::f32);
  double first = 0, second = 0, fourth = 0, beyond_two = 0, beyond_four = 0;
  for (const double value : values) {
    first += value;
    second += value * value;
    fourth += value * value * value * value;
    beyond_two += std::abs(value) > 2 ? 1 : 0;
    beyond_four += std::abs(value) > 4 ? 1 : 0;
  }
  const auto count = static_cast<double>(values.size());
  EXPECT_NEAR(first / count, 0, 0.005);
  EXPECT_NEAR(second / count, 1, 0.007);
  EXPECT_NEAR(fourth / count, 3, 0.06);
  EXPECT_NEAR(beyond_two / count, 0.0455, 0.001);
  EXPECT_NEAR(beyond_four / count, 6.33e-5, 3.5e-5);
}

TEST(SeededTensors, DependOnlyOnTheirOwnCoordinates) {
  const auto whole = seeded_values(5, InputTensor::kv, {3, 0, 20}, {0, 4}, 8, ElementType::f32);
  const auto piece = seeded_values(5, InputTensor::kv, {3, 12, 14}, {2, 3}, 8, ElementType::f32);
  for (std::size_t token = 0; token < 2; ++token) {
    for (std::size_t d = 0; d < 8; ++d)
      EXPECT_EQ(piece[token * 8 + d], whole[((12 + token) * 4 + 2) * 8 + d]);
  }
}

TEST(SeededTensors, DifferBetweenSeedsTensorsDocumentsTokensHeadsAndDimensions) {
  std::set<double> values;
  std::size_t count = 0;
  for (const std::uint64_t seed : {0U, 1U}) {
    for (const InputTensor tensor : {InputTensor::q, InputTensor::kv, InputTensor::d_o}) {
      for (const std::int32_t document : {0, 1, 2}) {
        for (const double value :
             seeded_values(seed, tensor, {document, 0, 3}, {0, 3}, 4, ElementType::f32)) {
          values.insert(value);
          ++count;
        }
      }
    }
  }
  // A few of 648 may meet in a 31-bit word; whole rows must not.
  EXPECT_GE(values.size() + 2, count);
}

TEST(SeededTensors, FillRowsOfTheStorageTypeWithTheValuesTheOracleSees) {
  const ModelShape model = [] {
    ModelShape shape;
    shape.query_heads = 3;
    shape.head_dim = 24;
    shape.value_head_dim = 24;
    return shape;
  }();
  const InputShape shape = input_shape(model, InputTensor::q);
  std::vector<float> scratch(72);
  for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
    const TokenSpan span{4, 10, 15};
    std::vector<std::byte> rows(static_cast<std::size_t>(5 * 72 * element_bytes(type)));
    fill_rows(9, InputTensor::q, span, shape, type, rows.data(), scratch);
    const auto expected = seeded_values(9, InputTensor::q, span, {0, 3}, 24, type);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const auto element = kernel_element(type);
      const float value = kernels::load_element(
          rows.data() + static_cast<std::int64_t>(i) * kernels::element_bytes(element), element);
      ASSERT_EQ(static_cast<double>(value), expected[i]) << i;
    }
  }
}

}  // namespace
}  // namespace strata
