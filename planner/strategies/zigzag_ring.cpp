// SPDX-License-Identifier: Apache-2.0
#include "planner/exchange/relay.hpp"
#include "planner/placement/groups.hpp"
#include "planner/placement/placement.hpp"
#include "planner/strategies/strategies.hpp"

namespace strata {

Strategy zigzag_ring_strategy() {
  return {.name = "zigzag_ring",
          .summary =
              "an early and a late chunk of the packed row per rank; KV passes from neighbour to neighbour",
          .rejects =
              [](const WaveRequest& request) {
                return rejects_long_relay(request, "zigzag_ring", 2 * request.rank_count);
              },
          .place = place_zigzag,
          .groups = ring_group,
          .schedule = schedule_relay};
}

}  // namespace strata
