// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/placement.hpp"

namespace strata {

SequenceLayout place_zigzag(const WaveRequest& request) {
  const std::int32_t chunks = 2 * request.rank_count;
  const std::int64_t share = request.token_count() / chunks;
  const std::int64_t longer = request.token_count() % chunks;
  SequenceLayout layout;
  layout.spans.resize(static_cast<std::size_t>(request.rank_count));
  PackedRow row(request);
  // The longer chunks come first, so that with few tokens the chunks that hold any are a prefix: the relay of
  // exchange/relay.cpp rests on it.
  for (std::int32_t chunk = 0; chunk < chunks; ++chunk) {
    row.give(layout, zigzag_owner(chunk, request.rank_count), share + (chunk < longer ? 1 : 0));
  }
  return layout;
}

}  // namespace strata
