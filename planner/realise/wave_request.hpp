// SPDX-License-Identifier: Apache-2.0
// One wave that is to be placed and scheduled.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/problem/token_span.hpp"
#include "core/schedule/comm_schedule.hpp"

namespace strata {

/// What a strategy is asked for: the documents of one wave, on ranks [0, rank_count).
struct WaveRequest {
  std::vector<std::int32_t> documents;  ///< ascending numbers of the training step
  std::vector<std::int64_t> lengths;    ///< tokens of documents[i], at least 1
  std::int32_t rank_count = 1;
  ModelShape model;
  ExchangeMode exchange = ExchangeMode::needed;

  std::int64_t token_count() const;
  HeadRange query_heads() const { return {0, model.query_heads}; }
  HeadRange kv_heads() const { return {0, model.kv_heads}; }
};

/// Throws InputError naming `where` unless documents and lengths agree, are ascending and positive, and there
/// is at least one rank.
void validate(const WaveRequest& request, std::string_view where);

}  // namespace strata
