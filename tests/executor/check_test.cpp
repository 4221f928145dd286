// SPDX-License-Identifier: Apache-2.0
// The check itself cannot pass by accident: good results pass in both modes, and one wrong row, one NaN or a
// small systematic error in a gradient fails, at the place where it is.
#include "executor/check.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "executor/check_detail.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "tests/executor/hand_programs.hpp"

namespace strata {
namespace {

using testing::two_rank_execution;

struct Case {
  Execution execution;
  RunResult result;
};

Case good_case(ElementType type, std::int64_t first_rows = 300, std::int64_t second_rows = 250) {
  Case result{two_rank_execution(type, {.first_rows = first_rows, .second_rows = second_rows}), {}};
  CpuOptions options;
  options.threads = 2;
  options.seed = 3;
  result.result = run_on_cpu(result.execution, options);
  return result;
}

CheckReport check(const Case& what, CheckMode mode) {
  CheckOptions options;
  options.mode = mode;
  options.threads = 2;
  options.seed = 3;
  return check_results(what.execution, what.result.results, options);
}

const CheckedTensor& tensor_of(const CheckReport& report, const std::string& name) {
  for (const CheckedTensor& tensor : report.tensors) {
    if (tensor.tensor == name) return tensor;
  }
  throw std::out_of_range(name);
}

float get(const std::vector<std::byte>& values, std::size_t index) {
  float value = 0;
  std::memcpy(&value, values.data() + 4 * index, 4);
  return value;
}
void set(std::vector<std::byte>& values, std::size_t index, float value) {
  std::memcpy(values.data() + 4 * index, &value, 4);
}

TEST(Check, PassesGoodResultsInBothModesAndTypes) {
  for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
    const Case good = good_case(type);
    for (const CheckMode mode : {CheckMode::full, CheckMode::sampled}) {
      const CheckReport report = check(good, mode);
      EXPECT_TRUE(report.passed()) << report.to_text();
      EXPECT_EQ(report.tensors.size(), mode == CheckMode::full ? 5U : 7U);
    }
  }
}

TEST(Check, TakesGradientsBelowTheStorageTypesNormalNumbersByItsSteps) {
  // Late keys of long documents have gradients that half precision can only store in steps of 2^-24.
  std::vector<double> reference, stored, wrong;
  double squares = 0;
  for (int i = 1; i <= 64; ++i) {
    reference.push_back(1e-7 * i);
    stored.push_back(std::nearbyint(reference.back() * 0x1p24) * 0x1p-24);
    wrong.push_back(stored.back() + (i % 2 == 0 ? 0x1p-23 : -0x1p-23));
    squares += reference.back() * reference.back();
  }
  const double tolerance = check_tolerance(ElementType::f16, ResultTensor::dv);
  const double scale = gradient_scale(ElementType::f16, squares, reference.size());
  EXPECT_EQ(scale, 0x1p-14 * 8);
  EXPECT_GT(kernels::tile_error(stored, reference, std::sqrt(squares)), tolerance);
  EXPECT_LE(kernels::tile_error(stored, reference, scale), tolerance);
  EXPECT_GT(kernels::tile_error(wrong, reference, scale), tolerance);
  EXPECT_EQ(gradient_scale(ElementType::f16, 9.0, 64), 3.0);
  EXPECT_EQ(gradient_scale(ElementType::bf16, squares, 64), std::sqrt(squares));
}

TEST(Check, CountsEveryTileInFullMode) {
  const CheckReport report = check(good_case(ElementType::f32), CheckMode::full);
  EXPECT_EQ(tensor_of(report, "o").tiles, 4 * 9);   // 550 tokens, 4 query heads
  EXPECT_EQ(tensor_of(report, "dk").tiles, 2 * 9);  // 2 KV heads
}

TEST(Check, FindsOneZeroedRowOfEveryResult) {
  const Case good = good_case(ElementType::f32);
  // Rank 1, row 77: token 377, whose tile starts at 320. Heads hold 16 elements, KV heads 32.
  const auto zero = [](std::vector<std::byte>& values, std::size_t first, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) set(values, first + i, 0);
  };
  const auto expect_found = [&](const char* name, std::int32_t head, const auto& damage,
                                std::int64_t row = 377) {
    Case bad = good;
    damage(bad.result.results[0][1]);
    const CheckReport report = check(bad, CheckMode::full);
    EXPECT_FALSE(report.passed()) << name;
    const CheckedTensor& found = tensor_of(report, name);
    EXPECT_FALSE(found.passed()) << name;
    EXPECT_EQ(found.row, row) << name;
    EXPECT_EQ(found.head, head) << name;
    EXPECT_EQ(found.rank, 1) << name;
  };
  expect_found("o", 2, [&](LocalResults& local) { zero(local.o, (77 * 4 + 2) * 16, 16); });
  // A zero may be the LSE of a row, so that the tile is what differs.
  expect_found(
      "lse", 1, [&](LocalResults& local) { zero(local.lse, 77 * 4 + 1, 1); }, 320);
  expect_found("dq", 3, [&](LocalResults& local) { zero(local.dq, (77 * 4 + 3) * 16, 16); });
  expect_found("dk", 1, [&](LocalResults& local) { zero(local.dkv, (77 * 2 + 1) * 32, 16); });
  expect_found("dv", 0, [&](LocalResults& local) { zero(local.dkv, (77 * 2 + 0) * 32 + 16, 16); });
}

TEST(Check, FindsANaNInAnyRowOfAnyResultInBothModes) {
  const Case good = good_case(ElementType::f32);
  for (const CheckMode mode : {CheckMode::full, CheckMode::sampled}) {
    Case bad = good;
    set(bad.result.results[0][0].dkv, (150 * 2 + 1) * 32 + 20, std::numeric_limits<float>::quiet_NaN());
    const CheckReport report = check(bad, mode);
    EXPECT_FALSE(report.passed());
    EXPECT_TRUE(std::isnan(tensor_of(report, "dv").error));
    EXPECT_TRUE(std::isnan(report.max_relative_l2()));
    EXPECT_EQ(tensor_of(report, "dv").document, 0);
  }
}

TEST(Check, SampledModeFindsWrongFirstAndLastRowsOfEveryShard) {
  const Case good = good_case(ElementType::f32, 3000, 1000);
  for (const auto& [rank, row] : {std::pair(0, 0), std::pair(0, 2999), std::pair(1, 0), std::pair(1, 999)}) {
    Case bad = good;
    auto& lse = bad.result.results[0][static_cast<std::size_t>(rank)].lse;
    const auto index = static_cast<std::size_t>(row) * 4 + 2;
    set(lse, index, get(lse, index) + 0.001F);
    EXPECT_FALSE(tensor_of(check(bad, CheckMode::sampled), "lse").passed()) << rank << " " << row;
  }
}

TEST(Check, SampledModeFindsASystematicErrorInEachGradient) {
  const Case good = good_case(ElementType::f32, 700, 900);
  // One head of one rank is off by one part in a thousand.
  const auto scale_head = [](std::vector<std::byte>& values, std::size_t rows, std::size_t stride,
                             std::size_t first, std::size_t count) {
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t i = row * stride + first; i < row * stride + first + count; ++i) {
        set(values, i, get(values, i) * 1.001F);
      }
    }
  };
  Case wrong_queries = good;
  scale_head(wrong_queries.result.results[0][1].dq, 900, 64, 16, 16);
  const CheckReport queries = check(wrong_queries, CheckMode::sampled);
  EXPECT_FALSE(tensor_of(queries, "dq").passed()) << queries.to_text();
  EXPECT_FALSE(tensor_of(queries, "dq=dk").passed()) << queries.to_text();
  EXPECT_EQ(queries.to_text().find("rank -1"), std::string::npos) << queries.to_text();
  EXPECT_NE(queries.to_text().find("KV head 0, rows of all ranks"), std::string::npos) << queries.to_text();
  EXPECT_TRUE(tensor_of(queries, "dk").passed()) << queries.to_text();

  Case wrong_keys = good;
  scale_head(wrong_keys.result.results[0][0].dkv, 700, 64, 32, 16);
  const CheckReport keys = check(wrong_keys, CheckMode::sampled);
  EXPECT_FALSE(tensor_of(keys, "dk").passed()) << keys.to_text();
  EXPECT_FALSE(tensor_of(keys, "dq=dk").passed()) << keys.to_text();
  EXPECT_TRUE(tensor_of(keys, "dv").passed()) << keys.to_text();
}

TEST(Check, FailsResultsOfOtherInputs) {
  Case other = good_case(ElementType::bf16);
  CheckOptions options;
  options.seed = 4;
  options.threads = 2;
  EXPECT_FALSE(check_results(other.execution, other.result.results, options).passed());
}

}  // namespace
}  // namespace strata
