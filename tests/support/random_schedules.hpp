// SPDX-License-Identifier: Apache-2.0
// Random schedules of any legal form, which is more than the strategies make: any placement, queries and keys
// that travel and are relayed, partial outputs, head ranges that differ from plane to plane and cut groups of
// query heads, lanes, late `ready`, windows, all ways back, explicit backward schedules that have little to
// do with forward.
#pragma once

#include <cstdint>

#include "core/plan/plan.hpp"

namespace strata::test {

struct RandomSchedule {
  ModelShape model;
  std::int32_t rank_count = 1;
  Wave wave;
};

/// A right schedule on 2 to 6 ranks, the same for the same seed everywhere.
RandomSchedule random_schedule(std::uint64_t seed);

/// Cuts the records of an explicit backward schedule otherwise: by rows, heads or ranks, onto other lanes,
/// gradients later. This changes nothing that it computes.
void cut_backward_otherwise(Wave& wave, std::uint64_t seed);

/// Drops, repeats or shifts something of the schedule or its placement: most of what comes out is wrong.
void damage(RandomSchedule& schedule, std::uint64_t seed);

}  // namespace strata::test
