// SPDX-License-Identifier: Apache-2.0
// A plan in words and numbers: which layout and why, how the ranks are loaded, which bound binds, how far the
// runner-up was behind, and what the step time leaves out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {

/// What a step time leaves out, as a list within a sentence; the one list for everything that prints a step
/// time.
std::string step_time_exclusions();
/// The sentence about a prediction that is not `settled`.
std::string unsettled_note();

/// Lines of text without line ends. They have at most 110 columns, apart from reasons and names that are
/// longer, and from the last, which lists what the step time leaves out. `profile` is the plan's own,
/// embedded or not. The text says so where it was not measured, and where it is not known.
std::vector<std::string> explain_plan(const Plan& plan, const std::optional<CostProfile>& profile);

}  // namespace strata
