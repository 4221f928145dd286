// SPDX-License-Identifier: Apache-2.0
// Neighbour-to-neighbour exchange of KV: the published ring, which passes everything to everybody, and the
// open chain, which passes rows on only as far as the mask needs them.
#pragma once

#include <optional>

#include "core/schedule/sequence_layout.hpp"
#include "planner/realise/rejection.hpp"
#include "planner/realise/wave_request.hpp"

namespace strata {

/// With more ranks than this, passing KV from neighbour to neighbour is refused: transfers grow with the
/// square of the ranks.
inline constexpr std::int32_t kLongestRelay = 256;

/// The rejection when the relay would take more than kLongestRelay ranks. In `full` all ranks take part, in
/// `needed` those that the longest document may touch when the row is cut into `pieces`.
std::optional<Rejection> rejects_long_relay(const WaveRequest& request, std::string_view strategy,
                                            std::int64_t pieces);

/// Ring attention (arXiv 2310.01889) for `full`, the open chain for `needed`. `layout` is place_contiguous or
/// place_zigzag. Step s computes with what arrived in step s - 1, step 0 with the rank's own keys.
CommSchedule schedule_relay(const WaveRequest& request, const SequenceLayout& layout);

}  // namespace strata
