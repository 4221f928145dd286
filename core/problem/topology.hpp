// SPDX-License-Identifier: Apache-2.0
// The machine: nodes, devices, switches and links, and which device serves which rank. route_table.hpp finds
// the ways through it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/units.hpp"

namespace strata {

/// device: between ranks of one device (no link); node: inside a host; network: between hosts.
enum class LinkLevel : std::uint8_t { device, node, network };
std::string_view to_string(LinkLevel level);

/// A device has execution units and memory bandwidth that all its ranks share.
struct Device {
  std::string name;
  std::int32_t node = 0;
  std::int32_t cores = 1;       ///< parallel execution units: CPU cores, or 1 for a GPU
  double relative_speed = 1.0;  ///< compute rate relative to the profile's device
  Bytes memory;                 ///< 0: not stated
  bool operator==(const Device&) const = default;
};

/// One direction between two vertices. Vertices [0, devices.size()) are the devices, then the switches.
struct Link {
  std::int32_t from = 0;
  std::int32_t to = 0;
  LinkLevel level = LinkLevel::node;
  Duration latency;
  BytesPerSecond bandwidth;
  bool operator==(const Link&) const = default;
};

struct Topology {
  std::string name;
  std::vector<std::string> nodes;
  std::vector<Device> devices;
  std::vector<std::string> switches;
  std::vector<Link> links;
  std::vector<std::int32_t> rank_device;  ///< [rank] -> device
  bool operator==(const Topology&) const = default;

  std::int32_t rank_count() const { return static_cast<std::int32_t>(rank_device.size()); }
};

/// Throws InputError naming `where` unless indices are in range, bandwidths are positive and every two ranks
/// have a route.
void validate(const Topology& topology, std::string_view where);
/// The first `rank_count` ranks; the rest of the machine stays. Throws InputError when there are fewer.
Topology with_ranks(const Topology& topology, std::int32_t rank_count);
/// "dgx_h100:8" (nodes of 8 GPUs), "cpu:2x4" (2 hosts of 4 ranks, one core each), "cpu:1x8:2" (8 ranks share
/// 2 cores). Throws InputError for anything else.
Topology named_topology(std::string_view spec);
bool is_named_topology(std::string_view spec);
/// "dgx_h100:NODES, cpu:HOSTSxRANKS or cpu:HOSTSxRANKS:CORES", for messages.
std::string topology_names();

/// Wider than any machine, and narrow enough for the simulator's clock.
inline constexpr std::int32_t kMostCores = 65536;
/// No topology has ranks on more devices. Where no two of them are connected alike, a route table has an
/// entry for every pair of such a device and a vertex.
inline constexpr std::int32_t kMaxRankDevices = 4096;

}  // namespace strata
