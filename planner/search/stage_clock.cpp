// SPDX-License-Identifier: Apache-2.0
#include "planner/search/stage_clock.hpp"

#include "core/base/check.hpp"

namespace strata {

std::int64_t& StageTimes::of(PlanStage stage) {
  switch (stage) {
    case PlanStage::search:
      return search_ns;
    case PlanStage::verify:
      return verify_ns;
    case PlanStage::lower:
      return lower_ns;
    case PlanStage::simulate:
      return simulate_ns;
  }
  STRATA_CHECK(false, "stage {} has no time", static_cast<int>(stage));
}

}  // namespace strata
