// SPDX-License-Identifier: Apache-2.0
#include "executor/device/network_probe.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/base/check.hpp"

namespace strata {

namespace {

constexpr std::size_t kProbeBytes = 4096;

/// Differs between ranks and lanes, and from byte to byte.
std::vector<std::byte> pattern(std::int32_t rank, std::int32_t lane) {
  std::vector<std::byte> bytes(kProbeBytes);
  auto state = static_cast<std::uint32_t>(rank * 64 + lane + 1);
  for (std::byte& each : bytes) {
    state = state * 1664525U + 1013904223U;  // W. H. Press et al., Numerical Recipes, 7.1
    each = static_cast<std::byte>(state >> 24);
  }
  return bytes;
}

/// Whom a rank sends to and receives from on one lane, ascending.
struct Peers {
  std::set<std::int32_t> to, from;
};

std::string names_of(const std::set<std::int32_t>& ranks) {
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "));
}

class Probe {
 public:
  /// `most` receivers at a time.
  Probe(Accelerator& device, Control& control, DeviceNetwork& network, std::size_t most)
      : device_(device),
        control_(control),
        network_(network),
        sent_(device.allocate(static_cast<std::int64_t>((1 + most) * kProbeBytes))),
        stream_(device.add_stream(true)),
        event_(device.add_events(1, false)) {}

  /// All of `peers` at once.
  void run(std::int32_t lane, const Peers& peers) {
    device_.upload(sent_, pattern(control_.process(), lane));
    device_.upload(sent_ + kProbeBytes, std::vector<std::byte>(peers.from.size() * kProbeBytes));
    std::vector<NetworkPart> parts;
    for (const std::int32_t peer : peers.to) parts.push_back({sent_, kProbeBytes, peer, true});
    std::byte* place = sent_;
    for (const std::int32_t peer : peers.from) {
      parts.push_back({place += kProbeBytes, kProbeBytes, peer, false});
    }
    network_.exchange(stream_, lane, parts);
    device_.record(stream_, event_);
    wait(lane, peers);
    place = sent_;
    for (const std::int32_t peer : peers.from) {
      std::vector<std::byte> bytes(kProbeBytes);
      device_.download(bytes, place += kProbeBytes);
      if (bytes == pattern(peer, lane)) continue;
      throw TransportError(control_.process(),
                           fmt::format("testing lane {}: found other bytes than rank {} sent", lane, peer));
    }
  }

 private:
  void wait(std::int32_t lane, const Peers& peers) {
    Patience left(control_.patience());
    while (!device_.happened(event_)) {
      control_.check_alive();
      network_.check();
      if (left.exhausted(monotonic_ns())) {
        const std::string what = peers.from.empty() ? "nobody took what went to " + names_of(peers.to)
                                                    : "nothing from " + names_of(peers.from);
        throw TransportError(control_.process(), fmt::format("testing lane {}: {} for {} s", lane, what,
                                                             control_.deadline().ns / 1'000'000'000));
      }
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  Accelerator& device_;
  Control& control_;
  DeviceNetwork& network_;
  std::byte* sent_;  ///< what arrives lies behind it
  std::int32_t stream_, event_;
};

/// [lane] of a rank's exchanges with others.
std::map<std::int32_t, Peers> peers_of(const Execution& execution, std::int32_t rank) {
  std::map<std::int32_t, Peers> lanes;
  for (const ExecutableWave& wave : execution.waves) {
    const RankProgram& program = wave.programs.at(static_cast<std::size_t>(rank));
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      for (const Instruction& instruction : program.instructions(pass)) {
        const Exchange* const exchange = exchange_of(instruction.op);
        if (exchange == nullptr) continue;
        const auto add = [&](const ExchangePart& part, std::set<std::int32_t> Peers::*side) {
          if (part.peer != rank && part.row_count > 0) (lanes[exchange->lane].*side).insert(part.peer);
        };
        for (const ExchangePart& part : exchange->sends) add(part, &Peers::to);
        for (const ExchangePart& part : exchange->receives) add(part, &Peers::from);
      }
    }
  }
  return lanes;
}

}  // namespace

void probe_network(Accelerator& device, Control& control, DeviceNetwork& network, std::int32_t lanes) {
  const std::int32_t own = control.process(), count = control.processes();
  Probe probe(device, control, network, 1);
  for (std::int32_t lane = 0; lane < lanes; ++lane) {
    probe.run(lane, {{(own + 1) % count}, {(own + count - 1) % count}});
  }
}

void probe_peers(Accelerator& device, Control& control, DeviceNetwork& network, const Execution& execution) {
  const std::map<std::int32_t, Peers> lanes = peers_of(execution, control.process());
  std::size_t most = 0;
  for (const auto& [lane, peers] : lanes) most = std::max(most, peers.from.size());
  if (lanes.empty()) return;
  Probe probe(device, control, network, most);
  for (const auto& [lane, peers] : lanes) probe.run(lane, peers);
}

}  // namespace strata
