// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "planner/realise/placement.hpp"

namespace strata {

namespace {

/// Hands out one document after the other, front to back.
class DocumentDealer {
 public:
  explicit DocumentDealer(const WaveRequest& request) : ranks_(request.rank_count) {
    layout_.spans.resize(static_cast<std::size_t>(ranks_));
  }

  void deal(std::int32_t document, std::int64_t length) {
    const std::int32_t chunks = 2 * ranks_;
    const std::int64_t share = length / chunks;
    const auto extra = static_cast<std::int32_t>(length % chunks);
    document_ = document;
    begin_ = 0;
    if (share == 0) {
      deal_extra_tokens(extra);
    } else {
      for (std::int32_t chunk = 0; chunk < chunks; ++chunk) {
        const std::int32_t rank = zigzag_owner(chunk, ranks_);
        // Dealing order of this chunk's extra token: first every rank's early chunk, then every rank's late
        // one.
        const std::int32_t turn = rank - next_ + (rank < next_ ? ranks_ : 0) + (chunk < ranks_ ? 0 : ranks_);
        give(rank, share + (turn < extra ? 1 : 0));
      }
    }
    next_ = (next_ + extra) % ranks_;
  }

  SequenceLayout take() { return std::move(layout_); }

 private:
  /// Of a document that has fewer tokens than chunks: only its chunks that are not empty, in the same order.
  void deal_extra_tokens(std::int32_t extra) {
    const std::int32_t early = std::min(extra, ranks_), late = extra - early;
    // The ranks whose turn comes are `next_` and those behind it, going round.
    for (std::int32_t rank = 0; rank < next_ + early - ranks_; ++rank) give(rank, 1);
    for (std::int32_t rank = next_; rank < std::min(ranks_, next_ + early); ++rank) give(rank, 1);
    for (std::int32_t rank = std::min(ranks_, next_ + late); rank-- > next_;) give(rank, 1);
    for (std::int32_t rank = next_ + late - ranks_; rank-- > 0;) give(rank, 1);
  }

  void give(std::int32_t rank, std::int64_t tokens) {
    append_span(layout_, rank, {document_, begin_, begin_ + tokens});
    begin_ += tokens;
  }

  SequenceLayout layout_;
  std::int32_t ranks_;
  std::int32_t next_ = 0;  // the rank that gets the next token beyond a multiple of 2P
  std::int32_t document_ = 0;
  std::int64_t begin_ = 0;  // of what is left of it
};

}  // namespace

SequenceLayout place_per_document(const WaveRequest& request) {
  DocumentDealer dealer(request);
  for (std::size_t i = 0; i < request.documents.size(); ++i) {
    dealer.deal(request.documents[i], request.lengths[i]);
  }
  return dealer.take();
}

}  // namespace strata
