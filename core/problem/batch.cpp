// SPDX-License-Identifier: Apache-2.0
#include "core/problem/batch.hpp"

#include <fmt/format.h>

#include <limits>
#include <numeric>

#include "core/base/check.hpp"

namespace strata {

std::int64_t Batch::document_count() const {
  std::int64_t count = 0;
  for (const auto& pack : packs) count += static_cast<std::int64_t>(pack.size());
  return count;
}

std::int64_t Batch::token_count() const {
  std::int64_t count = 0;
  for (const auto& pack : packs) count = std::accumulate(pack.begin(), pack.end(), count);
  return count;
}

std::vector<std::int64_t> Batch::document_lengths() const {
  std::vector<std::int64_t> lengths;
  lengths.reserve(static_cast<std::size_t>(document_count()));
  for (const auto& pack : packs) lengths.insert(lengths.end(), pack.begin(), pack.end());
  return lengths;
}

void validate(const Batch& batch, std::string_view where) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  const std::string at(where);
  if (batch.document_count() == 0) throw InputError(at, "no documents", "at least one");
  if (batch.document_count() > kMax) {
    throw InputError(at, fmt::format("{} documents", batch.document_count()),
                     fmt::format("at most {}", kMax));
  }
  if (!batch.fixed_packs && batch.packs.size() != 1) {
    throw InputError(at, fmt::format("{} packs of free documents", batch.packs.size()),
                     "one list of documents");
  }
  std::int64_t document = 0;
  for (std::size_t pack = 0; pack < batch.packs.size(); ++pack) {
    if (batch.packs[pack].empty()) {
      throw InputError(at, fmt::format("pack {} without documents", pack),
                       "at least one document in every pack");
    }
    for (const std::int64_t length : batch.packs[pack]) {
      if (length < 1 || length > kMax) {
        throw InputError(at, fmt::format("{} tokens in document {}", length, document),
                         fmt::format("1 to {} tokens", kMax));
      }
      ++document;
    }
  }
}

}  // namespace strata
