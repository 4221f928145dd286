// SPDX-License-Identifier: Apache-2.0
// When no candidate fits the memory: what would. Every answer was planned and lowered, none is estimated.
#pragma once

#include <string>
#include <vector>

#include "planner/search/plan_batch.hpp"

namespace strata {

/// Which changes make a strategy of the request fit, the least change first. Tried are recomputation, logits
/// in chunks, offloading, free documents and more machines of the same kind. An entry reads "--recompute full
/// (ring, 61.2 GiB on the fullest rank)". Empty when nothing that was tried fits. `batch` as masked_batch
/// returns it.
std::vector<std::string> would_fit(const Batch& batch, const PlanRequest& request);

}  // namespace strata
