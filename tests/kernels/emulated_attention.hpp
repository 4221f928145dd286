// SPDX-License-Identifier: Apache-2.0
// Runs tensor-core attention kernels, of either direction, over a problem's lists in the emulator.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include "kernels/cuda/attention_lists.hpp"
#include "kernels/cuda/device_lists.hpp"
#include "kernels/cuda/simt.hpp"
#include "tests/kernels/attention_problem.hpp"

namespace strata::kernels::test {

/// How many blocks, and the seed of the order in which their threads run; multiprocessors, and how many of
/// them are left to communication.
struct Order {
  int grid = 1;
  std::uint64_t seed = 1;
  int multiprocessors = 1;
  int left = 0;
  int most_leavers = 0;
};

/// Two blocks for each of three multiprocessors, one of which is left by both; and all blocks on one that is
/// left, where the last must stay.
inline constexpr Order kOrdersWithLeavers[] = {{6, 2, 3, 1, 2}, {4, 3, 1, 1, 3}};

template <class Kernel>
void emulate(const AttentionArguments& arguments, const Order& order) {
  emulator::Launch launch;
  launch.blocks = order.grid;
  launch.multiprocessors = order.multiprocessors;
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

/// Every block that did not leave must have drawn tickets until there were none.
template <template <Element, int, int> class Kernel>
void emulate_lists(const AttentionShape& shape, const AttentionLists& lists, const Operands& operands,
                   OutputMode mode, const Order& order) {
  AttentionTickets tickets;
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
  arguments.first_left = order.multiprocessors - order.left;
  arguments.most_leavers = order.most_leavers;
  if (shape.element == Element::bf16) {
    emulate_dims<Kernel, Element::bf16>(shape, arguments, order);
  } else {
    emulate_dims<Kernel, Element::f16>(shape, arguments, order);
  }
  const std::int32_t left = std::min(tickets.leavers, order.most_leavers);
  EXPECT_EQ(left, order.most_leavers);
  EXPECT_EQ(tickets.taken, arguments.tile_count + order.grid - left);
}

}  // namespace strata::kernels::test
