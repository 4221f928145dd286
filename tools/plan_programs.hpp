// SPDX-License-Identifier: Apache-2.0
// A plan file made ready to simulate or run: read, verified, lowered, and the programs' digests compared.
#pragma once

#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/program/rank_program.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata::tools {

struct LoadedPlan {
  Plan plan;
  std::vector<std::vector<RankProgram>> programs;  ///< [wave][rank]
};

/// Throws InputError naming `path` and the first violated rule when the plan does not verify or was lowered
/// by a version that made other programs.
LoadedPlan load_plan(const std::string& path);

/// The profile at `profile_path` (see load_profile), else the one that the plan carries. Throws InputError
/// where the plan names its profile by digest only.
CostProfile profile_of(const Plan& plan, const std::string& profile_path, bool any_device);

}  // namespace strata::tools
