// SPDX-License-Identifier: Apache-2.0
// The backward schedule is derived from the forward one (Wave::backward says how), so that strategies
// describe only forward. Tasks repeat at the same steps. kv and q are sent again or kept. d_o goes to ranks
// that compute for queries they do not own. dq goes straight home after its last contribution, dkv as the
// policy says. Both go as Reductions (ScheduleStep::reductions), so that nothing is expanded to unicasts.
#pragma once

#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/schedule/wave.hpp"

namespace strata {

/// Steps in the same form as forward: `tasks` mean AttentionBackward. For a forward schedule that does not
/// pass verify_schedule the result is unspecified but the call returns.
CommSchedule derive_backward(const Wave& wave, const ModelShape& model);

/// Documents by number, `first` to the one before `end`.
struct DocumentNumbers {
  std::int32_t first = 0;
  std::int32_t end = 0;
};

/// Only what derive_backward adds to forward, for a policy other than explicit steps: d_o transfers and
/// reductions of `documents`, in the same steps. The rest of each step is forward's tasks and, with
/// BackwardKeep::refetch, forward's q and kv transfers. `owners` is the table of wave.placement.
std::vector<ScheduleStep> derive_gradient_moves(const Wave& wave, const ModelShape& model,
                                                const OwnerTable& owners, DocumentNumbers documents);

/// What derive_backward gives, put together from the gradient moves of all documents. They may stand in any
/// order within a step.
CommSchedule complete_backward(const Wave& wave, std::vector<ScheduleStep> gradient_moves);

}  // namespace strata
