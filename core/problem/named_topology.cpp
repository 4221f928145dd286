// SPDX-License-Identifier: Apache-2.0
// The machines that ship with Strata. Their constants are nominal or published figures, not measurements of
// the reader's machine; every output that uses them says so.
#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "core/base/check.hpp"
#include "core/problem/topology.hpp"

namespace strata {

namespace {

constexpr std::string_view kDgxPrefix = "dgx_h100:";
constexpr std::string_view kCpuPrefix = "cpu:";
constexpr std::int32_t kMaxRanks = 1 << 16;

constexpr std::int32_t kGpusPerNode = 8;
/// 80 GB of HBM3, sold and reported as 80 GiB.
constexpr Bytes kH100Memory{std::int64_t{80} << 30};
/// NVLink 4 is 450 GB/s per direction nominal; 371 to 380 GB/s are measured between two GPUs (NCCL issue
/// 1264).
constexpr BytesPerSecond kNvlinkBandwidth{370e9};
/// Send/recv inside a node fits 7.5 us + bytes / bandwidth (Vidur's h100_dgx send_recv table); half per hop.
constexpr Duration kNvlinkHopLatency{3750};
/// One 400 Gb/s NIC per GPU delivers 46 to 49 GB/s (nccl-tests issues 267 and 290).
constexpr BytesPerSecond kNicBandwidth{48e9};
/// Send/recv across nodes fits 18.9 us + bytes / bandwidth (the same table); half per hop.
constexpr Duration kNicHopLatency{9450};

/// Unmeasured: an ordinary 100 Gb/s Ethernet between hosts, about 80 % of its line rate, TCP latency.
constexpr BytesPerSecond kHostNetworkBandwidth{10e9};
constexpr Duration kHostNetworkHopLatency{10000};

void add_both_ways(Topology& topology, std::int32_t a, std::int32_t b, LinkLevel level, Duration latency,
                   BytesPerSecond bandwidth) {
  topology.links.push_back({a, b, level, latency, bandwidth});
  topology.links.push_back({b, a, level, latency, bandwidth});
}

/// Eight GPUs on one NVSwitch per node; between nodes one NIC per GPU to a network that never blocks.
Topology dgx_h100(std::int32_t node_count) {
  Topology topology;
  topology.name = fmt::format("{}{}", kDgxPrefix, node_count);
  const std::int32_t gpu_count = node_count * kGpusPerNode;
  for (std::int32_t node = 0; node < node_count; ++node) {
    topology.nodes.push_back(fmt::format("node{}", node));
    topology.switches.push_back(fmt::format("node{}.nvswitch", node));
    for (std::int32_t gpu = 0; gpu < kGpusPerNode; ++gpu) {
      topology.devices.push_back({fmt::format("node{}.gpu{}", node, gpu), node, 1, 1.0, kH100Memory});
    }
  }
  if (node_count > 1) topology.switches.emplace_back("network");
  for (std::int32_t gpu = 0; gpu < gpu_count; ++gpu) {
    add_both_ways(topology, gpu, gpu_count + gpu / kGpusPerNode, LinkLevel::node, kNvlinkHopLatency,
                  kNvlinkBandwidth);
    if (node_count > 1) {
      add_both_ways(topology, gpu, gpu_count + node_count, LinkLevel::network, kNicHopLatency, kNicBandwidth);
    }
    topology.rank_device.push_back(gpu);
  }
  return topology;
}

/// One device per host, shared by the host's ranks; between hosts one network link each.
Topology cpu_hosts(std::string_view spec, std::int32_t hosts, std::int32_t ranks, std::int32_t cores) {
  Topology topology;
  topology.name = spec;
  for (std::int32_t host = 0; host < hosts; ++host) {
    topology.nodes.push_back(fmt::format("host{}", host));
    topology.devices.push_back({fmt::format("host{}.cpu", host), host, cores, 1.0, Bytes{}});
    topology.rank_device.insert(topology.rank_device.end(), static_cast<std::size_t>(ranks), host);
  }
  if (hosts > 1) {
    topology.switches.emplace_back("network");
    for (std::int32_t host = 0; host < hosts; ++host) {
      add_both_ways(topology, host, hosts, LinkLevel::network, kHostNetworkHopLatency, kHostNetworkBandwidth);
    }
  }
  return topology;
}

/// Takes a positive decimal number off the front of `text`.
std::optional<std::int32_t> take_count(std::string_view& text) {
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 1 || value > kMaxRanks) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<Topology> parse_dgx(std::string_view spec) {
  std::string_view rest = spec.substr(kDgxPrefix.size());
  const auto nodes = take_count(rest);
  if (!nodes || !rest.empty() || *nodes > kMaxRankDevices / kGpusPerNode) return std::nullopt;
  return dgx_h100(*nodes);
}

std::optional<Topology> parse_cpu(std::string_view spec) {
  std::string_view rest = spec.substr(kCpuPrefix.size());
  const auto hosts = take_count(rest);
  if (!hosts || *hosts > kMaxRankDevices || !take(rest, 'x')) return std::nullopt;
  const auto ranks = take_count(rest);
  if (!ranks || std::int64_t{*hosts} * *ranks > kMaxRanks) return std::nullopt;
  std::int32_t cores = *ranks;
  if (take(rest, ':')) {
    const auto stated = take_count(rest);
    if (!stated) return std::nullopt;
    cores = *stated;
  }
  if (!rest.empty()) return std::nullopt;
  return cpu_hosts(spec, *hosts, *ranks, cores);
}

}  // namespace

bool is_named_topology(std::string_view spec) {
  return spec.starts_with(kDgxPrefix) || spec.starts_with(kCpuPrefix);
}

std::string topology_names() { return "dgx_h100:NODES, cpu:HOSTSxRANKS or cpu:HOSTSxRANKS:CORES"; }

Topology named_topology(std::string_view spec) {
  std::optional<Topology> topology;
  if (spec.starts_with(kDgxPrefix)) topology = parse_dgx(spec);
  if (spec.starts_with(kCpuPrefix)) topology = parse_cpu(spec);
  if (topology) return *topology;
  throw InputError("topology", fmt::format("'{}'", spec),
                   fmt::format("{}, at most {} ranks on {} devices, or a JSON file", topology_names(),
                               kMaxRanks, kMaxRankDevices));
}

}  // namespace strata
