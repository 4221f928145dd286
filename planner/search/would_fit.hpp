// SPDX-License-Identifier: Apache-2.0
// When no candidate fits the memory: what would. Every answer was planned and lowered, none is estimated.
#pragma once

#include <string>
#include <vector>

#include "planner/search/plan_batch.hpp"

namespace strata {

/// What of recomputation, logits in chunks, offloading, free documents and more machines of the same kind
/// makes a strategy of the request fit, the least change first: "--recompute full (ring, 61.2 GiB on the
/// fullest rank)". Empty when nothing that was tried fits. `batch` as masked_batch returns it.
std::vector<std::string> would_fit(const Batch& batch, const PlanRequest& request);

}  // namespace strata
