// SPDX-License-Identifier: Apache-2.0
// A strategy as a value: functions that say whether it can serve a wave, who owns which tokens, which ranks
// form a group, and what moves when. Strategies never see buffers, streams or transports; the explicit list
// is in strategy_table.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/check.hpp"
#include "core/problem/model_shape.hpp"
#include "core/schedule/comm_schedule.hpp"
#include "core/schedule/group_layout.hpp"
#include "core/schedule/sequence_layout.hpp"

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

/// `place` and `schedule` may only be called when `rejects` returned nothing, `schedule` with what `place`
/// gave.
struct Strategy {
  std::string_view name;
  std::string_view summary;  ///< one sentence for people
  std::optional<Rejection> (*rejects)(const WaveRequest& request) = nullptr;
  SequenceLayout (*place)(const WaveRequest& request) = nullptr;
  std::vector<GroupLayout> (*groups)(const WaveRequest& request, const SequenceLayout& layout) = nullptr;
  CommSchedule (*schedule)(const WaveRequest& request, const SequenceLayout& layout) = nullptr;
};

}  // namespace strata
