// SPDX-License-Identifier: Apache-2.0
#include "core/plan/plan.hpp"

#include <algorithm>

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

std::int64_t document_length(const Wave& wave, std::int32_t document) {
  const auto at = std::lower_bound(wave.documents.begin(), wave.documents.end(), document);
  if (at == wave.documents.end() || *at != document) return -1;
  const auto index = static_cast<std::size_t>(at - wave.documents.begin());
  return index < wave.lengths.size() ? wave.lengths[index] : -1;
}

}  // namespace strata
