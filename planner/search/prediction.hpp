// SPDX-License-Identifier: Apache-2.0
// What a plan claims about its programs: the one way in which the planner and the audit ask the simulator and
// the lower bounds, so that equal inputs give equal claims.
#pragma once

#include <optional>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/program/rank_program.hpp"
#include "planner/search/plan_batch.hpp"

namespace strata {

/// Times, memory, bytes and imbalance of verified `programs` ([wave][rank]), of which `memory` is what
/// predict_memory gives. Throws InputError for a step that is longer than the clock counts.
Prediction predict_step(const std::vector<std::vector<RankProgram>>& programs, const MemoryPrediction& memory,
                        const PlanRequest& request);

/// The same, or nothing when the step takes longer than `most`.
std::optional<Prediction> predict_step_within(const std::vector<std::vector<RankProgram>>& programs,
                                              const MemoryPrediction& memory, const PlanRequest& request,
                                              std::optional<Duration> most);

/// The request's batch is as masked_batch returns it.
Bounds bounds_of(const PlanRequest& request, Duration step_time);

/// step_time / lower_bound - 1; 0 where the bound is 0.
double gap_of(Duration step_time, Duration lower_bound);

}  // namespace strata
