// SPDX-License-Identifier: Apache-2.0
// Shows the tensor-core forward right without a GPU: the very kernel source, run by the emulator on small
// problems whose documents are cut, scattered over arrays of NaN and described by random bands, against the
// float64 oracle; and that neither the order of threads nor the number of blocks changes a bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/attention_forward.cuh"
#include "kernels/cuda/attention_lists.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/emulated_attention.hpp"

namespace strata::kernels::test {
namespace {

constexpr RaggedLimits kLimits{200, 2};

void emulate_forward(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                     const Operands& operands, OutputMode mode, const Order& order) {
  const AttentionLists lists =
      build_attention_lists(shape, blocks, WorkKind::forward, forward_shape(shape.k_dim, shape.v_dim).rows);
  emulate_lists<AttentionForward>(shape, lists, operands, mode, order);
}

void launch_nothing(const AttentionShape&, std::span<const AttentionBlock>, const Operands&, OutputMode) {}

Kernels forward_kernels(const Order& order) {
  const Launch forward = [=](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    emulate_forward(shape, blocks, operands, mode, order);
  };
  return {forward, Launch(&launch_nothing)};
}

void expect_forward(Problem& problem, int launches, int grid, std::uint32_t seed) {
  problem.run_with(forward_kernels({grid, seed}), launches);
  EXPECT_LE(problem.forward_error(), problem.tolerance().forward) << "seed " << seed;
  EXPECT_TRUE(problem.untouched()) << "seed " << seed;
}

TEST(TensorCoreForward, EqualsTheOracleForRandomMasksLengthsAndScatteredPieces) {
  for (const std::int32_t dim : {64, 96, 128}) {
    for (std::uint32_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE("dim " + std::to_string(dim));
      Problem problem(ragged_options(seed, dim, kLimits), seed);
      expect_forward(problem, seed % 3 == 0 ? 3 : 1, 1 + static_cast<int>(seed % 3), seed);
    }
  }
}

TEST(TensorCoreForward, EqualsTheOracleForEveryPairOfHeadDimensionsItHasAKernelFor) {
  for (const auto& [k_dim, v_dim] : {std::pair(192, 128), std::pair(192, 192), std::pair(256, 256)}) {
    for (const Element element : {Element::bf16, Element::f16}) {
      SCOPED_TRACE("dims " + std::to_string(k_dim) + " " + std::to_string(v_dim));
      ProblemOptions options = options_of(element, k_dim, v_dim, 1, 2);
      options.queries = {70, 3};
      options.keys = {130, 3};
      Problem problem(options, 7);
      expect_forward(problem, element == Element::bf16 ? 1 : 2, 2, 7);
    }
  }
}

/// Full, causal, inverse causal and window masks with ends on, before and behind the edges of tiles and
/// blocks of keys; of the inverse mask whole blocks of keys are hidden from rows that see later ones.
TEST(TensorCoreForward, FollowsBandsAcrossTheEdgesOfItsTiles) {
  const auto causal = [](std::int64_t) { return std::pair(kUnboundedBelow, std::int64_t{0}); };
  const auto full = [](std::int64_t) { return std::pair(kUnboundedBelow, kUnboundedAbove); };
  const auto inverse = [](std::int64_t) { return std::pair(std::int64_t{0}, kUnboundedAbove); };
  const auto diagonal = [](std::int64_t) { return std::pair(std::int64_t{0}, std::int64_t{0}); };
  const auto ahead = [](std::int64_t length) { return std::pair(length - 2, kUnboundedAbove); };
  std::uint32_t seed = 300;
  for (const auto& band : std::vector<std::function<std::pair<std::int64_t, std::int64_t>(std::int64_t)>>{
           causal, full, inverse, diagonal, ahead}) {
    for (const std::int64_t length : {64, 127, 129}) {
      ProblemOptions options = options_of(Element::bf16, 128, 128, 1, 1);
      options.cut = false;
      options.queries = options.keys = {length};
      ++seed;
      const auto [lo, hi] = band(length);
      Problem problem(options, seed);
      problem.blocks[0].lo = lo;
      problem.blocks[0].hi = hi;
      Document& document = problem.documents[0];
      document.mask = band_mask(length, length, std::max(lo, -length), std::min(hi, length));
      document.output = reference_forward(
          {length, length, 1, 1, 128, 128, options.shape.scale, document.q, document.k, document.v, {}},
          document.mask);
      expect_forward(problem, 1, 1, seed);
    }
  }
}

TEST(TensorCoreForward, KeepsRowsThatSeeNoKeyEmptyAndMergesThemAway) {
  // Rows 0..59 see nothing, neither here nor there; the tile's second segment ends before its last rows.
  ProblemOptions options = options_of(Element::bf16, 64, 64, 1, 1);
  options.cut = false;
  options.queries = {100};
  options.keys = {40};
  Problem problem(options, 5);
  problem.run_with(forward_kernels({1, 5}), 1);
  QueryArrays& rows = problem.queries[0];
  for (std::int64_t row = 0; row < 60; ++row) {
    EXPECT_EQ(rows.lse.get(row), -std::numeric_limits<double>::infinity());
    for (std::int64_t c = 0; c < 64; ++c) EXPECT_EQ(rows.out.get(row * 64 + c), 0);
  }
  EXPECT_LE(problem.forward_error(), problem.tolerance().forward);
  // Merging: what is there stays to the bit where nothing new is seen.
  problem.run_with(forward_kernels({1, 6}), 2);
  const Tensor out = rows.out;
  const Tensor lse = rows.lse;
  AttentionBlock nothing = problem.blocks[0];
  nothing.hi = -1000;
  const QueryRows query_rows{
      rows.q.data(), rows.out.data(), rows.lse.floats(), nullptr, nullptr, nullptr, rows.rows, 0, 1};
  KeyArrays& keys = problem.keys[0];
  const KeyRows key_rows{keys.kv.data(), nullptr, keys.rows, 0, 1};
  emulate_forward(options.shape, {&nothing, 1}, {{&query_rows, 1}, {&key_rows, 1}}, OutputMode::merge,
                  {1, 1});
  EXPECT_TRUE(rows.out == out);
  EXPECT_TRUE(rows.lse == lse);
}

TEST(TensorCoreForward, ShowsNaNInsteadOfAnEmptyRow) {
  ProblemOptions options = options_of(Element::bf16, 64, 64, 1, 1);
  options.cut = false;
  options.queries = options.keys = {40};
  Problem problem(options, 5);
  problem.queries[0].q.set(7 * 64 + 3, std::numeric_limits<double>::quiet_NaN());
  for (const int launches : {1, 2}) {
    problem.run_with(forward_kernels({1, 5}), launches);
    for (std::int64_t row = 0; row < 40; ++row) {
      EXPECT_EQ(std::isnan(problem.queries[0].lse.get(row)), row == 7) << row;
      EXPECT_EQ(std::isnan(problem.queries[0].out.get(row * 64 + 5)), row == 7) << row;
    }
  }
}

TEST(TensorCoreForward, StaysFiniteForHugeScores) {
  for (std::uint32_t seed = 401; seed <= 403; ++seed) {
    ProblemOptions options = ragged_options(seed, 64, kLimits);
    options.amplitude = 300;
    Problem problem(options, seed);
    expect_forward(problem, static_cast<int>(seed % 2) + 1, 1, seed);
  }
}

/// Key j stands for position stride * j. Rows and keys around those of the block are NaN.
TEST(TensorCoreForward, FollowsAKeyStride) {
  constexpr std::int64_t kRows = 150;
  constexpr std::int64_t kKeys = 70;
  constexpr std::int64_t kDim = 64;
  constexpr std::int64_t kMargin = 5;
  std::mt19937 generator(9);
  std::normal_distribution<double> normal;
  Tensor q(Element::bf16, (kRows + 2 * kMargin) * kDim), kv(Element::bf16, (kKeys + 2 * kMargin) * 2 * kDim);
  std::vector<double> reference_q, reference_k, reference_v;
  const auto fill = [&](Tensor& tensor, std::int64_t at, std::vector<double>& copy) {
    for (std::int64_t c = 0; c < kDim; ++c) {
      tensor.set(at + c, normal(generator));
      copy.push_back(tensor.get(at + c));
    }
  };
  for (std::int64_t i = 0; i < kRows; ++i) fill(q, (i + kMargin) * kDim, reference_q);
  for (std::int64_t j = 0; j < kKeys; ++j) {
    fill(kv, (j + kMargin) * 2 * kDim, reference_k);
    fill(kv, ((j + kMargin) * 2 + 1) * kDim, reference_v);
  }
  for (const std::int64_t stride : {2, 3, 16}) {
    AttentionBlock block;
    block.query_begin = block.key_begin = kMargin;
    block.query_count = kRows;
    block.key_count = kKeys;
    block.head_end = 1;
    block.key_stride = stride;
    block.lo = -70;
    block.hi = -3;
    AttentionShape shape = options_of(Element::bf16, kDim, kDim, 1, 1).shape;
    Tensor out(Element::bf16, (kRows + 2 * kMargin) * kDim), lse(Element::f32, kRows + 2 * kMargin);
    const QueryRows query_rows{
        q.data(), out.data(), lse.floats(), nullptr, nullptr, nullptr, kRows + 2 * kMargin, 0, 1};
    const KeyRows key_rows{kv.data(), nullptr, kKeys + 2 * kMargin, 0, 1};
    emulate_forward(shape, {&block, 1}, {{&query_rows, 1}, {&key_rows, 1}}, OutputMode::write, {1, 1});
    const ReferenceOutput expected = reference_forward(
        {kRows, kKeys, 1, 1, kDim, kDim, shape.scale, reference_q, reference_k, reference_v, {}},
        predicate_mask(kRows, kKeys, [&](std::int64_t i, std::int64_t j) {
          return -70 <= j * stride - i && j * stride - i <= -3;
        }));
    std::vector<double> actual;
    for (std::int64_t i = 0; i < kRows * kDim; ++i) actual.push_back(out.get(kMargin * kDim + i));
    EXPECT_LE(tile_error(actual, expected.out, 0), tolerance_of(Element::bf16).forward) << stride;
    for (std::int64_t i = 0; i < kRows; ++i) {
      const double want = expected.lse[static_cast<std::size_t>(i)];
      const double got = lse.get(kMargin + i);
      EXPECT_TRUE(got == want || std::abs(got - want) < 1e-4) << stride << " " << i;
    }
    for (std::int64_t i = 0; i < kMargin; ++i) {
      EXPECT_TRUE(std::isnan(lse.get(i)) && std::isnan(lse.get(kMargin + kRows + i)));
      EXPECT_TRUE(std::isnan(out.get(i * kDim)) && std::isnan(out.get((kMargin + kRows + i) * kDim)));
    }
  }
}

TEST(TensorCoreForward, GivesTheSameBitsForEveryOrderOfThreadsAndNumberOfBlocks) {
  for (const std::uint32_t seed : {501U, 502U}) {
    Problem problem(ragged_options(seed, seed % 2 == 0 ? 64 : 128, kLimits), seed);
    for (const int launches : {1, 2}) {
      problem.run_with(forward_kernels({1, 1}), launches);
      const std::vector<Tensor> first = problem.results();
      for (std::uint64_t order = 2; order < 5; ++order) {
        problem.run_with(forward_kernels({static_cast<int>(order) - 1, order}), launches);
        EXPECT_TRUE(problem.results() == first) << "seed " << seed << " order " << order;
      }
    }
  }
}

TEST(TensorCoreForward, GivesTheSameBitsWhenBlocksLeaveMultiprocessorsToCommunication) {
  Problem problem(ragged_options(503, 64, kLimits), 503);
  problem.run_with(forward_kernels({1, 1}), 1);
  const std::vector<Tensor> first = problem.results();
  for (const Order& order : kOrdersWithLeavers) {
    problem.run_with(forward_kernels(order), 1);
    EXPECT_TRUE(problem.results() == first) << "blocks " << order.grid;
  }
}

}  // namespace
}  // namespace strata::kernels::test
