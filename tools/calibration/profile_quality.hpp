// SPDX-License-Identifier: Apache-2.0
// What a measured profile says of its own error.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cost_models/profile/cost_profile.hpp"
#include "traces/timelines/compare_timelines.hpp"

namespace strata::tools {

/// Errors of one operation on held-out batches; relative, (predicted - measured) / measured.
struct FitReport {
  std::string operation;
  ErrorSummary held_out;
};

/// What the fits of both attention passes show. The error is the larger of the two. There is none where one
/// of them has held nothing out: 0 would say that nothing is off. `load` is as in ProfileQuality.
ProfileQuality quality_of(const std::vector<FitReport>& fits, std::optional<double> load);

}  // namespace strata::tools
