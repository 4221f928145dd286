// SPDX-License-Identifier: Apache-2.0
#include "executor/network_probe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "core/check.hpp"

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

void wait_for(Accelerator& device, Control& control, DeviceNetwork& network, std::int32_t event,
              std::int32_t peer, std::int32_t lane) {
  Patience left(control.patience());
  while (!device.happened(event)) {
    control.check_alive();
    network.check();
    if (left.exhausted(monotonic_ns())) {
      throw TransportError(control.process(), fmt::format("testing lane {}: nothing from rank {} for {} s",
                                                          lane, peer, control.deadline().ns / 1'000'000'000));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

}  // namespace

void probe_network(Accelerator& device, Control& control, DeviceNetwork& network, std::int32_t lanes) {
  const std::int32_t own = control.process(), count = control.processes();
  const std::int32_t next = (own + 1) % count, before = (own + count - 1) % count;
  std::byte* const sent = device.allocate(std::int64_t{2} * kProbeBytes);
  std::byte* const received = sent + kProbeBytes;
  const std::int32_t stream = device.add_stream(true);
  const std::int32_t event = device.add_events(1, false);
  for (std::int32_t lane = 0; lane < lanes; ++lane) {
    device.upload(sent, pattern(own, lane));
    device.upload(received, std::vector<std::byte>(kProbeBytes));
    const std::array<NetworkPart, 2> parts{NetworkPart{sent, kProbeBytes, next, true},
                                           NetworkPart{received, kProbeBytes, before, false}};
    network.exchange(stream, lane, parts);
    device.record(stream, event);
    wait_for(device, control, network, event, before, lane);
    std::vector<std::byte> bytes(kProbeBytes);
    device.download(bytes, received);
    if (bytes == pattern(before, lane)) continue;
    throw TransportError(own,
                         fmt::format("testing lane {}: found other bytes than rank {} sent", lane, before));
  }
}

}  // namespace strata
