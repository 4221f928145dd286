// SPDX-License-Identifier: Apache-2.0
// Runs tensor-core attention kernels, of either direction, over a problem's lists in the emulator.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>

#include "kernels/cuda/attention_lists.hpp"
#include "kernels/cuda/device_lists.hpp"
#include "kernels/cuda/simt.hpp"
#include "tests/kernels/attention_problem.hpp"

namespace strata::kernels::test {

/// How many blocks, and the seed of the order in which their threads run.
struct Order {
  int grid = 1;
  std::uint64_t seed = 1;
};

template <class Kernel>
void emulate(const AttentionArguments& arguments, const Order& order) {
  emulator::Launch launch;
  launch.blocks = order.grid;
  launch.threads = Kernel::kShape.threads();
  launch.shared_bytes = static_cast<std::size_t>(Kernel::kShape.shared_bytes());
  launch.seed = order.seed;
  emulator::run(launch, [&] { Kernel::run(arguments); });
}

template <template <Element, int, int> class Kernel, Element kElement>
void emulate_dims(const AttentionShape& shape, const AttentionArguments& arguments, const Order& order) {
  const auto is = [&](int k_dim, int v_dim) { return shape.k_dim == k_dim && shape.v_dim == v_dim; };
  if (is(64, 64)) return emulate<Kernel<kElement, 64, 64>>(arguments, order);
  if (is(96, 96)) return emulate<Kernel<kElement, 96, 96>>(arguments, order);
  if (is(128, 128)) return emulate<Kernel<kElement, 128, 128>>(arguments, order);
  if (is(192, 128)) return emulate<Kernel<kElement, 192, 128>>(arguments, order);
  if (is(192, 192)) return emulate<Kernel<kElement, 192, 192>>(arguments, order);
  if (is(256, 256)) return emulate<Kernel<kElement, 256, 256>>(arguments, order);
  throw std::invalid_argument("no kernel for these head dimensions");
}

/// Every block must have drawn tickets until there were none.
template <template <Element, int, int> class Kernel>
void emulate_lists(const AttentionShape& shape, const AttentionLists& lists, const Operands& operands,
                   OutputMode mode, const Order& order) {
  std::int32_t tickets = 0;
  AttentionArguments arguments;
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
    emulate_dims<Kernel, Element::bf16>(shape, arguments, order);
  } else {
    emulate_dims<Kernel, Element::f16>(shape, arguments, order);
  }
  EXPECT_EQ(tickets, arguments.tile_count + order.grid);
}

}  // namespace strata::kernels::test
