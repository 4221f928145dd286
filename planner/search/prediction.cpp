// SPDX-License-Identifier: Apache-2.0
#include "planner/search/prediction.hpp"

#include "cost_models/bounds/lower_bound.hpp"
#include "cost_models/cost/memory_cost.hpp"
#include "cost_models/simulator/simulator.hpp"

namespace strata {

std::optional<Prediction> predict_step_within(const std::vector<std::vector<RankProgram>>& programs,
                                              const MemoryPrediction& memory, const PlanRequest& request,
                                              std::optional<Duration> most) {
  SimulatorOptions options;
  options.record = false;
  options.recompute = request.options.recompute;
  if (most) options.stop_after = *most;
  Prediction predicted =
      simulate_step(programs, request.topology, request.model, request.profile, options).prediction;
  if (most && predicted.step_time > *most) return std::nullopt;  // perhaps stopped: an incomplete prediction
  set_memory(memory, predicted);
  return predicted;
}

Prediction predict_step(const std::vector<std::vector<RankProgram>>& programs, const MemoryPrediction& memory,
                        const PlanRequest& request) {
  return *predict_step_within(programs, memory, request, std::nullopt);
}

Bounds bounds_of(const PlanRequest& request, Duration step_time) {
  const LowerBound lower = lower_bound(request.batch.document_lengths(), request.model, request.topology,
                                       request.profile, request.options);
  Bounds bounds;
  bounds.lower_bound = lower.bound;
  bounds.active = lower.active;
  bounds.gap = gap_of(step_time, lower.bound);
  return bounds;
}

double gap_of(Duration step_time, Duration lower_bound) {
  if (lower_bound.ns <= 0) return 0;
  return static_cast<double>(step_time.ns) / static_cast<double>(lower_bound.ns) - 1;
}

}  // namespace strata
