// SPDX-License-Identifier: Apache-2.0
#include "tools/execution_topology.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.hpp"
#include "core/counts.hpp"

namespace strata::tools {

Topology execution_topology(const Timeline& timeline, const std::string& where) {
  const bool sound = timeline.rank_count >= 1 && timeline.device_count >= 1 &&
                     timeline.cores_per_device >= 1 && timeline.device_count <= timeline.rank_count;
  if (!sound) {
    throw InputError(
        where,
        fmt::format("{} on {} of {}", counted(timeline.rank_count, "rank"),
                    counted(timeline.device_count, "device"), counted(timeline.cores_per_device, "core")),
        "at least one rank per device and one core per device");
  }
  if (timeline.device_count > 1) {
    throw InputError(where, counted(timeline.device_count, "device"),
                     "a run on one device; runs across devices have no measured links yet");
  }
  Topology topology;
  topology.name = "the machine of the run";
  topology.nodes = {"host0"};
  topology.devices = {{"cpu", 0, timeline.cores_per_device, 1.0, {}}};
  topology.rank_device.assign(static_cast<std::size_t>(timeline.rank_count), 0);
  return topology;
}

void check_measured(const Timeline& timeline, const std::vector<std::vector<RankProgram>>& programs,
                    const std::string& where) {
  const auto ranks = static_cast<std::int32_t>(programs.empty() ? 0 : programs.front().size());
  if (timeline.rank_count != ranks) {
    throw InputError(where, counted(timeline.rank_count, "rank"),
                     fmt::format("{}, the ranks of the plan", ranks));
  }
  std::int32_t layers = 0, repeats = 0;
  for (std::size_t i = 0; i < timeline.events.size(); ++i) {
    const TimelineEvent& event = timeline.events[i];
    layers = std::max(layers, event.layer + 1);
    repeats = std::max(repeats, event.repeat + 1);
    const bool known_program = event.wave < std::ssize(programs) && event.rank < ranks;
    const auto instructions =
        known_program
            ? std::ssize(programs[static_cast<std::size_t>(event.wave)][static_cast<std::size_t>(event.rank)]
                             .instructions(event.pass))
            : 0;
    if (event.instruction < instructions) continue;
    throw InputError(
        fmt::format("{}: events[{}]", where, i),
        fmt::format("instruction {} of wave {}, rank {}", event.instruction, event.wave, event.rank),
        "an instruction of the plan's programs");
  }
  if (layers != timeline.layers || repeats != timeline.repeats) {
    throw InputError(where,
                     fmt::format("events of {} and {}", counted(layers, "layer"), counted(repeats, "repeat")),
                     fmt::format("{} and {}, as the file states", counted(timeline.layers, "layer"),
                                 counted(timeline.repeats, "repeat")));
  }
}

}  // namespace strata::tools
