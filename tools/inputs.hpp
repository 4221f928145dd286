// SPDX-License-Identifier: Apache-2.0
// The inputs that most commands share, with their shorthands: topology, model, profile and overrides.
// Batches are in batch_inputs.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/model_json.hpp"
#include "cost_models/cost_profile.hpp"
#include "planner/plan_batch.hpp"
#include "tools/command.hpp"

namespace strata::tools {

/// --topology, --ranks, --model and the overrides, --profile, and what a plan is asked for.
struct PlanInputs {
  std::string topology, model = "llama3_8b", profile;
  std::string heads, element_type;
  std::string exchange = "needed", backward_kv = "refetch", gradient_return = "owner";
  std::string memory_cap;
  std::optional<std::int64_t> ranks, head_dim, layers;
  std::vector<std::string> strategies{"auto"};

  void declare(Options& options);
  /// --model with the overrides, each of which is a note. Throws InputError.
  ModelReading read_model() const;
  /// Everything but the batch. Throws InputError.
  PlanRequest request(const Output& output, const ModelReading& model) const;
};

/// A profile file, or the shipped one for the topology when `path` is empty.
CostProfile load_profile(const std::string& path, const Topology& topology);
/// "80GiB", "512MB", "1000000" -> bytes. Throws InputError naming `what`.
Bytes parse_bytes(const std::string& text, const std::string& what);
/// One line per candidate that was rejected, and `notes` on what they were asked for; thrown as NoPlan.
[[noreturn]] void throw_no_plan(const std::vector<Rejection>& rejections,
                                const std::vector<std::string>& notes = {});

}  // namespace strata::tools
