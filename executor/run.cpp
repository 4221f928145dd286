// SPDX-License-Identifier: Apache-2.0
#include "executor/run.hpp"

#include <utility>

namespace strata {

void state_run(const Execution& execution, std::string source, std::int32_t layers, std::int32_t repeats,
               Timeline& timeline) {
  timeline.source = std::move(source);
  timeline.plan_digest = execution.plan_digest;
  timeline.rank_count = static_cast<std::int32_t>(execution.waves.front().programs.size());
  timeline.layers = layers;
  timeline.repeats = repeats;
}

}  // namespace strata
