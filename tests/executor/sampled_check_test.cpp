// SPDX-License-Identifier: Apache-2.0
// What the sampled check sees although no sample hits it: rows that nobody wrote, and rows of another place,
// scale or sign, in every result; and that honest runs never fail.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "core/lowering/lower.hpp"
#include "executor/check.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/executor/random_batches.hpp"
#include "tests/support/test_scale.hpp"

namespace strata::testing {
namespace {

struct FinishedRun {
  Execution execution;
  std::vector<std::vector<LocalResults>> results;
  std::uint64_t seed = 0;
};

FinishedRun run_of(const WaveRequest& request, const Strategy& strategy, const PlanOptions& options,
                   std::uint64_t seed) {
  const Wave wave = make_wave(strategy, request, options);
  FinishedRun run;
  run.seed = seed;
  run.execution.model = request.model;
  run.execution.waves.push_back({lower_wave(wave, request.model), wave.placement});
  CpuOptions cpu;
  cpu.seed = seed;
  cpu.threads = 2;
  cpu.poison = true;
  run.results = run_on_cpu(run.execution, cpu).results;
  return run;
}

/// Few samples: what is found is found by what every row enters.
CheckReport check(const FinishedRun& run, std::int64_t query_rows = 1, std::int64_t key_rows = 1) {
  CheckOptions options;
  options.mode = CheckMode::sampled;
  options.seed = run.seed;
  options.threads = 2;
  options.query_rows = query_rows;
  options.key_rows = key_rows;
  return check_results(run.execution, run.results, options);
}

/// One head of one result: where the bytes of rank 0's row are.
struct Target {
  std::vector<std::byte>* bytes = nullptr;
  std::size_t row_bytes = 0, begin = 0, count = 0;
  std::byte* row(std::int64_t r) const {
    return bytes->data() + static_cast<std::size_t>(r) * row_bytes + begin;
  }
};

Target target_of(FinishedRun& run, ResultTensor tensor, std::int32_t rank, std::int32_t head) {
  const ModelShape& model = run.execution.model;
  LocalResults& local = run.results.front()[static_cast<std::size_t>(rank)];
  const auto size = static_cast<std::size_t>(element_bytes(model.element_type));
  const auto k = static_cast<std::size_t>(model.head_dim) * size;
  const auto v = static_cast<std::size_t>(model.value_head_dim) * size;
  const auto h = static_cast<std::size_t>(head);
  const auto query_heads = static_cast<std::size_t>(model.query_heads);
  const auto kv_heads = static_cast<std::size_t>(model.kv_heads);
  switch (tensor) {
    case ResultTensor::o:
      return {&local.o, query_heads * v, h * v, v};
    case ResultTensor::lse:
      return {&local.lse, query_heads * 4, h * 4, 4};
    case ResultTensor::dq:
      return {&local.dq, query_heads * k, h * k, k};
    case ResultTensor::dk:
      return {&local.dkv, kv_heads * (k + v), h * (k + v), k};
    case ResultTensor::dv:
      break;
  }
  return {&local.dkv, kv_heads * (k + v), h * (k + v) + k, v};
}

constexpr std::int64_t kForgedRows = 64;
constexpr ResultTensor kTensors[] = {ResultTensor::o, ResultTensor::lse, ResultTensor::dq, ResultTensor::dk,
                                     ResultTensor::dv};

/// Documents of one length on two ranks, each rank having whole ones.
FinishedRun documents_on_two_ranks(ElementType type, std::int64_t count, std::int64_t length) {
  WaveRequest request;
  request.rank_count = 2;
  for (std::int64_t d = 0; d < count; ++d) {
    request.documents.push_back(static_cast<std::int32_t>(d));
    request.lengths.push_back(length);
  }
  ModelShape& model = request.model;
  model.query_heads = 2;
  model.kv_heads = 1;
  model.head_dim = model.value_head_dim = 16;
  model.hidden = 32;
  model.ffn = 64;
  model.element_type = type;
  for (const Strategy& strategy : all_strategies()) {
    if (strategy.name == "whole_document") return run_of(request, strategy, {}, 5);
  }
  return {};
}

TEST(SampledCheck, PassesHonestRunsOfEveryKind) {
  const std::vector<Strategy> strategies = all_strategies();
  const std::uint64_t batches = full_scale() ? 2000 : small_scale() ? 10 : 100;
  std::int64_t checked = 0;
  for (std::uint64_t b = 0; b < batches; ++b) {
    for (const BatchSize size : {BatchSize::small, BatchSize::large}) {
      if (size == BatchSize::large && b % 4 != 0) continue;
      RandomBatch batch = random_batch(b, size);
      const Strategy& strategy = strategies[b % strategies.size()];
      const PlanOptions options = random_options(b, 0);
      batch.request.exchange = options.exchange;
      if (strategy.rejects(batch.request)) continue;
      const CheckReport report = check(run_of(batch.request, strategy, options, b), 16, 2);
      EXPECT_TRUE(report.passed()) << "batch " << b << "\n" << report.to_text();
      EXPECT_EQ(report.tensors.size(), 7U);
      ++checked;
    }
  }
  EXPECT_GT(checked, static_cast<std::int64_t>(batches / 2));
}

TEST(SampledCheck, Sees64RowsOfOneHeadIn131072ThatNobodyWrote) {
  std::mt19937_64 draw(1);
  for (const ElementType type : {ElementType::f32, ElementType::bf16}) {
    constexpr std::int64_t kDocuments = 32, kLength = 4096;
    FinishedRun run = documents_on_two_ranks(type, kDocuments, kLength);
    const CheckReport honest = check(run);
    ASSERT_TRUE(honest.passed()) << honest.to_text();
    const int draws = full_scale() ? 20 : small_scale() ? 1 : 2;
    for (const ResultTensor tensor : kTensors) {
      for (int i = 0; i < draws; ++i) {
        const bool of_kv = tensor == ResultTensor::dk || tensor == ResultTensor::dv;
        const auto rank = static_cast<std::int32_t>(draw() % 2);
        const auto head = static_cast<std::int32_t>(of_kv ? 0 : draw() % 2);
        const auto row = static_cast<std::int64_t>(draw() % (kDocuments / 2 * kLength - kForgedRows));
        const Target target = target_of(run, tensor, rank, head);
        const std::vector<std::byte> kept = *target.bytes;
        for (std::int64_t r = 0; r < kForgedRows; ++r) std::memset(target.row(row + r), 0, target.count);
        const CheckReport report = check(run);
        EXPECT_FALSE(report.passed()) << to_string(tensor) << " rows from " << row << " on rank " << rank;
        *target.bytes = kept;
      }
    }
  }
}

/// Makes rows wrong that stay plausible one by one.
enum class Forgery { of_other_rows, scaled, negated };

void forge(const Target& target, std::int64_t row, Forgery forgery, ElementType type) {
  const auto size = static_cast<std::size_t>(element_bytes(type));
  const std::vector<std::byte> first(target.row(row), target.row(row) + target.count);
  for (std::int64_t r = 0; r < kForgedRows; ++r) {
    std::byte* const to = target.row(row + r);
    if (forgery == Forgery::of_other_rows) {
      const std::byte* const from = r + 1 < kForgedRows ? target.row(row + r + 1) : first.data();
      std::memcpy(to, from, target.count);
      continue;
    }
    for (std::size_t at = 0; at < target.count; at += size) {
      // Twice and less: one more in the exponent, the sign the other way. The last byte holds both.
      if (forgery == Forgery::negated) {
        to[at + size - 1] ^= std::byte{0x80};
      } else if (type == ElementType::f32) {
        float value = 0;
        std::memcpy(&value, to + at, 4);
        value *= 1.5F;
        std::memcpy(to + at, &value, 4);
      } else {
        to[at + size - 1] = static_cast<std::byte>(std::to_integer<unsigned>(to[at + size - 1]) + 1U);
      }
    }
  }
}

TEST(SampledCheck, SeesRowsOfOtherPlacesScalesAndSignsThatNoSampleHits) {
  std::mt19937_64 draw(2);
  constexpr std::int64_t kLength = 1024;
  for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
    FinishedRun run = documents_on_two_ranks(type, 4, kLength);
    ASSERT_TRUE(check(run).passed());
    for (const ResultTensor tensor :
         {ResultTensor::o, ResultTensor::dq, ResultTensor::dk, ResultTensor::dv}) {
      for (const Forgery forgery : {Forgery::of_other_rows, Forgery::scaled, Forgery::negated}) {
        // Late key rows of a document are small: in bf16 their errors are what rounding may do.
        const auto row = static_cast<std::int64_t>(draw() % (kLength * 3 / 4));
        const Target target = target_of(run, tensor, 1, 0);
        const std::vector<std::byte> kept = *target.bytes;
        forge(target, row, forgery, type);
        const CheckReport report = check(run);
        EXPECT_FALSE(report.passed()) << to_string(type) << " " << to_string(tensor) << " forgery "
                                      << static_cast<int>(forgery) << " from " << row << "\n"
                                      << report.to_text();
        *target.bytes = kept;
      }
    }
  }
}

TEST(SampledCheck, SeesOneNaNAndOneInfinityInEveryResult) {
  FinishedRun run = documents_on_two_ranks(ElementType::f32, 4, 300);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const ResultTensor tensor : kTensors) {
      const Target target = target_of(run, tensor, 0, 0);
      const std::vector<std::byte> kept = *target.bytes;
      std::memcpy(target.row(177), &bad, 4);
      const CheckReport report = check(run);
      EXPECT_FALSE(report.passed()) << to_string(tensor) << " " << bad;
      EXPECT_TRUE(std::isnan(report.max_relative_l2()));
      *target.bytes = kept;
    }
  }
}

TEST(SampledCheck, SaysThatItSampled) {
  const FinishedRun run = documents_on_two_ranks(ElementType::f32, 2, 70);
  EXPECT_EQ(check(run).verdict(), "check passed (sampled): the result is what one device computes");
  CheckReport report = check(run);
  report.mode = CheckMode::full;
  report.tensors.front().error = 1;
  EXPECT_EQ(report.verdict(), "check FAILED (full): the result differs from the float64 reference");
}

TEST(SampledCheck, ThousandsOfDocumentsOfAFewTokensPass) {
  // Where a row sees one key its LSE is the least that it can be, to a rounding that thousands of rows draw.
  WaveRequest request;
  for (std::int32_t d = 0; d < 3000; ++d) {
    request.documents.push_back(d);
    request.lengths.push_back(1 + d % 3);
  }
  request.rank_count = 2;
  request.model = named_model("tiny");
  request.model.layers = 1;
  request.model.query_heads = 8;
  request.model.kv_heads = 1;
  request.model.element_type = ElementType::f32;
  for (std::uint64_t seed = 0; seed < (small_scale() ? 2U : 6U); ++seed) {
    const CheckReport report = check(run_of(request, strategy_named("whole_document"), {}, seed));
    EXPECT_TRUE(report.passed()) << "seed " << seed << ": " << report.to_text();
  }
}

}  // namespace
}  // namespace strata::testing
