// SPDX-License-Identifier: Apache-2.0
// The inputs that most commands share, with their shorthands: topology, model, profile and overrides.
// Batches are in batch_inputs.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/problem/model_json.hpp"
#include "cost_models/profile/cost_profile.hpp"
#include "planner/search/plan_batch.hpp"
#include "tools/command.hpp"

namespace strata::tools {

/// --topology, --ranks, --model and the overrides, --profile, and what a plan is asked for.
struct PlanInputs {
  std::string topology, model = "llama3_8b", profile;
  std::string heads, element_type;
  std::string exchange = "needed", backward_kv = "refetch", gradient_return = "owner";
  std::string memory_cap = "device", recompute = "none", logits = "full", state_bytes = "16";
  std::int64_t state_shards = 0;
  bool offload_activations = false;
  bool any_device = false, strict = false;
  std::optional<std::int64_t> ranks, head_dim, layers;
  std::vector<std::string> strategies{"auto"};

  void declare(Options& options);
  /// --model with the overrides, each of which is a note. Throws InputError.
  ModelReading read_model() const;
  /// Everything but the batch. Throws InputError.
  PlanRequest request(const Output& output, const ModelReading& model) const;
};

/// A profile file, or the shipped one for the topology when `path` is empty. Throws InputError when it does
/// not speak for the topology's devices; `any_device` lets a file pass all the same.
CostProfile load_profile(const std::string& path, const Topology& topology, bool any_device);
/// "80GiB", "512MB", "1000000" -> bytes. Throws InputError naming `what`.
Bytes parse_bytes(const std::string& text, const std::string& what);
/// Throws NoPlan with one line per candidate that was rejected, what would fit, and `notes` on what they were
/// asked for.
[[noreturn]] void throw_no_plan(const PlanResult& result, const std::vector<std::string>& notes = {});

}  // namespace strata::tools
