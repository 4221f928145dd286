// SPDX-License-Identifier: Apache-2.0
#include "core/schedule/wave.hpp"

#include <algorithm>

namespace strata {

std::int64_t document_length(const Wave& wave, std::int32_t document) {
  const auto at = std::lower_bound(wave.documents.begin(), wave.documents.end(), document);
  if (at == wave.documents.end() || *at != document) return -1;
  const auto index = static_cast<std::size_t>(at - wave.documents.begin());
  return index < wave.lengths.size() ? wave.lengths[index] : -1;
}

}  // namespace strata
