// SPDX-License-Identifier: Apache-2.0
// One schedule through everything that a plan goes through: lint, the brute-force interpreter, lowering, the
// check of the programs, the CPU executor and the float64 reference.
#pragma once

#include <cstdint>
#include <string>

#include "tests/support/random_schedules.hpp"

namespace strata::test {

enum class Verdict : std::uint8_t {
  right,    ///< accepted, and computes what one device would
  refused,  ///< by a rule of lint
  wrong     ///< accepted, but wrong; or something threw
};

struct Trial {
  Verdict verdict = Verdict::right;
  std::string rule;  ///< of the refusal
  std::string what;  ///< the violation, or what is wrong
};

/// `seed` of the run's inputs. Every eighth run is repeated on two threads with pauses and must give the same
/// bits.
Trial try_schedule(const RandomSchedule& schedule, std::uint64_t seed);

}  // namespace strata::test
