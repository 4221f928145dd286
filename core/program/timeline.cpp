// SPDX-License-Identifier: Apache-2.0
#include "core/program/timeline.hpp"

#include <algorithm>
#include <tuple>

namespace strata {

bool key_less(const TimelineEvent& a, const TimelineEvent& b) {
  return std::tie(a.repeat, a.wave, a.layer, a.pass, a.rank, a.instruction) <
         std::tie(b.repeat, b.wave, b.layer, b.pass, b.rank, b.instruction);
}

std::int32_t Timeline::device(std::int32_t rank) const {
  if (!rank_device.empty()) return rank_device.at(static_cast<std::size_t>(rank));
  return device_of_equal_blocks(rank, device_count, rank_count);
}

Duration Timeline::makespan(std::int32_t repeat) const {
  Duration end;
  for (const TimelineEvent& event : events) {
    if (event.repeat == repeat) end.ns = std::max(end.ns, event.end_ns);
  }
  return end;
}

}  // namespace strata
