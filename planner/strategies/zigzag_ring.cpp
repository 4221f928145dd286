// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/groups.hpp"
#include "planner/realise/placement.hpp"
#include "planner/realise/relay.hpp"
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
