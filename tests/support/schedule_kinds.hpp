// SPDX-License-Identifier: Apache-2.0
// What is special about a schedule, read off the schedule itself. A test of random schedules can thus say
// that each kind was among them.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "tests/support/random_schedules.hpp"

namespace strata::test {

/// All names that kinds_of may return.
const std::vector<std::string>& all_kinds();
/// The kinds that a schedule which lint accepts is of.
std::set<std::string> kinds_of(const RandomSchedule& schedule);

}  // namespace strata::test
