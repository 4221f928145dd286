// SPDX-License-Identifier: Apache-2.0
// Checks of a machine, and machines of fewer ranks.
#include "core/problem/topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "core/base/check.hpp"

namespace strata {

namespace {

/// A thousand seconds: keeps every sum over a path inside int64.
constexpr std::int64_t kMaxLatencyNs = 1'000'000'000'000;
// As kMostCores: wider than any machine, and narrow enough that every time is an integer of nanoseconds.
constexpr double kMostSpeed = 1000;
constexpr double kLeastBandwidth = 1e3;  // bytes per second
constexpr double kMostBandwidth = 1e15;

std::size_t vertex_count(const Topology& topology) {
  return topology.devices.size() + topology.switches.size();
}

/// The devices that serve ranks, ascending.
std::vector<std::int32_t> devices_with_ranks(const Topology& topology) {
  std::vector<std::int32_t> devices = topology.rank_device;
  std::sort(devices.begin(), devices.end());
  devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
  return devices;
}

/// The vertices that `start` reaches, or with `backwards` those that reach it.
std::vector<bool> reached(const Topology& topology, std::int32_t start, bool backwards) {
  std::vector<std::vector<std::int32_t>> next(vertex_count(topology));
  for (const Link& link : topology.links) {
    const auto [from, to] = backwards ? std::pair{link.to, link.from} : std::pair{link.from, link.to};
    next[static_cast<std::size_t>(from)].push_back(to);
  }
  std::vector<bool> seen(vertex_count(topology), false);
  std::vector<std::int32_t> open{start};
  seen[static_cast<std::size_t>(start)] = true;
  while (!open.empty()) {
    const auto vertex = static_cast<std::size_t>(open.back());
    open.pop_back();
    for (const std::int32_t neighbour : next[vertex]) {
      if (seen[static_cast<std::size_t>(neighbour)]) continue;
      seen[static_cast<std::size_t>(neighbour)] = true;
      open.push_back(neighbour);
    }
  }
  return seen;
}

void check_index(const std::string& where, const std::string& name, std::int64_t value, std::size_t count) {
  if (value >= 0 && value < static_cast<std::int64_t>(count)) return;
  throw InputError(where, fmt::format("{} = {}", name, value),
                   count == 0 ? "an index into a list that is not empty" : fmt::format("0 to {}", count - 1));
}

void check_devices(const Topology& topology, const std::string& where) {
  if (topology.devices.empty()) throw InputError(where, "no devices", "at least one");
  for (std::size_t i = 0; i < topology.devices.size(); ++i) {
    const Device& device = topology.devices[i];
    const std::string name = fmt::format("devices[{}]", i);
    check_index(where, name + ".node", device.node, topology.nodes.size());
    if (device.cores < 1)
      throw InputError(where, fmt::format("{}.cores = {}", name, device.cores), "at least 1");
    if (!(device.relative_speed > 0) || !std::isfinite(device.relative_speed)) {
      throw InputError(where, fmt::format("{}.relative_speed = {}", name, device.relative_speed), "above 0");
    }
    if (device.cores > kMostCores) {
      throw InputError(where, fmt::format("{}.cores = {}", name, device.cores),
                       fmt::format("1 to {}", kMostCores));
    }
    if (device.relative_speed > kMostSpeed || device.relative_speed * kMostSpeed < 1) {
      throw InputError(where, fmt::format("{}.relative_speed = {}", name, device.relative_speed),
                       fmt::format("{} to {}", 1 / kMostSpeed, kMostSpeed));
    }
    if (device.memory.count < 0) {
      throw InputError(where, fmt::format("{}.memory_bytes = {}", name, device.memory.count), "at least 0");
    }
  }
}

void check_links(const Topology& topology, const std::string& where) {
  std::set<std::pair<std::int32_t, std::int32_t>> seen;
  for (std::size_t i = 0; i < topology.links.size(); ++i) {
    const Link& link = topology.links[i];
    const std::string name = fmt::format("links[{}]", i);
    check_index(where, name + ".from", link.from, vertex_count(topology));
    check_index(where, name + ".to", link.to, vertex_count(topology));
    if (link.from == link.to)
      throw InputError(where, fmt::format("{} from {} to itself", name, link.from), "two ends");
    if (!seen.emplace(link.from, link.to).second) {
      throw InputError(where, fmt::format("{}, a second link from {} to {}", name, link.from, link.to),
                       "one link per direction");
    }
    if (link.level == LinkLevel::device) {
      throw InputError(where, fmt::format("{}.level = \"device\"", name), "\"node\" or \"network\"");
    }
    if (link.latency.ns < 0 || link.latency.ns > kMaxLatencyNs) {
      throw InputError(where, fmt::format("{}.latency_ns = {}", name, link.latency.ns),
                       fmt::format("0 to {}", kMaxLatencyNs));
    }
    if (!(link.bandwidth.value > 0) || !std::isfinite(link.bandwidth.value)) {
      throw InputError(where, fmt::format("{}.bandwidth = {} bytes/s", name, link.bandwidth.value),
                       "above 0");
    }
    if (link.bandwidth.value < kLeastBandwidth || link.bandwidth.value > kMostBandwidth) {
      throw InputError(where, fmt::format("{}.bandwidth = {} bytes/s", name, link.bandwidth.value),
                       fmt::format("{} to {}", kLeastBandwidth, kMostBandwidth));
    }
  }
}

/// All ranks reach each other iff all reach rank 0 and rank 0 reaches all.
void check_routes(const Topology& topology, const std::string& where) {
  const std::int32_t hub = topology.rank_device[0];
  for (const bool backwards : {false, true}) {
    const auto seen = reached(topology, hub, backwards);
    for (std::size_t rank = 0; rank < topology.rank_device.size(); ++rank) {
      if (seen[static_cast<std::size_t>(topology.rank_device[rank])]) continue;
      throw InputError(
          where, fmt::format("no route from rank {} to rank {}", backwards ? rank : 0, backwards ? 0 : rank),
          "links between the devices of all ranks, in both directions");
    }
  }
}

}  // namespace

std::string_view to_string(LinkLevel level) {
  switch (level) {
    case LinkLevel::device:
      return "device";
    case LinkLevel::node:
      return "node";
    case LinkLevel::network:
      return "network";
  }
  STRATA_CHECK(false, "link level {} has no name", static_cast<int>(level));
}

void validate(const Topology& topology, std::string_view where) {
  const std::string at(where);
  check_devices(topology, at);
  check_links(topology, at);
  if (topology.rank_device.empty()) throw InputError(at, "no ranks", "at least one");
  for (std::size_t rank = 0; rank < topology.rank_device.size(); ++rank) {
    check_index(at, fmt::format("ranks[{}].devices[0]", rank), topology.rank_device[rank],
                topology.devices.size());
  }
  if (const auto devices = devices_with_ranks(topology); devices.size() > kMaxRankDevices) {
    throw InputError(at, fmt::format("{} devices with ranks", devices.size()),
                     fmt::format("at most {}", kMaxRankDevices));
  }
  check_routes(topology, at);
}

Topology with_ranks(const Topology& topology, std::int32_t rank_count) {
  if (rank_count < 1 || rank_count > topology.rank_count()) {
    throw InputError(
        "ranks", fmt::format("{}", rank_count),
        fmt::format("1 to {}, the ranks of topology '{}'", topology.rank_count(), topology.name));
  }
  Topology smaller = topology;
  smaller.rank_device.resize(static_cast<std::size_t>(rank_count));
  return smaller;
}

}  // namespace strata
