// SPDX-License-Identifier: Apache-2.0
// One schedule through everything that a plan goes through: lint, the brute-force interpreter, lowering, the
// check of the programs, an executor and the float64 reference.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "executor/run.hpp"
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

/// Runs programs on inputs drawn from `seed`.
using ScheduleRunner = std::function<RunResult(const Execution& execution, std::uint64_t seed)>;

/// On CPU ranks in poisoned arenas. Every eighth run is repeated on two threads with pauses; other bits are a
/// fault, which it throws.
RunResult run_poisoned(const Execution& execution, std::uint64_t seed);

Trial try_schedule(const RandomSchedule& schedule, std::uint64_t seed,
                   const ScheduleRunner& run = run_poisoned);

}  // namespace strata::test
