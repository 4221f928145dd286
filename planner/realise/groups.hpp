// SPDX-License-Identifier: Apache-2.0
// Which ranks of a wave work together, as plans record it.
#pragma once

#include <vector>

#include "core/schedule/group_layout.hpp"
#include "core/schedule/sequence_layout.hpp"
#include "planner/realise/wave_request.hpp"

namespace strata {

/// All ranks share all documents by tokens: one group with the dimension "ring".
std::vector<GroupLayout> ring_group(const WaveRequest& request, const SequenceLayout& layout);
/// All ranks share all documents by heads: one group with the dimension "ulysses".
std::vector<GroupLayout> ulysses_group(const WaveRequest& request, const SequenceLayout& layout);
/// Every rank works alone on the documents that it owns.
std::vector<GroupLayout> group_per_rank(const WaveRequest& request, const SequenceLayout& layout);

}  // namespace strata
