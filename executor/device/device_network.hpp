// SPDX-License-Identifier: Apache-2.0
// What carries rows between the devices of a job's processes: exchanges that are issued to a stream like any
// other work. One rank per process; a rank's number is its process's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace strata {

/// One send or receive of an exchange, device memory.
struct NetworkPart {
  std::byte* data = nullptr;
  std::int64_t bytes = 0;
  std::int32_t peer = 0;
  bool sends = false;
};

class DeviceNetwork {
 public:
  virtual ~DeviceNetwork() = default;
  /// Issues all parts as one operation, which begins when the stream gets there and ends when all parts have
  /// ended. Between two ranks the k-th send of one lane meets the k-th receive, whatever exchanges they are
  /// in. The call waits for the peers' processes at most where they are not yet connected. Throws
  /// TransportError.
  virtual void exchange(std::int32_t stream, std::int32_t lane, std::span<const NetworkPart> parts) = 0;
  /// Throws TransportError when something issued earlier has failed. Never waits.
  virtual void check() = 0;
};

}  // namespace strata
