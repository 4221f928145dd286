// SPDX-License-Identifier: Apache-2.0
#include "tests/planner/realise/random_waves.hpp"

#include <utility>

namespace strata::testing {

WaveRequest wave_of(std::vector<std::int64_t> lengths, std::int32_t rank_count, std::int32_t query_heads,
                    std::int32_t kv_heads) {
  WaveRequest request;
  for (std::size_t i = 0; i < lengths.size(); ++i) request.documents.push_back(static_cast<std::int32_t>(i));
  request.lengths = std::move(lengths);
  request.rank_count = rank_count;
  request.model.hidden = 8 * query_heads;
  request.model.ffn = 32;
  request.model.query_heads = query_heads;
  request.model.kv_heads = kv_heads;
  request.model.head_dim = 8;
  request.model.value_head_dim = 8;
  return request;
}

WaveRequest RandomWaves::next() {
  const auto ranks = static_cast<std::int32_t>(number(1, 9));
  const std::int64_t documents = number(1, 6);
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < documents; ++i) {
    const std::int64_t kind = number(0, 3);
    lengths.push_back(kind == 0 ? 1 : kind == 1 ? number(1, 2 * ranks + 1) : number(1, 30));
  }
  const auto kv_heads = static_cast<std::int32_t>(number(1, 3));
  const auto group = static_cast<std::int32_t>(number(1, 4));
  // Half of the time query heads that the ranks divide, so that every strategy takes part.
  const std::int32_t query_heads = kv_heads * group * (number(0, 1) == 0 ? 1 : ranks);
  WaveRequest request = wave_of(lengths, ranks, query_heads, kv_heads);
  std::int32_t document = static_cast<std::int32_t>(number(0, 3));
  for (std::int32_t& each : request.documents) {
    each = document;
    document += static_cast<std::int32_t>(number(1, 2));
  }
  if (number(0, 2) == 0) {
    request.model.attention = AttentionKind::window;
    request.model.window = number(0, 1) == 0 ? number(1, 4) : number(1, 30);
  }
  request.exchange = number(0, 2) == 0 ? ExchangeMode::full : ExchangeMode::needed;
  return request;
}

}  // namespace strata::testing
