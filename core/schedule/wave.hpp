// SPDX-License-Identifier: Apache-2.0
// What is decided about one micro-batch: its documents, who owns which tokens, what moves when.
#pragma once

#include <cstdint>
#include <vector>

#include "core/schedule/comm_schedule.hpp"
#include "core/schedule/group_layout.hpp"
#include "core/schedule/sequence_layout.hpp"

namespace strata {

/// One micro-batch. `documents` are those of all groups, ascending; `lengths[i]` belongs to documents[i].
struct Wave {
  std::vector<std::int32_t> documents;
  std::vector<std::int64_t> lengths;
  std::vector<GroupLayout> groups;
  SequenceLayout placement;
  CommSchedule schedule;
  BackwardPolicy backward;
  bool operator==(const Wave&) const = default;
};

}  // namespace strata
