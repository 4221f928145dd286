// SPDX-License-Identifier: Apache-2.0
#include "tools/execution_topology.hpp"

#include <fmt/format.h>

#include "core/check.hpp"

namespace strata::tools {

Topology execution_topology(const Timeline& timeline, const std::string& where) {
  const bool sound = timeline.rank_count >= 1 && timeline.device_count >= 1 &&
                     timeline.cores_per_device >= 1 && timeline.device_count <= timeline.rank_count;
  if (!sound) {
    throw InputError(where,
                     fmt::format("{} ranks on {} devices of {} cores", timeline.rank_count,
                                 timeline.device_count, timeline.cores_per_device),
                     "at least one rank per device and one core per device");
  }
  if (timeline.device_count > 1) {
    throw InputError(where, fmt::format("{} devices", timeline.device_count),
                     "a run on one device; runs across devices have no measured links yet");
  }
  Topology topology;
  topology.name = "the machine of the run";
  topology.nodes = {"host0"};
  topology.devices = {{"cpu", 0, timeline.cores_per_device, 1.0, {}}};
  topology.rank_device.assign(static_cast<std::size_t>(timeline.rank_count), 0);
  return topology;
}

}  // namespace strata::tools
