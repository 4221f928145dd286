// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/placement.hpp"

namespace strata {

SequenceLayout place_contiguous(const WaveRequest& request) {
  const std::int32_t pieces = request.rank_count;
  const std::int64_t share = request.token_count() / pieces;
  const std::int64_t longer = request.token_count() % pieces;
  SequenceLayout layout;
  layout.spans.resize(static_cast<std::size_t>(pieces));
  PackedRow row(request);
  for (std::int32_t rank = 0; rank < pieces; ++rank) row.give(layout, rank, share + (rank < longer ? 1 : 0));
  return layout;
}

}  // namespace strata
