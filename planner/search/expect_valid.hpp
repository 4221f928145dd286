// SPDX-License-Identifier: Apache-2.0
// What a strategy made is proved before it is used.
#pragma once

#include <string_view>
#include <vector>

#include "core/base/check.hpp"
#include "core/verify/verify_schedule.hpp"

namespace strata {

/// A violation in what `strategy` made is a bug: STRATA_CHECK.
inline void expect_valid(const std::vector<Violation>& violations, std::string_view strategy) {
  if (violations.empty()) return;
  const Violation& first = violations.front();
  STRATA_CHECK(violations.empty(), "{} made an invalid plan: {} at {}: {}", strategy, first.rule, first.place,
               first.message);
}

}  // namespace strata
