// SPDX-License-Identifier: Apache-2.0
// The pairs that attention blocks stand for, by brute force, and random blocks for the tests of what compiles
// them.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <tuple>
#include <vector>

#include "kernels/attention_work.hpp"

namespace strata::kernels::test {

/// (query source, row, head, key source, row) and how often it occurs.
using Pairs = std::map<std::tuple<std::int32_t, std::int64_t, std::int64_t, std::int32_t, std::int64_t>, int>;
/// (source, row, head) and how often it is written.
using Writers = std::map<std::tuple<std::int32_t, std::int64_t, std::int64_t>, int>;

Pairs pairs_of_blocks(const std::vector<AttentionBlock>& blocks);

struct BlockLimits {
  std::int64_t queries = 0;  ///< rows of a block, and how far back its band reaches
  std::int64_t keys = 0;
  std::int64_t ahead = 0;  ///< how far its band reaches beyond the row itself
};
/// Random blocks, in which no pair is allowed twice: their key ranges are disjoint.
std::vector<AttentionBlock> random_blocks(std::mt19937& generator, std::int32_t heads,
                                          const BlockLimits& limits);

}  // namespace strata::kernels::test
