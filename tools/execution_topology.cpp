// SPDX-License-Identifier: Apache-2.0
#include "tools/execution_topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"

namespace strata::tools {

namespace {

void expect_sound(const Timeline& timeline, const std::string& where) {
  const bool sound = timeline.rank_count >= 1 && timeline.device_count >= 1 &&
                     timeline.cores_per_device >= 1 && timeline.device_count <= timeline.rank_count;
  if (sound) return;
  throw InputError(
      where,
      fmt::format("{} on {} of {}", counted(timeline.rank_count, "rank"),
                  counted(timeline.device_count, "device"), counted(timeline.cores_per_device, "core")),
      "at least one rank per device and one core per device");
}

/// Whether the devices of the run served the very ranks that `groups` ([rank]) puts together.
bool served(const Timeline& timeline, const std::vector<std::int32_t>& groups) {
  std::set<std::int32_t> used, devices;
  std::set<std::pair<std::int32_t, std::int32_t>> pairs;
  for (std::int32_t rank = 0; rank < timeline.rank_count; ++rank) {
    const std::int32_t group = groups[static_cast<std::size_t>(rank)], device = timeline.device(rank);
    used.insert(group);
    devices.insert(device);
    pairs.emplace(group, device);
  }
  // A device for each group and the other way round.
  return pairs.size() == used.size() && pairs.size() == devices.size() &&
         std::ssize(devices) == timeline.device_count;
}

/// A topology whose devices differ states all of them; a timeline states the largest.
void set_cores(Topology& topology, std::int32_t cores) {
  std::int32_t largest = 0;
  for (const std::int32_t device : topology.rank_device) {
    largest = std::max(largest, topology.devices[static_cast<std::size_t>(device)].cores);
  }
  if (largest == cores) return;
  for (Device& device : topology.devices) device.cores = cores;
}

}  // namespace

Topology one_device_topology(const Timeline& timeline) {
  Topology topology;
  topology.name = "the machine of the run";
  topology.nodes = {"host0"};
  topology.devices = {{"cpu", 0, timeline.cores_per_device, 1.0, {}}};
  topology.rank_device.assign(static_cast<std::size_t>(timeline.rank_count), 0);
  return topology;
}

ExecutionTopology execution_topology(const Timeline& timeline, const Topology& planned,
                                     const std::string& where) {
  expect_sound(timeline, where);
  STRATA_CHECK(planned.rank_count() == timeline.rank_count, "{} ranks planned, {} measured",
               planned.rank_count(), timeline.rank_count);
  if (timeline.device_count == 1) {
    return {one_device_topology(timeline),
            fmt::format("the machine of the run: {} on {}", counted(timeline.rank_count, "rank"),
                        counted(timeline.cores_per_device, "core"))};
  }
  ExecutionTopology execution{planned, {}};
  std::vector<std::int32_t> nodes;
  for (const std::int32_t device : planned.rank_device) {
    nodes.push_back(planned.devices[static_cast<std::size_t>(device)].node);
  }
  if (served(timeline, planned.rank_device)) {
    set_cores(execution.topology, timeline.cores_per_device);
    execution.description =
        fmt::format("the plan's topology {}: {} on {} of {}, as in the run; links as the plan states them",
                    planned.name, counted(timeline.rank_count, "rank"),
                    counted(timeline.device_count, "device"), counted(timeline.cores_per_device, "core"));
    return execution;
  }
  const std::set<std::int32_t> devices(planned.rank_device.begin(), planned.rank_device.end());
  const std::set<std::int32_t> used_nodes(nodes.begin(), nodes.end());
  const std::string layout =
      fmt::format("{} on {} of {}", counted(planned.rank_count(), "rank"),
                  counted(std::ssize(devices), "device"), counted(std::ssize(used_nodes), "node"));
  if (!served(timeline, nodes)) {
    throw InputError(
        where,
        fmt::format("{} on {}{}", counted(timeline.rank_count, "rank"),
                    counted(timeline.device_count, "device"),
                    timeline.rank_device.empty() ? "" : " that did not serve equal blocks of neighbours"),
        fmt::format("all on one, or the layout of the plan's topology {}: {}", planned.name, layout));
  }
  execution.description = fmt::format(
      "the plan's topology {}: {}; the run had one device of {} per node; links as the plan states them",
      planned.name, layout, counted(timeline.cores_per_device, "core"));
  return execution;
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
