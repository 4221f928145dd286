// SPDX-License-Identifier: Apache-2.0
#include "cost_models/transfer_cost.hpp"

#include <algorithm>
#include <cmath>

#include "core/check.hpp"

namespace strata {
namespace {

std::int64_t part_bytes(const RankProgram& program, const ExchangePart& part) {
  STRATA_CHECK(part.buffer >= 0 && static_cast<std::size_t>(part.buffer) < program.buffers.size(),
               "rank {} exchanges buffer {} of {}", program.rank, part.buffer, program.buffers.size());
  return part.row_count * program.buffers[static_cast<std::size_t>(part.buffer)].row_bytes();
}

}  // namespace

std::vector<PeerTraffic> peer_traffic(const RankProgram& program, const Exchange& exchange) {
  std::vector<PeerTraffic> traffic;
  traffic.reserve(exchange.sends.size() + exchange.receives.size());
  for (const ExchangePart& part : exchange.sends)
    traffic.push_back({part.peer, part_bytes(program, part), 0});
  for (const ExchangePart& part : exchange.receives)
    traffic.push_back({part.peer, 0, part_bytes(program, part)});
  std::sort(traffic.begin(), traffic.end(),
            [](const PeerTraffic& a, const PeerTraffic& b) { return a.peer < b.peer; });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < traffic.size(); ++i) {
    if (kept > 0 && traffic[kept - 1].peer == traffic[i].peer) {
      traffic[kept - 1].sent_bytes += traffic[i].sent_bytes;
      traffic[kept - 1].received_bytes += traffic[i].received_bytes;
    } else {
      traffic[kept++] = traffic[i];
    }
  }
  traffic.resize(kept);
  return traffic;
}

Duration issue_time(const Exchange& exchange, const CostProfile& profile) {
  const auto parts = static_cast<double>(exchange.sends.size() + exchange.receives.size());
  return {
      static_cast<std::int64_t>(std::ceil(profile.exchange.launch_ns + parts * profile.exchange.part_ns))};
}

InstructionCost device_transfer_cost(std::int64_t bytes, const CostProfile& profile) {
  InstructionCost cost;
  const double time = static_cast<double>(2 * bytes) / profile.copy.bytes_per_second * 1e9;
  cost.work_ns = static_cast<std::int64_t>(std::ceil(time * profile.exchange.copy_units));
  cost.memory_bytes = 2 * bytes;
  return cost;
}

Duration isolated_transfer_time(std::int64_t bytes, const Route& route, const CostProfile& profile) {
  if (route.links.empty()) return Bytes{2 * bytes} / BytesPerSecond{profile.copy.bytes_per_second};
  double rate = route.bandwidth.value;
  if (profile.exchange.peer_bytes_per_second > 0)
    rate = std::min(rate, profile.exchange.peer_bytes_per_second);
  return route.latency + Bytes{bytes} / BytesPerSecond{rate};
}

}  // namespace strata
