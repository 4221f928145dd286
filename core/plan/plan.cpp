// SPDX-License-Identifier: Apache-2.0
#include "core/plan/plan.hpp"

#include "core/base/checked.hpp"

namespace strata {

Bytes MemoryTerms::total() const {
  return {checked_sum(state.count, activations.count, attention.count, logits.value_or(Bytes{}).count,
                      communicators.value_or(Bytes{}).count)};
}

std::string_view memory_cap_kind(const PlanOptions& options) {
  if (options.memory_cap.count > 0) return "size";
  return options.device_cap ? "device" : "none";
}

}  // namespace strata
