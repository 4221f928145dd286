// SPDX-License-Identifier: Apache-2.0
// A strategy as a value: functions that say whether it can serve a wave, who owns which tokens, which ranks
// form a group, and what moves when. Strategies never see buffers, streams or transports; the explicit list
// is in strategy_table.hpp.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "core/schedule/comm_schedule.hpp"
#include "core/schedule/group_layout.hpp"
#include "core/schedule/sequence_layout.hpp"
#include "planner/realise/rejection.hpp"
#include "planner/realise/wave_request.hpp"

namespace strata {

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
