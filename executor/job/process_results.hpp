// SPDX-License-Identifier: Apache-2.0
// What the processes of a job recorded, brought to process 0 and to its clock.
#pragma once

#include <cstdint>
#include <vector>

#include "executor/job/clock_alignment.hpp"
#include "executor/run.hpp"

namespace strata {

/// One process's part of a run, with times on its own clock. A section is what the processes begin together.
/// It is a whole repeat or, when there is time between the waves that does not count, a wave of it.
struct LocalRecord {
  ClockMap clock;
  std::int64_t device_error_ns = 0;            ///< bound, of a device's times on this process's clock
  std::int32_t sections = 1;                   ///< of each repeat: 1, or the number of waves
  std::vector<std::int64_t> begin_ns, end_ns;  ///< [section], repeat by repeat
  std::vector<TimelineEvent> events;           ///< of its ranks; times count from their section's begin
  Bytes sent;

  std::size_t section_of(const TimelineEvent& event) const {
    const auto first = static_cast<std::size_t>(event.repeat) * static_cast<std::size_t>(sections);
    return first + (sections == 1 ? 0 : static_cast<std::size_t>(event.wave));
  }
};

/// Collective. On process 0 fills result's timeline events, clock error, walls, sent bytes and, where the run
/// kept any, the results of the other processes' ranks.
void gather_results(Control& control, const Execution& execution, LocalRecord record, RunResult& result);

/// Sets matched_ns of every exchange to the moment at which the last of its participants had posted.
/// `events` are a whole run's, sorted by key. Returns by how much a clock must have been wrong at least:
/// nobody meets after an exchange has ended.
std::int64_t match_exchanges(const Execution& execution, std::vector<TimelineEvent>& events);

}  // namespace strata
