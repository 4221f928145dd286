// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/placement.hpp"

namespace strata {

SequenceLayout place_per_document(const WaveRequest& request) {
  const std::int32_t ranks = request.rank_count;
  const std::int32_t chunks = 2 * ranks;
  SequenceLayout layout;
  layout.spans.resize(static_cast<std::size_t>(ranks));
  std::int32_t next = 0;  // the rank that gets the next token beyond a multiple of 2P
  for (std::size_t i = 0; i < request.documents.size(); ++i) {
    const std::int64_t share = request.lengths[i] / chunks;
    const auto extra = static_cast<std::int32_t>(request.lengths[i] % chunks);
    std::int64_t begin = 0;
    for (std::int32_t chunk = 0; chunk < chunks; ++chunk) {
      const std::int32_t rank = zigzag_owner(chunk, ranks);
      // Dealing order of this chunk's extra token: first every rank's early chunk, then every rank's late
      // one.
      const std::int32_t turn = rank - next + (rank < next ? ranks : 0) + (chunk < ranks ? 0 : ranks);
      const std::int64_t end = begin + share + (turn < extra ? 1 : 0);
      append_span(layout, rank, {request.documents[i], begin, end});
      begin = end;
    }
    next = (next + extra) % ranks;
  }
  return layout;
}

}  // namespace strata
