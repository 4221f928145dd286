// SPDX-License-Identifier: Apache-2.0
// strata topo: reads, checks and draws a topology.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/json/json_writer.hpp"
#include "core/problem/route_table.hpp"
#include "core/problem/topology_json.hpp"
#include "tools/command.hpp"

namespace strata::tools {

namespace {

std::string level_of(const Route& route) { return std::string(to_string(route.level)); }

/// Rank x rank letters: '.' same device, 'n' inside a node, 'N' over the network.
std::vector<std::string> draw(const Topology& topology, const RouteTable& routes) {
  constexpr std::int32_t kMostDrawn = 32;
  const std::int32_t ranks = std::min(topology.rank_count(), kMostDrawn);
  std::vector<std::string> lines;
  for (std::int32_t source = 0; source < ranks; ++source) {
    std::string line = fmt::format("{:>4} ", source);
    for (std::int32_t target = 0; target < ranks; ++target) {
      const LinkLevel level = routes.between(source, target).level;
      line += level == LinkLevel::device ? '.' : level == LinkLevel::node ? 'n' : 'N';
    }
    lines.push_back(std::move(line));
  }
  if (ranks < topology.rank_count())
    lines.push_back(fmt::format("  ... {} in all", counted(topology.rank_count(), "rank")));
  return lines;
}

}  // namespace

Command topo_command() {
  auto path = std::make_shared<std::string>();
  Command command;
  command.name = "topo";
  command.summary = "Read, check and draw a topology";
  command.declare = [path](Options& declared) {
    declared.required("FILE", *path, "Topology file, dgx_h100:NODES or cpu:HOSTSxRANKS[:CORES]");
  };
  command.run = [path](Output& output) {
    const Topology topology = load_topology(*path);
    const RouteTable routes(topology);
    output.line(fmt::format("{}: {}, {}, {}, {}", topology.name, counted(std::ssize(topology.nodes), "node"),
                            counted(std::ssize(topology.devices), "device"),
                            counted(topology.rank_count(), "rank"),
                            counted(std::ssize(topology.links), "link")));
    Table levels({"from rank 0 to", "level", "latency", "bandwidth GB/s"});
    LinkLevel last = LinkLevel::device;
    for (std::int32_t rank = 1; rank < topology.rank_count(); ++rank) {
      const Route route = routes.between(0, rank);
      if (rank > 1 && route.level == last) continue;
      last = route.level;
      levels.add(
          {fmt::format("rank {}", rank), level_of(route), human(route.latency),
           route.level == LinkLevel::device ? "-" : fmt::format("{:.1f}", route.bandwidth.value / 1e9)});
    }
    if (topology.rank_count() > 1) output.line(levels.text());
    output.line("ranks by level (. same device, n inside a node, N over the network)");
    for (const std::string& line : draw(topology, routes)) output.line(line);
    output.document([&](JsonWriter& json) { json.raw(to_json(topology)); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
