// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/groups.hpp"
#include "planner/realise/multicast.hpp"
#include "planner/realise/placement.hpp"
#include "planner/strategies/strategies.hpp"

namespace strata {

Strategy allgather_strategy() {
  return {.name = "allgather",
          .summary = "an early and a late chunk of the packed row per rank; KV moves in one exchange",
          .rejects = [](const WaveRequest&) -> std::optional<Rejection> { return std::nullopt; },
          .place = place_zigzag,
          .groups = ring_group,
          .schedule = schedule_multicast};
}

}  // namespace strata
