// SPDX-License-Identifier: Apache-2.0
// One clock for a job of several processes: process 0's. The offset is that of the round trip that took
// least (F. Cristian, "Probabilistic clock synchronization", 1989), whose error is at most half of it; two
// measurements give a linear drift.
#pragma once

#include <cstdint>

#include "executor/job/control.hpp"

namespace strata {

struct ClockSample {
  std::int64_t at_ns = 0;      ///< on this process's clock
  std::int64_t offset_ns = 0;  ///< what to add to it to read process 0's
  std::int64_t error_ns = 0;   ///< bound
};
inline constexpr std::int32_t kClockRounds = 64;

/// Collective.
ClockSample measure_clock(Control& control);

/// Times between (and around) two samples.
struct ClockMap {
  ClockSample first, last;
  std::int64_t to_reference(std::int64_t at_ns) const;
  std::int64_t error_ns() const;
};

}  // namespace strata
