// SPDX-License-Identifier: Apache-2.0
// Bounds that hold for every schedule the IR can express under the simulator's cost model: any placement, any
// exchange, any split into waves. The proofs stand beside the terms in lower_bound.cpp. There is no
// communication term: a schedule may put all tokens on one rank and exchange nothing, so none can be proven
// without a memory cap.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/problem/mask.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {

struct LowerBound {
  Duration compute;  ///< all pairs (and linear work) at the best profiled rate on all devices together
  Duration chain;    ///< launches that one rank must run one after the other, layer by layer
  Duration bound;    ///< the larger
  ActiveBound active = ActiveBound::compute;
  Bytes memory;  ///< the least that the largest rank holds when one wave takes all tokens
  /// The fewest waves with which the tokens can fit what caps memory. 1 where nothing caps it; 0 where no
  /// number of waves fits.
  std::int64_t least_waves = 1;
  bool operator==(const LowerBound&) const = default;
};

/// `document_lengths` are those of the whole step. `options` say what memory depends on and what is
/// recomputed. `layers` and `include_linear` are as in SimulatorOptions (layers 0: as the model says).
LowerBound lower_bound(const std::vector<std::int64_t>& document_lengths, const ModelShape& model,
                       const Topology& topology, const CostProfile& profile, const PlanOptions& options = {},
                       std::int32_t layers = 0, bool include_linear = true);

}  // namespace strata
