// SPDX-License-Identifier: Apache-2.0
// Dijkstra (Boost.Graph) from every kind of device. Each path is read backwards from its target along the
// lowest numbered link that lies on a shortest path, so that the choice among equals does not depend on how
// the library orders its queue.
//
// A shortest path leaves its source by one of the source's links and never comes back, since every link makes
// a path longer. Distances to all other vertices are therefore those from any vertex with the same links, and
// so are the links that end shortest paths, but for the source's own.
#include "core/problem/route_table.hpp"

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/dijkstra_shortest_paths.hpp>
#include <limits>
#include <map>

#include "core/base/check.hpp"

namespace strata {

namespace {

/// Distance: latency, then the number of links, so that every link makes a path longer.
using Distance = std::pair<std::int64_t, std::int32_t>;
constexpr Distance kFar{std::numeric_limits<std::int64_t>::max(), 0};

using Graph = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, boost::no_property,
                                    boost::property<boost::edge_weight_t, Distance>>;

/// A function object because Boost stores it by value.
struct Extend {
  Distance operator()(const Distance& a, const Distance& b) const {
    return a == kFar || b == kFar ? kFar : Distance{a.first + b.first, a.second + b.second};
  }
};

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

/// One vertex more than the topology: the last, which stands for a device of a kind.
Graph graph_of(const Topology& topology) {
  Graph graph(topology.devices.size() + topology.switches.size() + 1);
  for (const Link& link : topology.links) {
    boost::add_edge(at(link.from), at(link.to), Distance{link.latency.ns, 1}, graph);
  }
  return graph;
}

std::vector<Distance> distances_from(const Graph& graph, std::size_t source) {
  std::vector<Distance> distance(boost::num_vertices(graph), kFar);
  boost::dijkstra_shortest_paths(
      graph, source,
      boost::distance_map(
          boost::make_iterator_property_map(distance.begin(), boost::get(boost::vertex_index, graph)))
          .distance_compare(std::less<>())
          .distance_combine(Extend())
          .distance_inf(kFar)
          .distance_zero(Distance{0, 0}));
  return distance;
}

/// Appends for every vertex of `topology` the lowest numbered link that ends a shortest path to it, or -1.
void append_last_links(const Topology& topology, const std::vector<Distance>& distance,
                       std::vector<std::int32_t>& all) {
  const std::size_t begin = all.size();
  all.resize(begin + distance.size() - 1, -1);
  for (std::size_t i = 0; i < topology.links.size(); ++i) {
    const Link& link = topology.links[i];
    std::int32_t& last = all[begin + at(link.to)];
    const Distance& from = distance[at(link.from)];
    if (last >= 0 || from == kFar) continue;
    if (Extend()(from, {link.latency.ns, 1}) == distance[at(link.to)]) last = static_cast<std::int32_t>(i);
  }
}

/// (neighbour, latency) of a device's links, ascending: devices with equal ones are of one kind.
using Connection = std::vector<std::pair<std::int32_t, std::int64_t>>;

Connection connection_of(const Topology& topology, const std::vector<std::int32_t>& links) {
  Connection connection;
  for (const std::int32_t link : links) {
    connection.emplace_back(topology.links[at(link)].to, topology.links[at(link)].latency.ns);
  }
  std::sort(connection.begin(), connection.end());
  return connection;
}

}  // namespace

RouteTable::RouteTable(const Topology& topology)
    : vertices_(topology.devices.size() + topology.switches.size()) {
  std::vector<std::int32_t> source_of(topology.devices.size(), -1);
  for (const std::int32_t device : topology.rank_device) source_of[at(device)] = 0;
  for (std::size_t device = 0; device < source_of.size(); ++device) {
    if (source_of[device] < 0) continue;
    source_of[device] = static_cast<std::int32_t>(sources_.size());
    sources_.push_back({static_cast<std::int32_t>(device), 0, {}});
  }
  for (const std::int32_t device : topology.rank_device) rank_source_.push_back(source_of[at(device)]);

  std::vector<std::vector<std::int32_t>> links_of(sources_.size());
  for (std::size_t i = 0; i < topology.links.size(); ++i) {
    const Link& link = topology.links[i];
    hops_.push_back({link.from, link.level, link.latency, link.bandwidth});
    if (at(link.from) >= source_of.size() || source_of[at(link.from)] < 0) continue;
    links_of[at(source_of[at(link.from)])].push_back(static_cast<std::int32_t>(i));
  }
  find_paths(topology, links_of);
}

void RouteTable::find_paths(const Topology& topology,
                            const std::vector<std::vector<std::int32_t>>& links_of) {
  std::map<Connection, std::int32_t> kind_of;
  Graph graph = graph_of(topology);
  std::vector<std::vector<bool>> direct;  // [kind][place in the connection]
  for (std::size_t s = 0; s < sources_.size(); ++s) {
    const Connection connection = connection_of(topology, links_of[s]);
    const auto [found, is_new] = kind_of.emplace(connection, static_cast<std::int32_t>(kind_of.size()));
    sources_[s].kind = found->second;
    if (is_new) {
      boost::clear_out_edges(vertices_, graph);
      for (const auto& [to, latency] : connection) {
        boost::add_edge(vertices_, at(to), Distance{latency, 1}, graph);
      }
      const std::vector<Distance> distance = distances_from(graph, vertices_);
      append_last_links(topology, distance, last_);
      std::vector<bool>& shortest = direct.emplace_back();
      for (const auto& [to, latency] : connection)
        shortest.push_back(distance[at(to)] == Distance{latency, 1});
    }
    // A topology has one link per pair of vertices, so links and connection stand in the same order.
    std::vector<std::pair<std::int32_t, std::int32_t>>& own = sources_[s].direct;
    for (const std::int32_t link : links_of[s]) own.emplace_back(topology.links[at(link)].to, link);
    std::sort(own.begin(), own.end());
    const std::vector<bool>& shortest = direct[at(sources_[s].kind)];
    std::size_t kept = 0;
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (shortest[i]) own[kept++] = own[i];
    }
    own.resize(kept);
  }
  kinds_ = kind_of.size();
}

/// The lowest numbered link that ends a shortest path from `source` to `vertex`.
std::int32_t RouteTable::last_link(const Source& source, std::int32_t vertex) const {
  const std::int32_t shared = last_[at(source.kind) * vertices_ + at(vertex)];
  const auto own = std::lower_bound(source.direct.begin(), source.direct.end(), vertex,
                                    [](const std::pair<std::int32_t, std::int32_t>& link,
                                       std::int32_t wanted) { return link.first < wanted; });
  if (own == source.direct.end() || own->first != vertex) return shared;
  return shared < 0 ? own->second : std::min(shared, own->second);
}

template <typename Use>
void RouteTable::walk_back(std::int32_t source_rank, std::int32_t target_rank, const Use& use) const {
  const Source& source = sources_[at(rank_source_[at(source_rank)])];
  std::int32_t vertex = sources_[at(rank_source_[at(target_rank)])].device;
  while (vertex != source.device) {
    const std::int32_t link = last_link(source, vertex);
    STRATA_CHECK(link >= 0, "vertex {} must have a route from {}", vertex, source.device);
    use(link);
    vertex = hops_[at(link)].from;
  }
}

Route RouteTable::between(std::int32_t source_rank, std::int32_t target_rank) const {
  Route route;
  walk_back(source_rank, target_rank, [&](std::int32_t link) {
    const Hop& hop = hops_[at(link)];
    route.latency += hop.latency;
    route.level = std::max(route.level, hop.level);
    if (route.bandwidth.value == 0 || hop.bandwidth < route.bandwidth) route.bandwidth = hop.bandwidth;
  });
  return route;
}

void RouteTable::append_links(std::int32_t source_rank, std::int32_t target_rank,
                              std::vector<std::int32_t>& links) const {
  const auto begin = static_cast<std::ptrdiff_t>(links.size());
  walk_back(source_rank, target_rank, [&](std::int32_t link) { links.push_back(link); });
  std::reverse(links.begin() + begin, links.end());
}

}  // namespace strata
