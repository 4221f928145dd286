// SPDX-License-Identifier: Apache-2.0
// One-step exchange of KV: every owner sends its rows once, to all ranks that need them (`needed`) or to all
// (`full`, an all-gather). Multicasts stay multicasts: their number grows with documents + pieces, not with
// pairs of ranks.
#pragma once

#include "core/schedule/sequence_layout.hpp"
#include "planner/realise/wave_request.hpp"

namespace strata {

/// In step 0 the KV of `layout` travels, and ranks compute with their own keys. In step 1 they compute with
/// the remote keys. Any layout works.
CommSchedule schedule_multicast(const WaveRequest& request, const SequenceLayout& layout);

}  // namespace strata
