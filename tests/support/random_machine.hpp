// SPDX-License-Identifier: Apache-2.0
// Random machines that differ from the shipped ones in everything a topology can state: speeds, cores, ranks
// that share a device, links whose two directions differ in latency, bandwidth and level.
#pragma once

#include <cstdint>

#include "core/problem/topology.hpp"

namespace strata::testing {

struct MachineRange {
  std::int32_t least_devices = 2, most_devices = 16;
  std::int32_t most_ranks_per_device = 3;
  std::int32_t most_cores = 1;
};

/// Equal seeds give equal machines. One to three nodes; devices at 0.5 to 2 times the profile's speed, each
/// serving 1 to `most_ranks_per_device` ranks; every device on its node's switch and, half of the time, on a
/// second one at the network's level with a latency of its own, so that a route and the route back often
/// differ in level. The two directions of a cable have bandwidths of their own, 2 to 400 GB/s.
Topology random_machine(std::uint64_t seed, const MachineRange& range = {});

/// Pairs of ranks whose routes there and back differ in level.
std::int64_t uneven_pairs(const Topology& topology);

}  // namespace strata::testing
