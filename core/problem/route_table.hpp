// SPDX-License-Identifier: Apache-2.0
// Ways through a machine: the lowest latency paths between devices that serve ranks (Boost.Graph inside).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/problem/topology.hpp"

namespace strata {

/// What a path is as a whole. Between ranks of one device there is no link: everything is 0.
struct Route {
  Duration latency;
  BytesPerSecond bandwidth;  ///< of the narrowest link; 0 when there are none
  LinkLevel level = LinkLevel::device;
  bool operator==(const Route&) const = default;
};

/// Routes between all devices that have ranks. Devices that are connected alike (the same neighbours at the
/// same latencies, as the devices of one host usually are) share one table of shortest paths, so that time
/// and memory grow with the kinds of devices times the links and not with the square of the devices.
class RouteTable {
 public:
  /// `topology` must pass `validate`; it need not outlive the table.
  explicit RouteTable(const Topology& topology);

  /// O(links of the path), without memory of its own.
  Route between(std::int32_t source_rank, std::int32_t target_rank) const;
  /// Appends the route's links, indices into Topology::links, from the source on.
  void append_links(std::int32_t source_rank, std::int32_t target_rank,
                    std::vector<std::int32_t>& links) const;
  /// How many tables of shortest paths there are.
  std::size_t kinds() const { return kinds_; }

 private:
  struct Hop {
    std::int32_t from = 0;
    LinkLevel level = LinkLevel::node;
    Duration latency;
    BytesPerSecond bandwidth;
  };
  /// A device that serves ranks.
  struct Source {
    std::int32_t device = 0;
    std::int32_t kind = 0;
    /// (vertex, link) where the device's own link is a shortest path to its neighbour; ascending by vertex.
    std::vector<std::pair<std::int32_t, std::int32_t>> direct;
  };
  /// `links_of`: [source] -> the links that leave it.
  void find_paths(const Topology& topology, const std::vector<std::vector<std::int32_t>>& links_of);
  std::int32_t last_link(const Source& source, std::int32_t vertex) const;
  /// Calls `use(link)` for every link of the path, the last one first.
  template <typename Use>
  void walk_back(std::int32_t source_rank, std::int32_t target_rank, const Use& use) const;

  std::vector<std::int32_t> rank_source_;  // [rank] -> index into sources_
  std::vector<Source> sources_;            // ascending by device
  std::vector<Hop> hops_;                  // [link]
  std::size_t vertices_ = 0, kinds_ = 0;
  std::vector<std::int32_t> last_;  // [kind * vertices_ + vertex] -> link; -1: none but the device's own
};

}  // namespace strata
