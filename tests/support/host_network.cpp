// SPDX-License-Identifier: Apache-2.0
#include "tests/support/host_network.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "executor/job/control.hpp"

namespace strata::testing {

std::shared_ptr<HostWire::Part> HostWire::begin(std::int32_t lane, std::int32_t process,
                                                const NetworkPart& part) {
  auto own = std::make_shared<Part>(Part{part.data, part.bytes});
  const auto key = part.sends ? std::tuple(lane, process, part.peer) : std::tuple(lane, part.peer, process);
  const std::lock_guard lock(mutex_);
  auto& others = (part.sends ? receives_ : sends_)[key];
  if (others.empty()) {
    (part.sends ? sends_ : receives_)[key].push_back(own);
    return own;
  }
  const auto other = others.front();
  others.pop_front();
  if (other->bytes != own->bytes) throw std::logic_error("two ends of a part differ in bytes");
  std::memcpy(part.sends ? other->data : own->data, part.sends ? own->data : other->data,
              static_cast<std::size_t>(own->bytes));
  own->ended = other->ended = true;
  return own;
}

bool HostWire::ended(const Part& part) {
  const std::lock_guard lock(mutex_);
  return part.ended;
}

void HostNetwork::exchange(std::int32_t stream, std::int32_t lane, std::span<const NetworkPart> parts) {
  ++exchanges_;
  const std::vector<NetworkPart> given(parts.begin(), parts.end());
  auto begun = std::make_shared<std::vector<std::shared_ptr<HostWire::Part>>>();
  device_.push_external(stream, [this, lane, given, begun] {
    if (begun->empty()) {
      for (const NetworkPart& part : given) begun->push_back(wire_.begin(lane, process_, part));
    }
    const bool ended =
        std::all_of(begun->begin(), begun->end(), [&](const auto& part) { return wire_.ended(*part); });
    if (ended && garbles) {
      for (const NetworkPart& part : given) {
        if (!part.sends) *part.data ^= std::byte{1};
      }
    }
    return ended;
  });
}

void HostNetwork::check() {
  if (exchanges_ > healthy && checks_++ == fails_at) throw TransportError(process_, "the wire is cut");
}

}  // namespace strata::testing
