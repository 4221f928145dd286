// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/groups.hpp"
#include "planner/realise/placement.hpp"
#include "planner/realise/relay.hpp"
#include "planner/strategies/strategies.hpp"

namespace strata {

Strategy ring_strategy() {
  return {
      .name = "ring",
      .summary = "contiguous shards of the packed row; KV passes from neighbour to neighbour",
      .rejects =
          [](const WaveRequest& request) { return rejects_long_relay(request, "ring", request.rank_count); },
      .place = place_contiguous,
      .groups = ring_group,
      .schedule = schedule_relay};
}

}  // namespace strata
