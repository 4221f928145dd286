// SPDX-License-Identifier: Apache-2.0
// Who owns which tokens of a wave. All four placements give every token to exactly one rank, demand no
// padding and leave ranks empty when there are fewer tokens than pieces; a rank's adjacent pieces of a
// document are one span.
#pragma once

#include <cstdint>

#include "core/schedule/sequence_layout.hpp"
#include "planner/realise/wave_request.hpp"

namespace strata {

/// The documents back to back, cut into one piece per rank; earlier pieces are at most one token longer.
SequenceLayout place_contiguous(const WaveRequest& request);

/// The documents back to back, cut into 2P chunks; rank r owns chunks r and 2P-1-r, so that one long causal
/// document gives every rank the same work. Earlier chunks are at most one token longer.
SequenceLayout place_zigzag(const WaveRequest& request);

/// Zigzag inside every document (per-document sharding, WLB-LLM, arXiv 2503.17924): rank r owns chunks r and
/// 2P-1-r of each. The tokens beyond a multiple of 2P are dealt round-robin over the ranks, going on from
/// document to document, so the ranks' token counts differ by at most one.
SequenceLayout place_per_document(const WaveRequest& request);

/// Every document on one rank: longest processing time first by allowed pairs, ties to fewer tokens, then to
/// the lower rank (Graham 1969).
SequenceLayout place_whole_document(const WaveRequest& request);

/// The rank of zigzag chunk `chunk` of 2 * rank_count.
constexpr std::int32_t zigzag_owner(std::int32_t chunk, std::int32_t rank_count) {
  return chunk < rank_count ? chunk : 2 * rank_count - 1 - chunk;
}

/// Adds `span` to `rank`, joined to the span before when it continues it. Nothing happens for an empty span.
void append_span(SequenceLayout& layout, std::int32_t rank, const TokenSpan& span);

/// Hands out the documents of a wave laid back to back, front to back.
class PackedRow {
 public:
  explicit PackedRow(const WaveRequest& request) : request_(request) {}
  /// The next `tokens` tokens, document by document, become the property of `rank`.
  void give(SequenceLayout& layout, std::int32_t rank, std::int64_t tokens);

 private:
  const WaveRequest& request_;
  std::size_t index_ = 0;    // of the document that the next token belongs to
  std::int64_t offset_ = 0;  // of that token in it
};

}  // namespace strata
