// SPDX-License-Identifier: Apache-2.0
#include "core/timeline.hpp"

#include <algorithm>
#include <tuple>

namespace strata {

bool key_less(const TimelineEvent& a, const TimelineEvent& b) {
  return std::tie(a.repeat, a.wave, a.layer, a.pass, a.rank, a.instruction) <
         std::tie(b.repeat, b.wave, b.layer, b.pass, b.rank, b.instruction);
}

Duration Timeline::makespan(std::int32_t repeat) const {
  Duration end;
  for (const TimelineEvent& event : events) {
    if (event.repeat == repeat) end.ns = std::max(end.ns, event.end_ns);
  }
  return end;
}

}  // namespace strata
