// SPDX-License-Identifier: Apache-2.0
#include "traces/timelines/timeline_faults.hpp"

#include <fmt/format.h>

namespace strata {

TimelineFaults timeline_faults(const Timeline& timeline, WavePrograms programs) {
  TimelineFaults faults;
  for (const std::vector<RankProgram>& ranks : programs) {
    for (const RankProgram& program : ranks) {
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        faults.instructions += std::ssize(program.instructions(pass));
      }
    }
  }
  faults.instructions *= std::int64_t{timeline.layers} * timeline.repeats;
  faults.missing = faults.instructions - std::ssize(timeline.events);
  for (std::size_t i = 0; i < timeline.events.size(); ++i) {
    const TimelineEvent& event = timeline.events[i];
    const RankProgram& program = program_of(timeline, event, programs);
    const Operation& op = instruction_of(timeline, event, programs).op;
    const std::int64_t bytes = sent_bytes(program, op).count;
    const double flops = operation_flops(program, op).count;
    if (event.bytes == bytes && event.flops == flops) continue;
    if (faults.differing++ > 0) continue;
    faults.first_differing =
        event.bytes != bytes
            ? fmt::format("events[{}]: {} bytes, but the program sends {}", i, event.bytes, bytes)
            : fmt::format("events[{}]: {} FLOPs, but the program has {}", i, event.flops, flops);
  }
  return faults;
}

}  // namespace strata
