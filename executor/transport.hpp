// SPDX-License-Identifier: Apache-2.0
// What an exchange needs of whatever carries its payload to ranks of other processes: links are posted, and
// end. Rendezvous rules hold: a link ends only when both its ends were posted. A transport must not let a
// send end because somewhere there is a buffer.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "executor/prepared_run.hpp"

namespace strata {

class Transport {
 public:
  virtual ~Transport() = default;
  /// Starts the local end of a remote link. Links of one (source, target, lane) are posted in program order.
  virtual void post(const LinkNumber& number) = 0;
  /// Appends the links whose local ends have ended since the last call. Never waits.
  virtual void poll(std::vector<LinkNumber>& ended) = 0;
};

/// Makes a transport, after the arenas and before the first instruction; the run outlives the transport.
/// Collective.
using TransportFactory = std::function<std::unique_ptr<Transport>(const PreparedRun& run)>;

}  // namespace strata
