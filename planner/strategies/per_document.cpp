// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/groups.hpp"
#include "planner/realise/multicast.hpp"
#include "planner/realise/placement.hpp"
#include "planner/strategies/strategies.hpp"

namespace strata {

Strategy per_document_strategy() {
  return {.name = "per_document",
          .summary = "an early and a late chunk of every document per rank; KV moves in one exchange",
          .rejects = [](const WaveRequest&) -> std::optional<Rejection> { return std::nullopt; },
          .place = place_per_document,
          .groups = ring_group,
          .schedule = schedule_multicast};
}

}  // namespace strata
