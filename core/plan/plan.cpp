// SPDX-License-Identifier: Apache-2.0
#include "core/plan/plan.hpp"

#include <algorithm>
#include <numeric>

#include "core/base/checked.hpp"

namespace strata {

Bytes MemoryTerms::total() const {
  return {checked_sum(state.count, activations.count, attention.count, logits.value_or(Bytes{}).count,
                      communicators.value_or(Bytes{}).count)};
}

double imbalance(const std::vector<std::int64_t>& loads) {
  const std::int64_t total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
  if (total == 0) return 1;
  const std::int64_t largest = *std::max_element(loads.begin(), loads.end());
  return static_cast<double>(largest) * static_cast<double>(loads.size()) / static_cast<double>(total);
}

std::string_view memory_cap_kind(const PlanOptions& options) {
  if (options.memory_cap.count > 0) return "size";
  return options.device_cap ? "device" : "none";
}

}  // namespace strata
