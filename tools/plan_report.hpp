// SPDX-License-Identifier: Apache-2.0
// A plan as a ranked table of its candidates, for plan, simulate and compare.
#pragma once

#include <string>
#include <vector>

#include "core/model_json.hpp"
#include "core/plan.hpp"
#include "cost_models/cost_profile.hpp"
#include "tools/read_as_batch.hpp"

namespace strata {
class JsonWriter;
}

namespace strata::tools {

/// Step times this close are no reason to prefer one: within this many thousandths of the best.
inline constexpr std::int64_t kTiePermille = 20;

/// Heading (workload, cluster, profile), candidates by step time, and what the step time leaves out.
std::vector<std::string> plan_summary(const Plan& plan, const CostProfile& profile);
/// The members that scripts need, keys as in the plan file. `batch`, `model`: how they were read, where a
/// command read them.
void write_plan_summary(JsonWriter& json, const Plan& plan, const std::string& path,
                        const ReadAsBatch* batch = nullptr, const ModelReading* model = nullptr);
/// `predicted` and `bounds` as in the plan file.
void write_prediction(JsonWriter& json, const Prediction& prediction);
void write_bounds(JsonWriter& json, const Bounds& bounds);

/// "profile NAME, unmeasured", "profile NAME, measured" or "profile NAME, measured, poor".
std::string profile_label(const CostProfile& profile);
/// Peak memory of the fullest rank, its terms, its cap and what it leaves out, wrapped.
std::string memory_summary(const Prediction& predicted, const Plan& plan);
/// "moved 54.0 KiB: 54.0 KiB inside devices, 0 B inside nodes, 0 B over the network".
std::string moved_bytes(const LevelBytes& bytes);
/// What step times count and leave out, as lines; printed wherever a step time is.
std::string excluded_sentence();

}  // namespace strata::tools
