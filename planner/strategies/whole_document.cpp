// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/groups.hpp"
#include "planner/realise/multicast.hpp"
#include "planner/realise/placement.hpp"
#include "planner/strategies/strategies.hpp"

namespace strata {

namespace {

/// Nobody needs a row of another rank, so the exchange of what is needed is empty whatever mode was asked
/// for.
CommSchedule schedule_whole_document(const WaveRequest& request, const SequenceLayout& layout) {
  WaveRequest needed = request;
  needed.exchange = ExchangeMode::needed;
  CommSchedule schedule = schedule_multicast(needed, layout);
  schedule.exchange = request.exchange;
  return schedule;
}

}  // namespace

Strategy whole_document_strategy() {
  return {.name = "whole_document",
          .summary = "every document on one rank, the heaviest first to the least loaded; nothing moves",
          .rejects = [](const WaveRequest&) -> std::optional<Rejection> { return std::nullopt; },
          .place = place_whole_document,
          .groups = group_per_rank,
          .schedule = schedule_whole_document};
}

}  // namespace strata
