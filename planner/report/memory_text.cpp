// SPDX-License-Identifier: Apache-2.0
#include "planner/report/memory_text.hpp"

#include <fmt/format.h>

#include <optional>

#include "core/base/checked.hpp"
#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"

namespace strata {

namespace {

struct Term {
  std::string_view name;
  std::optional<Bytes> bytes;
  std::string what;  ///< what it counts, or why it is left out
};

std::string state_text(const ModelShape& model, const PlanOptions& options) {
  const std::string shards =
      options.state_shards > 0 ? counted(options.state_shards, "shard") : std::string("all ranks");
  return fmt::format("{} of {:.4g} bytes (weights, gradients, optimiser), shared by {}{}",
                     counted(checked_ceil(parameter_count(model)), "parameter"),
                     options.state_bytes_per_parameter, shards,
                     model.vocabulary > 0 ? "" : "; no embedding, as the model states no vocabulary");
}

std::string activation_text(const PlanOptions& options) {
  switch (options.recompute) {
    case Recompute::none:
      return "inputs, q, k, v, o and the inner tensors of the linear layers, all layers; nothing is "
             "recomputed";
    case Recompute::selective:
      return "inputs, q, k, v and o of all layers, and the inner tensors of the layer being recomputed";
    case Recompute::full:
      break;
  }
  return options.offload_activations
             ? "one layer's input (the others are offloaded) and the inner tensors of the layer being "
               "recomputed"
             : "inputs of all layers, and the inner tensors of the layer being recomputed";
}

std::vector<Term> terms_of(const MemoryTerms& terms, const ModelShape& model, const PlanOptions& options) {
  const std::string logits = options.logits == Logits::chunked ? "the loss is computed in chunks"
                             : model.vocabulary == 0           ? "the model states no vocabulary"
                                                               : "f32, all tokens of the rank";
  return {{"state", terms.state, state_text(model, options)},
          {"activations", terms.activations, activation_text(options)},
          {"attention", terms.attention, "rows received, gradients and workspace"},
          {"logits", terms.logits, logits},
          {"communicators", terms.communicators,
           terms.communicators ? "buffers of the communication library" : "known for GPUs only"}};
}

/// Of the devices with ranks that state their memory, the least.
std::optional<Bytes> least_memory(const Topology& topology) {
  std::optional<Bytes> least;
  for (const std::int32_t device : topology.rank_device) {
    const Bytes memory = topology.devices[static_cast<std::size_t>(device)].memory;
    if (memory.count > 0 && (!least || memory < *least)) least = memory;
  }
  return least;
}

}  // namespace

std::string memory_terms(const MemoryTerms& terms, const ModelShape& model, const PlanOptions& options) {
  std::string text;
  for (const Term& term : terms_of(terms, model, options)) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", term.name,
                        term.bytes ? human(*term.bytes) : fmt::format("left out ({})", term.what));
  }
  return text;
}

std::string memory_exclusions() {
  return "norms, gradient buckets, gathered weights, CUDA context, fragmentation of the allocator";
}

std::string memory_cap_text(const PlanOptions& options, const Topology& topology, Bytes peak) {
  const std::optional<Bytes> least = least_memory(topology);
  if (options.memory_cap.count > 0) {
    std::string cap = fmt::format("cap {} a rank", human(options.memory_cap));
    if (!least || options.memory_cap <= *least) return cap;
    return fmt::format("{}, over the {} of the device", cap, human(*least));
  }
  if (!options.device_cap) {
    if (!least || peak <= *least) return "not capped";
    return fmt::format("not capped, over the {} of the device", human(*least));
  }
  return least ? "capped by the memory of the devices" : "not capped (the topology states no memory)";
}

std::vector<std::string> memory_lines(const Plan& plan) {
  std::vector<std::string> lines;
  for (const Term& term : terms_of(plan.predicted.memory, plan.model, plan.options)) {
    lines.push_back(
        fmt::format("  {} {}: {}", term.name, term.bytes ? human(*term.bytes) : "left out", term.what));
  }
  lines.push_back("  left out of it: " + memory_exclusions());
  return lines;
}

}  // namespace strata
