// SPDX-License-Identifier: Apache-2.0
// "No plan" is a value, not an exception.
#pragma once

#include <string>

namespace strata {

/// Why a strategy, or every strategy, cannot serve a request. A value: the planner collects them.
struct Rejection {
  std::string strategy;
  std::string reason;
  bool operator==(const Rejection&) const = default;
};

}  // namespace strata
