// SPDX-License-Identifier: Apache-2.0
// Routes: worked out by hand, and on random machines equal to those found from every device by itself.
#include "core/problem/route_table.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace strata {
namespace {

/// Devices 0 .. n-1 with one rank each on one node, and these links (from, to, latency, 1e9 bytes/s).
Topology devices(std::int32_t count, const std::vector<std::array<std::int32_t, 4>>& links) {
  Topology topology;
  topology.name = "made";
  topology.nodes = {"n"};
  for (std::int32_t i = 0; i < count; ++i) {
    topology.devices.push_back({fmt::format("d{}", i), 0, 1, 1.0, Bytes{}});
    topology.rank_device.push_back(i);
  }
  for (const auto& [from, to, latency, gbytes] : links) {
    topology.links.push_back({from, to, LinkLevel::node, Duration{latency}, BytesPerSecond{gbytes * 1e9}});
  }
  return topology;
}

std::vector<std::int32_t> links(const RouteTable& routes, std::int32_t source, std::int32_t target) {
  std::vector<std::int32_t> found;
  routes.append_links(source, target, found);
  return found;
}

TEST(RouteTable, TakesThePathOfLowestLatency) {
  const RouteTable routes(
      devices(3, {{0, 1, 10, 5}, {1, 2, 10, 7}, {0, 2, 25, 9}, {2, 0, 1, 3}, {1, 0, 2, 4}}));
  EXPECT_EQ(links(routes, 0, 2), (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(routes.between(0, 2).latency, Duration{20});
  EXPECT_EQ(routes.between(0, 2).bandwidth, BytesPerSecond{5e9});
  EXPECT_EQ(links(routes, 2, 1), (std::vector<std::int32_t>{3, 0}));
  EXPECT_EQ(links(routes, 1, 0), (std::vector<std::int32_t>{4}));
}

TEST(RouteTable, PrefersFewerLinksThenLowerNumbersAmongEqualLatencies) {
  const RouteTable direct(
      devices(3, {{0, 1, 5, 1}, {1, 2, 5, 1}, {0, 2, 10, 1}, {2, 0, 0, 1}, {1, 0, 0, 1}}));
  EXPECT_EQ(links(direct, 0, 2), (std::vector<std::int32_t>{2}));
  // Two paths 0 -> {2, 1} -> 3: the last hop with the lower number is link 1, from device 2.
  const Topology diamond = devices(4, {{0, 1, 5, 1}, {2, 3, 5, 1}, {0, 2, 5, 1}, {1, 3, 5, 1}, {3, 0, 0, 1}});
  EXPECT_EQ(links(RouteTable(diamond), 0, 3), (std::vector<std::int32_t>{2, 1}));
}

/// [vertex] -> (latency, links) of the shortest path from `source`, by Bellman and Ford's algorithm.
std::vector<std::pair<std::int64_t, std::int32_t>> distances(const Topology& topology, std::int32_t source) {
  constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max() / 2;
  std::vector<std::pair<std::int64_t, std::int32_t>> distance(
      topology.devices.size() + topology.switches.size(), {kFar, 0});
  distance[static_cast<std::size_t>(source)] = {0, 0};
  for (bool changed = true; changed;) {
    changed = false;
    for (const Link& link : topology.links) {
      auto through = distance[static_cast<std::size_t>(link.from)];
      through.first += link.latency.ns;
      ++through.second;
      auto& known = distance[static_cast<std::size_t>(link.to)];
      if (through >= known) continue;
      known = through;
      changed = true;
    }
  }
  return distance;
}

/// The route by its definition: backwards along the lowest numbered link that ends a shortest path.
std::vector<std::int32_t> plain_links(const Topology& topology, std::int32_t source, std::int32_t target) {
  const auto distance = distances(topology, source);
  std::vector<std::int32_t> found;
  for (std::int32_t vertex = target; vertex != source;) {
    for (std::size_t i = 0; i < topology.links.size(); ++i) {
      const Link& link = topology.links[i];
      auto through = distance[static_cast<std::size_t>(link.from)];
      through.first += link.latency.ns;
      ++through.second;
      if (link.to != vertex || through != distance[static_cast<std::size_t>(vertex)]) continue;
      found.push_back(static_cast<std::int32_t>(i));
      vertex = link.from;
      break;
    }
  }
  std::reverse(found.begin(), found.end());
  return found;
}

class Dice {
 public:
  explicit Dice(std::uint32_t seed) : state_(seed) {}
  std::int32_t below(std::int32_t bound) {
    state_ = state_ * 1664525U + 1013904223U;
    return static_cast<std::int32_t>(state_ / 65536U % static_cast<std::uint32_t>(bound));
  }

 private:
  std::uint32_t state_;
};

/// Devices on switches, some of them on several, and some with links of their own; few different latencies,
/// so that many paths are equally long and many devices are connected alike. Links stand in any order.
Topology random_network(Dice& dice) {
  Topology topology = devices(3 + dice.below(8), {});
  const auto count = static_cast<std::int32_t>(topology.devices.size());
  const std::int32_t switches = 1 + dice.below(3);
  std::vector<std::pair<std::int32_t, std::int32_t>> cables;
  for (std::int32_t s = 0; s < switches; ++s) {
    topology.switches.push_back(fmt::format("s{}", s));
    if (s > 0) cables.emplace_back(count + s, count + s - 1);
  }
  for (std::int32_t d = 0; d < count; ++d) {
    cables.emplace_back(d, count + d % switches);
    if (switches > 1 && dice.below(3) == 0) cables.emplace_back(d, count + (d + 1) % switches);
    if (d > 0 && dice.below(4) == 0) cables.emplace_back(d, d - 1);
  }
  const bool even = dice.below(2) == 0;
  for (const auto& [a, b] : cables) {
    for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
      const std::int32_t latency = even ? 10 : 10 * dice.below(3);
      topology.links.push_back({from, to, dice.below(2) == 0 ? LinkLevel::node : LinkLevel::network,
                                Duration{latency}, BytesPerSecond{(1 + dice.below(9)) * 1e9}});
    }
  }
  for (std::size_t i = topology.links.size(); i > 1; --i) {
    std::swap(topology.links[i - 1],
              topology.links[static_cast<std::size_t>(dice.below(static_cast<std::int32_t>(i)))]);
  }
  return topology;
}

TEST(RouteTable, FindsTheRoutesThatEveryDeviceFindsByItself) {
  std::size_t shared = 0;
  for (std::uint32_t seed = 1; seed <= 300; ++seed) {
    Dice dice(seed);
    const Topology topology = random_network(dice);
    validate(topology, "made");
    const RouteTable routes(topology);
    if (routes.kinds() < topology.devices.size()) ++shared;
    for (std::int32_t from = 0; from < topology.rank_count(); ++from) {
      for (std::int32_t to = 0; to < topology.rank_count(); ++to) {
        const std::vector<std::int32_t> expected = plain_links(topology, from, to);
        EXPECT_EQ(links(routes, from, to), expected) << seed << ": " << from << " to " << to;
        Route whole;
        for (const std::int32_t number : expected) {
          const Link& link = topology.links[static_cast<std::size_t>(number)];
          whole.latency += link.latency;
          whole.level = std::max(whole.level, link.level);
          const bool first = whole.bandwidth.value == 0;
          if (first || link.bandwidth < whole.bandwidth) whole.bandwidth = link.bandwidth;
        }
        EXPECT_EQ(routes.between(from, to), whole) << seed << ": " << from << " to " << to;
      }
    }
  }
  EXPECT_GT(shared, 50U) << "hardly any devices were connected alike";
}

TEST(RouteTable, HasOneTableForAllDevicesOfAHost) {
  EXPECT_EQ(RouteTable(named_topology("dgx_h100:16")).kinds(), 16U);
  EXPECT_EQ(RouteTable(named_topology("cpu:64x4")).kinds(), 1U);
}

}  // namespace
}  // namespace strata
