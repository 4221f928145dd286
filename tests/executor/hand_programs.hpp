// SPDX-License-Identifier: Apache-2.0
// Two ranks that share one document, written out instruction by instruction: rank 0 holds the first tokens
// and sends its keys, rank 1 holds the rest, merges two partial results and sends key gradients home.
#pragma once

#include <cstdint>

#include "executor/run.hpp"

namespace strata::testing {

ModelShape hand_model(ElementType type);

struct TwoRankOptions {
  std::int64_t first_rows = 100;  ///< tokens of rank 0
  std::int64_t second_rows = 90;  ///< tokens of rank 1
  std::int32_t document = 0;
  std::int64_t unsent_rows = 0;  ///< last keys of rank 0 that are attended to but never sent
};
/// One wave of one document.
ExecutableWave two_rank_wave(const ModelShape& model, const TwoRankOptions& options);
Execution two_rank_execution(ElementType type, const TwoRankOptions& options = {});

/// The same with ranks that first wait for each other: each receives, then sends. Fine with buffers, stuck
/// with rendezvous.
Execution execution_that_waits_in_a_circle();

}  // namespace strata::testing
