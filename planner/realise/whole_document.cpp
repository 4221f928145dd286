// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <queue>
#include <tuple>
#include <vector>

#include "core/problem/mask.hpp"
#include "planner/realise/placement.hpp"

namespace strata {

namespace {

/// The next document goes to the rank with the least (pairs, tokens, rank).
struct RankLoad {
  std::int64_t pairs = 0;
  std::int64_t tokens = 0;
  std::int32_t rank = 0;
  auto operator<=>(const RankLoad&) const = default;
};

}  // namespace

SequenceLayout place_whole_document(const WaveRequest& request) {
  const Mask mask = request.model.mask();
  std::vector<std::int64_t> pairs(request.lengths.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = document_pair_count(mask, request.lengths[i]);
  std::vector<std::size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return pairs[a] > pairs[b]; });

  std::priority_queue<RankLoad, std::vector<RankLoad>, std::greater<>> loads;
  for (std::int32_t rank = 0; rank < request.rank_count; ++rank) loads.push({0, 0, rank});
  std::vector<std::int32_t> rank_of(pairs.size());
  for (const std::size_t i : order) {
    RankLoad load = loads.top();
    loads.pop();
    rank_of[i] = load.rank;
    load.pairs += pairs[i];
    load.tokens += request.lengths[i];
    loads.push(load);
  }

  SequenceLayout layout;
  layout.spans.resize(static_cast<std::size_t>(request.rank_count));
  for (std::size_t i = 0; i < rank_of.size(); ++i) {
    append_span(layout, rank_of[i], {request.documents[i], 0, request.lengths[i]});
  }
  return layout;
}

}  // namespace strata
