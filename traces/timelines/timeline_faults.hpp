// SPDX-License-Identifier: Apache-2.0
// Whether a timeline shows the whole work of the programs: every instruction in every layer and repeat, each
// with the bytes and FLOPs that its program says. A timeline that lacks the slow half looks fast.
#pragma once

#include <cstdint>
#include <string>

#include "core/program/timeline.hpp"
#include "traces/timelines/program_lookup.hpp"

namespace strata {

struct TimelineFaults {
  std::int64_t instructions = 0;  ///< of the programs, over all layers and repeats of the timeline's head
  std::int64_t missing = 0;       ///< of those, without an event
  std::int64_t differing = 0;     ///< events with other bytes or FLOPs than their instruction
  std::string first_differing;    ///< "events[3]: 5 bytes, but the program sends 7"
  bool operator==(const TimelineFaults&) const = default;
};

/// InputError as program_of. The timeline's events have different keys, as its reader demands.
TimelineFaults timeline_faults(const Timeline& timeline, WavePrograms programs);

}  // namespace strata
