// SPDX-License-Identifier: Apache-2.0
// The meaning of a schedule by brute force: row by row, head by head, rank by rank. It simulates who holds
// what in which step, adds every (query, key) pair to the sums that the tasks name, moves the sums as the
// records say, and compares what has reached the owners with the mask. It knows none of the verifier's code.
// For small waves only.
#pragma once

#include <string>
#include <vector>

#include "core/plan/plan.hpp"

namespace strata::test {

/// What a wave does wrong, one sentence each (the first few). It is empty when every owner ends up with
/// exactly the contributions that the mask allows, once each, to o, dq and dkv, and nobody ever used what it
/// did not have. Anything out of range counts as wrong. Waste (rows received for nothing, or twice) does not.
std::vector<std::string> faults_of_meaning(const Wave& wave, const ModelShape& model,
                                           std::int32_t rank_count);

/// The same for a plan: also wrong when the waves are not exactly the documents of the plan's own batch.
std::vector<std::string> faults_of_meaning(const Plan& plan);

}  // namespace strata::test
