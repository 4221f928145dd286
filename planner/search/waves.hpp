// SPDX-License-Identifier: Apache-2.0
// Which documents run together: recorded packs stay as they are, one wave each; free documents go first-fit
// in the given order into waves of a token budget.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/base/units.hpp"
#include "core/problem/batch.hpp"
#include "core/problem/model_shape.hpp"

namespace strata {

struct WaveDocuments {
  std::vector<std::int32_t> documents;  ///< ascending numbers of the training step
  std::vector<std::int64_t> lengths;
  bool operator==(const WaveDocuments&) const = default;

  std::int64_t token_count() const;
};

inline constexpr std::int64_t kNoTokenBudget = std::numeric_limits<std::int64_t>::max();

/// The batch with the documents that the mask knows. Under full_causal every pack is one document. Throws
/// InputError naming `where` for free documents under full_causal, because nothing says which of them see
/// each other, and for a batch with more pairs than 64 bits count.
Batch masked_batch(Batch batch, const ModelShape& model, std::string_view where);

/// One wave per pack when packs are fixed. Free documents go, in the given order, each into the first wave
/// with room for it. A document longer than the budget has a wave to itself.
std::vector<WaveDocuments> split_into_waves(const Batch& batch, std::int64_t token_budget);

}  // namespace strata
