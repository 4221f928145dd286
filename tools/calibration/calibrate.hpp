// SPDX-License-Identifier: Apache-2.0
// Measures this machine. Attention is measured over query length x key length, by direct launches on all
// cores at once. Row operations and exchanges are measured by running whole plans and correcting each kind by
// what the step showed. Errors are reported on batches that were not used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cost_models/profile/cost_profile.hpp"
#include "executor/run.hpp"
#include "planner/search/plan_batch.hpp"
#include "tools/calibration/profile_quality.hpp"
#include "tools/output.hpp"

namespace strata::tools {

struct CalibrationRequest {
  ModelShape model;
  std::int32_t threads = 1;
  bool thorough = false;  ///< finer grid and more batches
  std::uint64_t seed = 0;
};

/// Fills the attention tables of `profile` for the model's element type and head dimension, both passes. Also
/// fills in what they cover, and count and digest of the medians behind them. Every cell is the median over
/// launches during which all `threads` cores run the same.
void measure_attention(const CalibrationRequest& request, CostProfile& profile, const Output& output);

/// Runs plans of `threads` ranks, scales each kind's rates to what the step showed, and reports errors on
/// other batches. Needs filled attention tables.
std::vector<FitReport> fit_in_step(const CalibrationRequest& request, CostProfile& profile,
                                   const Output& output);

/// A plan's waves and programs, ready to run.
Execution execution_of(const Plan& plan, const std::vector<std::vector<RankProgram>>& programs);

/// The processor's name as Linux states it.
std::string processor_name();
/// The date in UTC, YYYY-MM-DD.
std::string today();

}  // namespace strata::tools
