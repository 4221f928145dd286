// SPDX-License-Identifier: Apache-2.0
// One training step's documents. Fixed packs are recorded rows whose order is kept (one wave each); free
// documents may be placed into waves by the planner.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace strata {

/// Documents are numbered by position over the whole step, packs in order.
struct Batch {
  std::int64_t step = 0;
  bool fixed_packs = false;
  std::vector<std::vector<std::int64_t>> packs;  ///< tokens per document; one entry when not fixed_packs
  bool operator==(const Batch&) const = default;

  std::int64_t document_count() const;
  std::int64_t token_count() const;
  /// Tokens of every document, in step order.
  std::vector<std::int64_t> document_lengths() const;
};

/// Throws InputError naming `where` when a length is below 1 or above 2^31 - 1, or there is no document.
void validate(const Batch& batch, std::string_view where);

}  // namespace strata
