// SPDX-License-Identifier: Apache-2.0
// Small random wave requests, adversarial on purpose: 1-token documents, lengths that divide by nothing, more
// ranks than tokens, sparse document numbers, windows, grouped heads.
#pragma once

#include <cstdint>
#include <random>

#include "planner/strategies/strategy.hpp"

namespace strata::testing {

class RandomWaves {
 public:
  explicit RandomWaves(std::uint64_t seed) : engine_(seed) {}

  WaveRequest next();
  /// Uniform in [low, high]; the same on every platform.
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }

 private:
  std::mt19937_64 engine_;
};

/// One document of `length` tokens, or several, with `query_heads` : `kv_heads` heads of dimension 8.
WaveRequest wave_of(std::vector<std::int64_t> lengths, std::int32_t rank_count, std::int32_t query_heads = 2,
                    std::int32_t kv_heads = 1);

}  // namespace strata::testing
