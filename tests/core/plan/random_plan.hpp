// SPDX-License-Identifier: Apache-2.0
// Plans for tests of the plan file: every field filled, nothing meant to be a right schedule.
#pragma once

#include <cstdint>

#include "core/plan/plan.hpp"

namespace strata::test {

/// A plan of random form, the same for the same seed on every machine. It passes the reader.
Plan random_plan(std::uint64_t seed);
/// Two ranks, one document, one transfer, one task: small enough to edit as text.
Plan small_plan();

}  // namespace strata::test
