// SPDX-License-Identifier: Apache-2.0
// Before the first exchange of a job: every rank sends a pattern of its own to the next and looks at what it
// got from the one before. With one rank both are itself.
#pragma once

#include <cstdint>

#include "executor/device/accelerator.hpp"
#include "executor/device/device_network.hpp"
#include "executor/job/control.hpp"
#include "executor/run.hpp"

namespace strata {

/// Collective, over lanes [0, lanes). Throws TransportError naming rank, peer and lane when the bytes that
/// arrive are not those that were sent, or nothing does within the control's deadline.
void probe_network(Accelerator& device, Control& control, DeviceNetwork& network, std::int32_t lanes);
/// The same between all ranks that exchange anything in `execution`, rank by rank and lane by lane: a network
/// connects two ranks when they first meet, which takes a multiple of what an exchange takes.
void probe_peers(Accelerator& device, Control& control, DeviceNetwork& network, const Execution& execution);

}  // namespace strata
