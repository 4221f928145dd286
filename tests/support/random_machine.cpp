// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random_machine.hpp"

#include <fmt/format.h>

#include <random>

#include "core/problem/route_table.hpp"

namespace strata::testing {

namespace {

class MachineMaker {
 public:
  MachineMaker(std::uint64_t seed, const MachineRange& range) : engine_(seed), range_(range) {
    machine_.name = fmt::format("random{}", seed);
  }

  Topology make() {
    const auto nodes = static_cast<std::int32_t>(number(1, 3));
    for (std::int32_t node = 0; node < nodes; ++node) machine_.nodes.push_back(fmt::format("node{}", node));
    add_devices(nodes);
    const auto devices = static_cast<std::int32_t>(machine_.devices.size());
    for (std::int32_t node = 0; node < nodes; ++node)
      machine_.switches.push_back(fmt::format("inside{}", node));
    machine_.switches.emplace_back("fabric");
    const std::int32_t fabric = devices + nodes;
    for (std::int32_t device = 0; device < devices; ++device) {
      const std::int32_t node = machine_.devices[static_cast<std::size_t>(device)].node;
      add_cable(device, devices + node, LinkLevel::node);
      if (number(0, 1) == 0) add_cable(device, fabric, LinkLevel::network);
    }
    for (std::int32_t node = 0; node < nodes; ++node) add_cable(devices + node, fabric, LinkLevel::network);
    return machine_;
  }

 private:
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }

  void add_devices(std::int32_t nodes) {
    for (auto devices = number(range_.least_devices, range_.most_devices); devices > 0; --devices) {
      const auto device = static_cast<std::int32_t>(machine_.devices.size());
      machine_.devices.push_back({fmt::format("device{}", device),
                                  static_cast<std::int32_t>(number(0, nodes - 1)),
                                  static_cast<std::int32_t>(number(1, range_.most_cores)),
                                  static_cast<double>(number(8, 32)) / 16.0, Bytes{}});
      const std::int64_t ranks = number(1, range_.most_ranks_per_device);
      machine_.rank_device.insert(machine_.rank_device.end(), static_cast<std::size_t>(ranks), device);
    }
  }

  void add_cable(std::int32_t a, std::int32_t b, LinkLevel level) {
    machine_.links.push_back(link(a, b, level));
    machine_.links.push_back(link(b, a, level));
  }

  Link link(std::int32_t from, std::int32_t to, LinkLevel level) {
    return {from, to, level, Duration{number(500, 20'000)},
            BytesPerSecond{static_cast<double>(number(2, 400)) * 1e9}};
  }

  std::mt19937_64 engine_;
  const MachineRange& range_;
  Topology machine_;
};

}  // namespace

Topology random_machine(std::uint64_t seed, const MachineRange& range) {
  return MachineMaker(seed, range).make();
}

std::int64_t uneven_pairs(const Topology& topology) {
  const RouteTable routes(topology);
  std::int64_t pairs = 0;
  for (std::int32_t a = 0; a < topology.rank_count(); ++a) {
    for (std::int32_t b = 0; b < a; ++b) {
      if (routes.between(a, b).level != routes.between(b, a).level) ++pairs;
    }
  }
  return pairs;
}

}  // namespace strata::testing
