// SPDX-License-Identifier: Apache-2.0
// One-step exchange of KV: every owner sends its rows once, to all ranks that need them (`needed`) or to all
// (`full`, an all-gather). Multicasts stay multicasts: their number grows with documents + pieces, not with
// pairs of ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "core/schedule/sequence_layout.hpp"
#include "planner/realise/wave_request.hpp"

namespace strata {

/// A set of ranks that can hold a rank several times; reads out as ranges in time linear in ranks / 64.
class RankSet {
 public:
  explicit RankSet(std::int32_t rank_count);
  void add(std::int32_t rank);
  void remove(std::int32_t rank);  ///< once
  /// Sorted ranges of the members other than `excluded`.
  std::vector<RankRange> ranges_without(std::int32_t excluded);

 private:
  std::vector<std::int32_t> counts_;
  std::vector<std::uint64_t> words_;
  std::vector<RankRange> ranges_;  // scratch
};

/// Step 0: the KV of `layout` travels, local keys are computed with; step 1: the remote keys. Any layout
/// works.
CommSchedule schedule_multicast(const WaveRequest& request, const SequenceLayout& layout);

}  // namespace strata
