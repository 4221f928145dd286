// SPDX-License-Identifier: Apache-2.0
// Shows the GPU's plain fp32 attention right without a GPU: the very functions that its threads run, called
// for every row and head in a random order, against the float64 oracle, in all storage types.
#include "kernels/cuda/attention_reference.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <string>

#include "tests/kernels/attention_problem.hpp"

namespace strata::kernels::test {
namespace {

struct Thread {
  std::int32_t source = 0;
  std::int64_t row = 0;
  std::int32_t head = 0;
};

template <class Rows>
std::vector<Thread> shuffled_threads(std::span<const Rows> sources, std::mt19937& generator) {
  std::vector<Thread> threads;
  for (std::size_t s = 0; s < sources.size(); ++s) {
    for (std::int64_t row = 0; row < sources[s].rows; ++row) {
      for (std::int32_t head = 0; head < sources[s].head_count; ++head) {
        threads.push_back({static_cast<std::int32_t>(s), row, sources[s].head_begin + head});
      }
    }
  }
  std::shuffle(threads.begin(), threads.end(), generator);
  return threads;
}

Kernels reference_kernels(std::uint32_t seed) {
  const auto work_of = [](const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                          const Operands& operands, OutputMode mode) {
    return ReferenceAttention{shape,
                              mode,
                              blocks.data(),
                              static_cast<std::int32_t>(blocks.size()),
                              operands.queries.data(),
                              operands.keys.data()};
  };
  const Launch forward = [=](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    std::mt19937 generator(seed);
    const ReferenceAttention work = work_of(shape, blocks, operands, mode);
    for (const Thread& t : shuffled_threads(operands.queries, generator)) {
      reference_forward_row(work, t.source, t.row, t.head);
    }
  };
  const Launch backward = [=](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    std::mt19937 generator(seed);
    const ReferenceAttention work = work_of(shape, blocks, operands, mode);
    for (const Thread& t : shuffled_threads(operands.queries, generator)) {
      reference_grad_q_row(work, t.source, t.row, t.head);
    }
    for (const Thread& t : shuffled_threads(operands.keys, generator)) {
      reference_grad_kv_row(work, t.source, t.row, t.head);
    }
  };
  return {forward, backward};
}

ProblemOptions random_options(std::uint32_t seed, Element element) {
  std::mt19937 generator(seed);
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
  };
  constexpr std::int32_t kDims[] = {1, 3, 20, 64, 96, 128, 192, 256};
  ProblemOptions options;
  options.shape.element = element;
  options.shape.kv_heads = static_cast<std::int32_t>(pick(1, 2));
  options.shape.query_heads = options.shape.kv_heads * static_cast<std::int32_t>(pick(1, 4));
  options.shape.k_dim = kDims[pick(0, 7)];
  options.shape.v_dim = pick(0, 2) == 0 ? kDims[pick(0, 7)] : options.shape.k_dim;
  options.shape.scale = 1.0F / std::sqrt(static_cast<float>(options.shape.k_dim));
  for (std::int64_t d = pick(1, 3); d > 0; --d) {
    options.queries.push_back(pick(1, 40));
    options.keys.push_back(pick(0, 1) == 0 ? pick(1, 40) : options.queries.back());
  }
  options.window = std::array<std::int64_t, 4>{0, pick(1, 20), -1, -1}[static_cast<std::size_t>(pick(0, 3))];
  return options;
}

TEST(ReferenceKernels, EqualTheOracleForRandomMasksShapesAndScatteredPieces) {
  for (std::uint32_t seed = 1; seed <= 60; ++seed) {
    Problem problem(random_options(seed, Element::f32), seed);
    problem.run_with(reference_kernels(seed), seed % 2 == 0 ? 1 : 3);
    EXPECT_LE(problem.forward_error(), 2e-6) << "seed " << seed;
    EXPECT_LE(problem.backward_error(), 5e-6) << "seed " << seed;
    EXPECT_TRUE(problem.untouched()) << "seed " << seed;
  }
}

TEST(ReferenceKernels, EqualTheOracleForInputsOfSixteenBits) {
  for (const Element element : {Element::bf16, Element::f16}) {
    for (std::uint32_t seed = 101; seed <= 112; ++seed) {
      Problem problem(random_options(seed, element), seed);
      // Merging keeps the output in f32, so that only the inputs are rounded, which the oracle knows.
      problem.run_with(reference_kernels(seed), 2);
      EXPECT_LE(problem.forward_error(), 2e-6) << "seed " << seed;
      EXPECT_LE(problem.backward_error(), 5e-6) << "seed " << seed;
      EXPECT_TRUE(problem.untouched()) << "seed " << seed;
      problem.run_with(reference_kernels(seed), 1);
      EXPECT_LE(problem.forward_error(), problem.tolerance().forward) << "seed " << seed;
      EXPECT_LE(problem.backward_error(), problem.tolerance().backward) << "seed " << seed;
    }
  }
}

TEST(ReferenceKernels, GiveTheSameBitsForEveryOrderOfThreads) {
  for (std::uint32_t seed = 201; seed <= 204; ++seed) {
    Problem problem(random_options(seed, Element::f32), seed);
    problem.run_with(reference_kernels(1), 2);
    const std::vector<Tensor> first = problem.results();
    for (std::uint32_t order = 2; order < 5; ++order) {
      problem.run_with(reference_kernels(order), 2);
      EXPECT_TRUE(problem.results() == first) << "seed " << seed << " order " << order;
    }
  }
}

TEST(ReferenceKernels, FollowAKeyStride) {
  // Key j stands for position 3 j: query i sees it iff 0 <= 3 j - i + 4 and 3 j - i <= 0.
  AttentionShape shape;
  shape.k_dim = shape.v_dim = 1;
  std::vector<float> q(11, 1.0F), kv, out(11), lse(11);
  for (int j = 0; j < 4; ++j) kv.insert(kv.end(), {0.0F, static_cast<float>(j)});
  AttentionBlock block;
  block.query_count = 11;
  block.key_count = 4;
  block.head_end = 1;
  block.lo = -4;
  block.hi = 0;
  block.key_stride = 3;
  QueryRows queries;
  queries.q = q.data();
  queries.out = out.data();
  queries.lse = lse.data();
  queries.rows = 11;
  queries.head_count = 1;
  KeyRows keys;
  keys.kv = kv.data();
  keys.rows = 4;
  keys.head_count = 1;
  const ReferenceAttention work{shape, OutputMode::write, &block, 1, &queries, &keys};
  for (std::int64_t i = 0; i < 11; ++i) {
    reference_forward_row(work, 0, i, 0);
    double sum = 0, count = 0;
    for (std::int64_t j = 0; j < 4; ++j) {
      if (3 * j - i < -4 || 3 * j - i > 0) continue;
      sum += static_cast<double>(j);
      count += 1;
    }
    EXPECT_FLOAT_EQ(out[static_cast<std::size_t>(i)], static_cast<float>(sum / count));
    EXPECT_NEAR(lse[static_cast<std::size_t>(i)], std::log(count), 1e-6);
  }
}

}  // namespace
}  // namespace strata::kernels::test
