// SPDX-License-Identifier: Apache-2.0
// A network between host accelerators, each driven by a thread of its own. As on a real network an exchange
// begins when its stream gets there, copies what both ends have begun, and ends when all its parts have
// ended.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "executor/device/device_network.hpp"
#include "tests/support/host_accelerator.hpp"

namespace strata::testing {

/// What the processes' networks share. A part's other end is the next one of (lane, source, target).
class HostWire {
 public:
  struct Part {
    std::byte* data = nullptr;
    std::int64_t bytes = 0;
    bool ended = false;
  };
  using Ends =
      std::map<std::tuple<std::int32_t, std::int32_t, std::int32_t>, std::deque<std::shared_ptr<Part>>>;
  /// One end of a part: waits for the other, or copies.
  std::shared_ptr<Part> begin(std::int32_t lane, std::int32_t process, const NetworkPart& part);
  bool ended(const Part& part);

 private:
  std::mutex mutex_;
  Ends sends_, receives_;
};

class HostNetwork : public DeviceNetwork {
 public:
  HostNetwork(HostWire& wire, HostAccelerator& device, std::int32_t process)
      : wire_(wire), device_(device), process_(process) {}
  void exchange(std::int32_t stream, std::int32_t lane, std::span<const NetworkPart> parts) override;
  void check() override;

  /// check() throws at its n-th call after the first `healthy` exchanges; -1: never.
  std::int64_t fails_at = -1;
  std::int64_t healthy = 0;
  /// The first byte of every part that arrives here is another one.
  bool garbles = false;
  std::int64_t exchanges() const { return exchanges_; }

 private:
  HostWire& wire_;
  HostAccelerator& device_;
  std::int32_t process_;
  std::int64_t exchanges_ = 0, checks_ = 0;
};

}  // namespace strata::testing
