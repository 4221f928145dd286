// SPDX-License-Identifier: Apache-2.0
// Random batches of one wave for the keystone test, adversarial on purpose: 1-token documents, prime lengths,
// one giant among many tiny ones, more ranks than tokens, windows, grouped heads.
#pragma once

#include <cstdint>

#include "planner/search/plan_batch.hpp"

namespace strata::testing {

enum class BatchSize : std::uint8_t { small, large };  ///< at most 512 tokens; 1,024 to 4,096 tokens

struct RandomBatch {
  WaveRequest request;  ///< exchange mode not set
  std::uint64_t seed = 0;
};
RandomBatch random_batch(std::uint64_t number, BatchSize size);

/// One of the combinations of exchange mode, kept or fetched KV and the way gradients come home.
PlanOptions random_options(std::uint64_t batch, std::uint64_t strategy);

}  // namespace strata::testing
