// SPDX-License-Identifier: Apache-2.0
// What one instruction asks of its device: work in nanoseconds of one execution unit, how many units can
// share it, and the memory traffic. Exchanges cost the device nothing here; see transfer_cost.hpp.
#pragma once

#include <cstdint>

#include "core/program/rank_program.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {

struct InstructionCost {
  std::int64_t work_ns = 0;      ///< of one execution unit at the profile's speed, rounded up
  std::int64_t parallelism = 1;  ///< independent work items; at least 1
  /// Read plus written; 0 for attention and linear work, which memory does not bound.
  std::int64_t memory_bytes = 0;
  bool scales_with_speed = false;    ///< whether Device::relative_speed applies: attention and linear work
  std::int64_t extrapolated_ns = 0;  ///< the part of work_ns that comes from outside the measured tables
  bool operator==(const InstructionCost&) const = default;
};

/// The cost of one instruction of `pass`. TokenWork.linear costs nothing unless `include_linear`.
InstructionCost instruction_cost(const RankProgram& program, const Operation& op, Pass pass,
                                 const ModelShape& model, const CostProfile& profile, bool include_linear);

}  // namespace strata
