// SPDX-License-Identifier: Apache-2.0
#include "planner/realise/wave_request.hpp"

#include <numeric>

#include "core/base/check.hpp"

namespace strata {

std::int64_t WaveRequest::token_count() const {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

void validate(const WaveRequest& request, std::string_view where) {
  const std::string place(where);
  if (request.rank_count < 1)
    throw InputError(place, fmt::format("{} ranks", request.rank_count), "at least 1");
  if (request.documents.empty()) throw InputError(place, "no documents", "at least one");
  if (request.documents.size() != request.lengths.size()) {
    throw InputError(
        place, fmt::format("{} documents with {} lengths", request.documents.size(), request.lengths.size()),
        "one length per document");
  }
  for (std::size_t i = 0; i < request.documents.size(); ++i) {
    if (request.lengths[i] < 1) {
      throw InputError(place,
                       fmt::format("document {} of {} tokens", request.documents[i], request.lengths[i]),
                       "at least 1 token");
    }
    if (i > 0 && request.documents[i - 1] >= request.documents[i]) {
      throw InputError(place,
                       fmt::format("document {} after {}", request.documents[i], request.documents[i - 1]),
                       "ascending document numbers");
    }
  }
}

}  // namespace strata
