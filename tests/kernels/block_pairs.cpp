// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/block_pairs.hpp"

namespace strata::kernels::test {

Pairs pairs_of_blocks(const std::vector<AttentionBlock>& blocks) {
  Pairs pairs;
  for (const AttentionBlock& b : blocks) {
    for (std::int64_t i = 0; i < b.query_count; ++i) {
      for (std::int64_t j = 0; j < b.key_count; ++j) {
        const std::int64_t distance = j * b.key_stride - i;
        if (distance < b.lo || distance > b.hi) continue;
        for (std::int64_t h = b.head_begin; h < b.head_end; ++h) {
          ++pairs[{b.query_source, b.query_begin + i, h, b.key_source, b.key_begin + j}];
        }
      }
    }
  }
  return pairs;
}

std::vector<AttentionBlock> random_blocks(std::mt19937& generator, std::int32_t heads,
                                          const BlockLimits& limits) {
  const auto pick = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
  };
  std::vector<AttentionBlock> blocks(static_cast<std::size_t>(pick(1, 6)));
  std::int64_t next_key = 0;
  for (AttentionBlock& block : blocks) {
    block.query_source = static_cast<std::int32_t>(pick(0, 1));
    block.key_source = static_cast<std::int32_t>(pick(0, 1));
    block.query_begin = pick(0, 30);
    block.query_count = pick(0, 4) == 0 ? pick(0, 2) : pick(1, limits.queries);
    block.key_begin = next_key;
    block.key_count = pick(1, limits.keys);
    next_key += block.key_count;
    block.head_begin = static_cast<std::int32_t>(pick(0, heads - 1));
    block.head_end = static_cast<std::int32_t>(pick(block.head_begin, heads));
    block.key_stride = pick(0, 2) == 0 ? pick(2, 4) : 1;
    if (pick(0, 1) == 0) block.hi = pick(-limits.queries, limits.ahead);
    if (pick(0, 1) == 0) block.lo = pick(-limits.queries, 10);
  }
  return blocks;
}

}  // namespace strata::kernels::test
