// SPDX-License-Identifier: Apache-2.0
// A plan as a ranked table of its candidates, for plan, simulate and compare.
#pragma once

#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "cost_models/profile/cost_profile.hpp"
#include "planner/search/plan_batch.hpp"
#include "tools/read_as.hpp"

namespace strata {
class JsonWriter;
}

namespace strata::tools {

/// Step times within so many thousandths of the best are no reason to prefer one.
inline constexpr std::int64_t kTiePermille = 20;

/// Heading (workload, cluster), candidates by step time, and what the step time leaves out.
std::vector<std::string> plan_summary(const Plan& plan);
/// The members that scripts need, keys as in the plan file. `read_as` is what was read for the plan; it comes
/// first.
void write_plan_summary(JsonWriter& json, const Plan& plan, const std::string& path,
                        const ReadAs* read_as = nullptr);
/// The same document where there is no plan: `plan` is null, every candidate has its reason, and `would_fit`
/// lists what to change.
void write_no_plan(JsonWriter& json, const PlanResult& result, const ReadAs& read_as);
/// `bounds` as in the plan file.
void write_bounds(JsonWriter& json, const Bounds& bounds);

/// "profile NAME, unmeasured", "profile NAME, measured" or "profile NAME, measured, poor".
std::string profile_label(const CostProfile& profile);
/// Peak memory of the fullest rank, its terms, its cap and what it leaves out, wrapped.
std::string memory_summary(const Prediction& predicted, const Plan& plan);
/// "moved 54.0 KiB: 54.0 KiB inside devices, 0 B inside nodes, 0 B over the network".
std::string moved_bytes(const LevelBytes& bytes);
/// What step times count and leave out, as lines. They are printed wherever a step time is.
std::string excluded_sentence();

}  // namespace strata::tools
