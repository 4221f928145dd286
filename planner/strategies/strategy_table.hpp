// SPDX-License-Identifier: Apache-2.0
// The one explicit list of strategies. A new strategy is one file in strategies/ and one line here.
#pragma once

#include <string_view>
#include <vector>

#include "planner/strategies/strategy.hpp"

namespace strata {

/// All strategies in the order in which plans list them and ties are decided.
std::vector<Strategy> all_strategies();

/// Throws InputError naming the known ones when there is none of this name.
Strategy strategy_named(std::string_view name);

/// The strategies that `names` ask for, in table order: "auto" and "all", or no name at all, mean every one.
/// Throws InputError for unknown, empty and repeated names, and for "auto" or "all" beside other names.
std::vector<Strategy> strategies_named(const std::vector<std::string>& names);

}  // namespace strata
