// SPDX-License-Identifier: Apache-2.0
#include "cost_models/cost/transfer_cost.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/check.hpp"

namespace strata {
namespace {

constexpr std::size_t kFewParts = 16;

std::int64_t part_bytes(const RankProgram& program, const ExchangePart& part) {
  STRATA_CHECK(part.buffer >= 0 && static_cast<std::size_t>(part.buffer) < program.buffers.size(),
               "rank {} exchanges buffer {} of {}", program.rank, part.buffer, program.buffers.size());
  return part.row_count * program.buffers[static_cast<std::size_t>(part.buffer)].row_bytes();
}

}  // namespace

std::vector<PeerTraffic> peer_traffic(const RankProgram& program, const Exchange& exchange) {
  std::vector<PeerTraffic> traffic;
  const std::size_t parts = exchange.sends.size() + exchange.receives.size();
  // Exchanges are short, or have far more parts than peers: search what there is, or keep a place for every
  // rank.
  std::vector<std::int32_t> place_of_rank;
  const auto entry = [&](std::int32_t peer) -> PeerTraffic& {
    STRATA_CHECK(peer >= 0, "rank {} exchanges with rank {}", program.rank, peer);
    if (!traffic.empty() && traffic.back().peer == peer) return traffic.back();
    if (parts <= kFewParts) {
      const auto known =
          std::find_if(traffic.begin(), traffic.end(), [&](const auto& t) { return t.peer == peer; });
      return known != traffic.end() ? *known : traffic.emplace_back(PeerTraffic{peer, 0, 0});
    }
    const auto rank = static_cast<std::size_t>(peer);
    if (rank >= place_of_rank.size()) place_of_rank.resize(2 * rank + 1, -1);
    if (place_of_rank[rank] >= 0) return traffic[static_cast<std::size_t>(place_of_rank[rank])];
    place_of_rank[rank] = static_cast<std::int32_t>(traffic.size());
    return traffic.emplace_back(PeerTraffic{peer, 0, 0});
  };
  for (const ExchangePart& part : exchange.sends) entry(part.peer).sent_bytes += part_bytes(program, part);
  for (const ExchangePart& part : exchange.receives)
    entry(part.peer).received_bytes += part_bytes(program, part);
  std::sort(traffic.begin(), traffic.end(),
            [](const PeerTraffic& a, const PeerTraffic& b) { return a.peer < b.peer; });
  return traffic;
}

Duration issue_time(const Exchange& exchange, const CostProfile& profile) {
  const auto parts = static_cast<double>(exchange.sends.size() + exchange.receives.size());
  return {whole_ns(profile.exchange.launch_ns + parts * profile.exchange.part_ns)};
}

InstructionCost device_transfer_cost(std::int64_t bytes, const CostProfile& profile) {
  InstructionCost cost;
  const double time = static_cast<double>(2 * bytes) / profile.copy.bytes_per_second * 1e9;
  cost.work_ns = whole_ns(time * profile.exchange.copy_units);
  cost.memory_bytes = 2 * bytes;
  return cost;
}

Duration isolated_transfer_time(std::int64_t bytes, const Route& route, const CostProfile& profile) {
  if (route.level == LinkLevel::device)
    return Bytes{2 * bytes} / BytesPerSecond{profile.copy.bytes_per_second};
  double rate = route.bandwidth.value;
  if (profile.exchange.peer_bytes_per_second > 0)
    rate = std::min(rate, profile.exchange.peer_bytes_per_second);
  return route.latency + Bytes{bytes} / BytesPerSecond{rate};
}

}  // namespace strata
