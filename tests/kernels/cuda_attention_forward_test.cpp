// SPDX-License-Identifier: Apache-2.0
// Shows the tensor-core forward right without a GPU: the very kernel source, run by the emulator on small
// problems whose documents are cut, scattered over arrays of NaN and described by random bands, against the
// float64 oracle; and that neither the order of threads nor the number of blocks changes a bit.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>

#include "kernels/cuda/attention_forward.cuh"
#include "kernels/cuda/attention_lists.hpp"
#include "tests/kernels/attention_problem.hpp"

namespace strata::kernels::test {
namespace {

constexpr double kForwardError = 4e-3;

template <Element kElement, int kKeyDim, int kValueDim>
void emulate(const ForwardArguments& arguments, int blocks, std::uint64_t seed) {
  using Kernel = AttentionForward<kElement, kKeyDim, kValueDim>;
  emulator::Launch launch;
  launch.blocks = blocks;
  launch.threads = Kernel::kShape.threads();
  launch.shared_bytes = static_cast<std::size_t>(Kernel::kShape.shared_bytes());
  launch.seed = seed;
  emulator::run(launch, [&] { Kernel::run(arguments); });
}

template <Element kElement>
void emulate_dims(const AttentionShape& shape, const ForwardArguments& arguments, int blocks,
                  std::uint64_t seed) {
  const auto is = [&](int k_dim, int v_dim) { return shape.k_dim == k_dim && shape.v_dim == v_dim; };
  if (is(64, 64)) return emulate<kElement, 64, 64>(arguments, blocks, seed);
  if (is(96, 96)) return emulate<kElement, 96, 96>(arguments, blocks, seed);
  if (is(128, 128)) return emulate<kElement, 128, 128>(arguments, blocks, seed);
  if (is(192, 128)) return emulate<kElement, 192, 128>(arguments, blocks, seed);
  if (is(192, 192)) return emulate<kElement, 192, 192>(arguments, blocks, seed);
  if (is(256, 256)) return emulate<kElement, 256, 256>(arguments, blocks, seed);
  throw std::invalid_argument("no kernel for these head dimensions");
}

void emulate_forward(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                     const Operands& operands, OutputMode mode, int grid, std::uint64_t seed) {
  const AttentionLists lists =
      build_attention_lists(shape, blocks, WorkKind::forward, forward_shape(shape.k_dim, shape.v_dim).rows);
  std::int32_t tickets = 0;
  ForwardArguments arguments;
  arguments.tiles = lists.tiles.data();
  arguments.segments = lists.segments.data();
  arguments.queries = operands.queries.data();
  arguments.keys = operands.keys.data();
  arguments.tickets = &tickets;
  arguments.tile_count = static_cast<std::int32_t>(lists.tiles.size());
  arguments.group = shape.group();
  arguments.scale = shape.scale;
  arguments.mode = mode;
  if (shape.element == Element::bf16) {
    emulate_dims<Element::bf16>(shape, arguments, grid, seed);
  } else {
    emulate_dims<Element::f16>(shape, arguments, grid, seed);
  }
  EXPECT_EQ(tickets, arguments.tile_count + grid);
}

Kernels forward_kernels(int grid, std::uint64_t seed) {
  const Launch forward = [=](const auto& shape, auto blocks, const Operands& operands, OutputMode mode) {
    emulate_forward(shape, blocks, operands, mode, grid, seed);
  };
  const Launch nothing = [](const auto&, auto, const Operands&, OutputMode) {};
  return {forward, nothing};
}

ProblemOptions options_of(Element element, std::int32_t k_dim, std::int32_t v_dim, std::int32_t kv_heads,
                          std::int32_t group) {
  ProblemOptions options;
  options.shape.element = element;
  options.shape.k_dim = k_dim;
  options.shape.v_dim = v_dim;
  options.shape.kv_heads = kv_heads;
  options.shape.query_heads = kv_heads * group;
  options.shape.scale = 1.0F / std::sqrt(static_cast<float>(k_dim));
  return options;
}

/// Ragged documents under a random mask; the last is one row, or one key.
ProblemOptions random_options(std::uint32_t seed, std::int32_t dim) {
  std::mt19937 generator(seed);
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
  };
  ProblemOptions options =
      options_of(seed % 2 == 0 ? Element::bf16 : Element::f16, dim, dim,
                 static_cast<std::int32_t>(pick(1, 2)), static_cast<std::int32_t>(pick(1, 2)));
  options.queries.push_back(pick(1, 200));
  options.keys.push_back(pick(0, 1) == 0 ? pick(1, 200) : options.queries.back());
  options.queries.push_back(pick(1, 40));
  options.keys.push_back(options.queries.back());
  options.queries.push_back(pick(0, 1) == 0 ? 1 : pick(1, 30));
  options.keys.push_back(options.queries.back() == 1 ? pick(1, 70) : 1);
  options.window = std::array<std::int64_t, 4>{0, pick(1, 90), -1, -1}[static_cast<std::size_t>(pick(0, 3))];
  return options;
}

void expect_forward(Problem& problem, int launches, int grid, std::uint32_t seed) {
  problem.run_with(forward_kernels(grid, seed), launches);
  EXPECT_LE(problem.forward_error(), kForwardError) << "seed " << seed;
  EXPECT_TRUE(problem.untouched()) << "seed " << seed;
}

TEST(TensorCoreForward, EqualsTheOracleForRandomMasksLengthsAndScatteredPieces) {
  for (const std::int32_t dim : {64, 96, 128}) {
    for (std::uint32_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE("dim " + std::to_string(dim));
      Problem problem(random_options(seed, dim), seed);
      expect_forward(problem, seed % 3 == 0 ? 3 : 1, 1 + static_cast<int>(seed % 3), seed);
    }
  }
}

}  // namespace
}  // namespace strata::kernels::test
