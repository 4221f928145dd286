// SPDX-License-Identifier: Apache-2.0
// Shows the tensor-core backward right without a GPU: the very kernel sources, run by the emulator on small
// problems whose documents are cut, scattered over arrays of NaN and described by random bands, against the
// float64 oracle; and that neither the order of threads nor the number of blocks changes a bit.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "kernels/cuda/attention_grad_kv.cuh"
#include "kernels/cuda/attention_grad_q.cuh"
#include "kernels/cuda/attention_lists.hpp"
#include "kernels/cuda/attention_reference.hpp"
#include "tests/kernels/attention_problem.hpp"
#include "tests/kernels/emulated_attention.hpp"

namespace strata::kernels::test {
namespace {

constexpr RaggedLimits kLimits{180, 3};

void reference_forward(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                       const Operands& operands, OutputMode mode) {
  const ReferenceAttention work{shape,
                                mode,
                                blocks.data(),
                                static_cast<std::int32_t>(blocks.size()),
                                operands.queries.data(),
                                operands.keys.data()};
  for (std::size_t s = 0; s < operands.queries.size(); ++s) {
    const QueryRows& rows = operands.queries[s];
    for (std::int64_t row = 0; row < rows.rows; ++row) {
      for (std::int32_t head = 0; head < rows.head_count; ++head) {
        reference_forward_row(work, static_cast<std::int32_t>(s), row, rows.head_begin + head);
      }
    }
  }
}

Kernels backward_kernels(const Order& order) {
  const Launch backward = [=](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    const AttentionLists keys =
        build_attention_lists(shape, blocks, WorkKind::grad_kv, grad_kv_shape(shape.k_dim, shape.v_dim).rows);
    const AttentionLists queries =
        build_attention_lists(shape, blocks, WorkKind::grad_q, grad_q_shape(shape.k_dim, shape.v_dim).rows);
    emulate_lists<AttentionGradKv>(shape, keys, operands, mode, order);
    emulate_lists<AttentionGradQ>(shape, queries, operands, mode, order);
  };
  return {reference_forward, backward};
}

void expect_backward(Problem& problem, int launches, const Order& order) {
  problem.run_with(backward_kernels(order), launches);
  EXPECT_LE(problem.backward_error(), problem.tolerance().backward) << "seed " << order.seed;
  for (const double error : problem.backward_relative_errors()) {
    EXPECT_LE(error, problem.tolerance().backward) << "seed " << order.seed;
  }
  EXPECT_TRUE(problem.untouched()) << "seed " << order.seed;
}

TEST(TensorCoreBackward, EveryShapeFitsTheSmallestSharedMemoryAndFillsItsWarps) {
  constexpr std::array<std::array<std::int32_t, 2>, 6> kPairs = {
      {{64, 64}, {96, 96}, {128, 128}, {192, 128}, {192, 192}, {256, 256}}};
  for (const auto& [k_dim, v_dim] : kPairs) {
    for (const GradientShape& shape : {grad_kv_shape(k_dim, v_dim), grad_q_shape(k_dim, v_dim)}) {
      EXPECT_EQ(shape.k_dim, k_dim);
      EXPECT_EQ(shape.v_dim, v_dim);
      EXPECT_LE(shape.shared_bytes(), 99 * 1024);
      EXPECT_EQ(shape.rows % (shape.warps * kMmaRows), 0);
      EXPECT_EQ(shape.columns % kMmaDepth, 0);
      EXPECT_GE(shape.threads(), shape.columns);  // a thread a row for lse and delta
    }
  }
  EXPECT_EQ(grad_kv_shape(128, 64).rows, 0);
  EXPECT_EQ(grad_q_shape(80, 80).rows, 0);
}

TEST(TensorCoreBackward, EqualsTheOracleForRandomMasksLengthsAndScatteredPieces) {
  for (const std::int32_t dim : {64, 128}) {
    for (std::uint32_t seed = 1; seed <= 8; ++seed) {
      SCOPED_TRACE("dim " + std::to_string(dim));
      Problem problem(ragged_options(seed, dim, kLimits), seed);
      expect_backward(problem, seed % 3 == 0 ? 3 : 1, {1 + static_cast<int>(seed % 3), seed});
    }
  }
}

TEST(TensorCoreBackward, EqualsTheOracleForEveryOtherPairOfHeadDimensions) {
  constexpr std::array<std::array<std::int32_t, 2>, 4> kPairs = {
      {{96, 96}, {192, 128}, {192, 192}, {256, 256}}};
  for (const auto& [k_dim, v_dim] : kPairs) {
    SCOPED_TRACE("dims " + std::to_string(k_dim) + "/" + std::to_string(v_dim));
    ProblemOptions options = options_of(Element::bf16, k_dim, v_dim, 1, 2);
    options.queries = {75, 9};
    options.keys = {90, 9};
    Problem problem(options, static_cast<std::uint32_t>(k_dim + v_dim));
    expect_backward(problem, 2, {2, 7});
  }
}

TEST(TensorCoreBackward, GivesTheSameBitsForEveryOrderOfThreadsAndNumberOfBlocks) {
  for (const std::int32_t dim : {64, 128}) {
    Problem problem(ragged_options(31, dim, kLimits), 31);
    problem.run_with(backward_kernels({1, 1}), 1);
    const std::vector<Tensor> first = problem.results();
    for (const Order& order : {Order{1, 2}, Order{2, 3}, Order{5, 4}}) {
      problem.run_with(backward_kernels(order), 1);
      EXPECT_TRUE(problem.results() == first) << "dim " << dim << " blocks " << order.grid;
    }
  }
}

TEST(TensorCoreBackward, GivesTheSameBitsWhenBlocksLeaveMultiprocessorsToCommunication) {
  Problem problem(ragged_options(32, 64, kLimits), 32);
  problem.run_with(backward_kernels({1, 1}), 1);
  const std::vector<Tensor> first = problem.results();
  for (const Order& order : kOrdersWithLeavers) {
    problem.run_with(backward_kernels(order), 1);
    EXPECT_TRUE(problem.results() == first) << "blocks " << order.grid;
  }
}

TEST(TensorCoreBackward, RowsWithoutKeysContributeNothingHoweverLargeTheScores) {
  // Bands that leave rows without keys, and scores far from what their lse would be for hidden pairs.
  ProblemOptions options = options_of(Element::bf16, 64, 64, 1, 2);
  options.queries = {70};
  options.keys = {40};  // causal: the first 30 queries see nothing
  options.amplitude = 30;
  options.cut = false;
  Problem problem(options, 5);
  expect_backward(problem, 1, {1, 5});
  for (std::int64_t i = 0; i < 30 * 2 * 64; ++i) EXPECT_EQ(problem.queries[0].grad_q.get(i), 0.0);
}

}  // namespace
}  // namespace strata::kernels::test
