// SPDX-License-Identifier: Apache-2.0
#include "tools/inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <system_error>

#include "core/base/closest_name.hpp"
#include "core/problem/topology_json.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tools/no_plan.hpp"

namespace strata::tools {

namespace {

template <typename Enum, std::size_t Count>
Enum choice(const std::string& text, const std::string& option,
            const std::array<std::pair<std::string_view, Enum>, Count>& choices) {
  std::vector<std::string_view> words;
  for (const auto& [word, value] : choices) {
    if (word == text) return value;
    words.push_back(word);
  }
  throw InputError(option, "'" + text + "'",
                   fmt::format("{}{}", fmt::join(words, " or "), did_you_mean(text, words)));
}

std::int64_t parse_count(std::string_view text, const std::string& what) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 1'000'000'000) {
    throw InputError(what, fmt::format("'{}'", text), "a whole number from 1");
  }
  return value;
}

void override_heads(const std::string& heads, ModelReading& reading) {
  ModelShape& model = reading.shape;
  const auto colon = heads.find(':');
  if (colon == std::string::npos) throw InputError("--heads", "'" + heads + "'", "QUERY:KV, such as 32:8");
  model.query_heads = static_cast<std::int32_t>(parse_count(heads.substr(0, colon), "--heads"));
  model.kv_heads = static_cast<std::int32_t>(parse_count(heads.substr(colon + 1), "--heads"));
  reading.notes.push_back("--heads " + heads + " in place of the model's");
}

void override_head_dim(std::int64_t head_dim, ModelReading& reading) {
  ModelShape& model = reading.shape;
  const std::int64_t count = parse_count(std::to_string(head_dim), "--head-dim");
  if (model.latent.kv_rank > 0 || model.value_head_dim != model.head_dim) {
    throw InputError("--head-dim",
                     fmt::format("{} for a model with keys of {} and values of {}", count, model.head_dim,
                                 model.value_head_dim),
                     "a model file with both sizes");
  }
  model.head_dim = model.value_head_dim = static_cast<std::int32_t>(count);
  reading.notes.push_back(fmt::format("--head-dim {} in place of the model's", count));
}

/// Keeps the share of layers without experts, so that the average layer stays what it is.
void override_layers(std::int64_t layers, ModelReading& reading) {
  ModelShape& model = reading.shape;
  const std::int64_t count = parse_count(std::to_string(layers), "--layers");
  ExpertShape& experts = model.experts;
  if (experts.dense_layers > 0) {
    const std::int64_t share = (experts.dense_layers * count + model.layers / 2) / model.layers;
    experts.dense_layers = static_cast<std::int32_t>(std::min(share, count - 1));
    if (experts.dense_layers == 0) model.ffn = 0;
  }
  model.layers = static_cast<std::int32_t>(count);
  reading.notes.push_back(fmt::format("--layers {} in place of the model's", count));
}

void apply_overrides(const PlanInputs& inputs, ModelReading& reading) {
  if (!inputs.heads.empty()) override_heads(inputs.heads, reading);
  if (inputs.head_dim) override_head_dim(*inputs.head_dim, reading);
  if (inputs.layers) override_layers(*inputs.layers, reading);
  if (!inputs.element_type.empty()) {
    reading.shape.element_type =
        choice(inputs.element_type, "--element-type",
               std::array{std::pair<std::string_view, ElementType>{"f32", ElementType::f32},
                          std::pair<std::string_view, ElementType>{"bf16", ElementType::bf16},
                          std::pair<std::string_view, ElementType>{"f16", ElementType::f16}});
    reading.element_type_note = "--element-type " + inputs.element_type + " in place of the model's";
  }
  validate(reading.shape, "--model " + inputs.model);
}

void set_memory_options(const PlanInputs& inputs, PlanOptions& options) {
  options.device_cap = inputs.memory_cap == "device";
  if (!options.device_cap && inputs.memory_cap != "none") {
    options.memory_cap = parse_bytes(inputs.memory_cap, "--memory-cap");
  }
  options.recompute =
      choice(inputs.recompute, "--recompute",
             std::array{std::pair<std::string_view, Recompute>{"none", Recompute::none},
                        std::pair<std::string_view, Recompute>{"selective", Recompute::selective},
                        std::pair<std::string_view, Recompute>{"full", Recompute::full}});
  options.offload_activations = inputs.offload_activations;
  if (options.offload_activations && options.recompute != Recompute::full) {
    throw InputError("--offload-activations", "--recompute " + inputs.recompute, "--recompute full");
  }
  options.logits = choice(inputs.logits, "--logits",
                          std::array{std::pair<std::string_view, Logits>{"full", Logits::full},
                                     std::pair<std::string_view, Logits>{"chunked", Logits::chunked}});
  constexpr std::int64_t kMostShards = 1 << 24;
  if (inputs.state_shards < 0 || inputs.state_shards > kMostShards) {
    throw InputError("--state-shards", std::to_string(inputs.state_shards),
                     fmt::format("0 to {}", kMostShards));
  }
  options.state_shards = static_cast<std::int32_t>(inputs.state_shards);
  const std::string& text = inputs.state_bytes;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), options.state_bytes_per_parameter);
  const double bytes = options.state_bytes_per_parameter;
  if (error != std::errc() || end != text.data() + text.size() || !(bytes >= 0) || bytes > 1024) {
    throw InputError("--state-bytes-per-parameter", "'" + text + "'", "a number from 0 to 1024");
  }
}

}  // namespace

void PlanInputs::declare(Options& options) {
  options.add("--topology FILE", topology,
              "Cluster: a file, dgx_h100:NODES or cpu:HOSTSxRANKS[:CORES] (required)");
  options.add("--ranks,--cp N", ranks, "Use the first N ranks of the topology");
  options.add("--model FILE", model, "tiny, llama3_8b, llama3_70b, a config.json or its folder");
  options.add("--heads Q:KV", heads, "Override the query and KV heads, such as 32:8");
  options.add("--head-dim D", head_dim, "Override the head dimension");
  options.add("--layers N", layers, "Override the number of layers");
  options.add("--element-type TYPE", element_type, "Override the element type: f32, bf16 or f16");
  options.add("--profile FILE", profile, "Cost profile from strata calibrate; default: shipped, unmeasured");
  options.flag("--any-device", any_device, "Admit a profile that is not for these devices");
  options.flag("--strict", strict, "Refuse over 1 % of work outside the profile's tables");
  options.add("--strategy,--strategies NAMES", strategies, "auto, all, or names separated by commas");
  options.add("--exchange MODE", exchange, "needed (only what the mask needs) or full (as published)");
  options.add("--backward-kv MODE", backward_kv, "KV in backward: refetch (send again) or retain (keep)");
  options.add("--gradient-return MODE", gradient_return,
              "dK and dV: owner (straight home) or reverse_tree (as KV came)");
  options.add("--memory-cap SIZE", memory_cap, "A rank's, such as 80GiB; device: as the topology says; none");
  options.add("--recompute MODE", recompute, "Computed again in backward: none, selective, full");
  options.flag("--offload-activations", offload_activations,
               "--recompute full: layer inputs wait in host memory");
  options.add("--logits MODE", logits, "full: all at once; chunked: the loss is computed in pieces");
  options.add("--state-shards N", state_shards, "Ranks that share weights and optimiser; 0: all");
  options.add("--state-bytes-per-parameter B", state_bytes, "Weight, gradient and optimiser");
}

ModelReading PlanInputs::read_model() const {
  ModelReading reading = load_model_and_notes(model);
  apply_overrides(*this, reading);
  return reading;
}

PlanRequest PlanInputs::request(const Output& output, const ModelReading& reading) const {
  if (topology.empty()) {
    throw InputError("--topology", "nothing", "a topology file or a shorthand such as dgx_h100:8 or cpu:2x4");
  }
  PlanRequest request;
  request.topology = load_topology(topology);
  if (ranks) {
    request.machine_ranks = request.topology.rank_device;
    request.topology = with_ranks(request.topology,
                                  static_cast<std::int32_t>(parse_count(std::to_string(*ranks), "--ranks")));
  }
  request.model = reading.shape;
  request.profile = load_profile(profile, request.topology, any_device);
  PlanOptions& options = request.options;
  options.seed = output.seed;
  set_memory_options(*this, options);
  options.exchange =
      choice(exchange, "--exchange",
             std::array{std::pair<std::string_view, ExchangeMode>{"needed", ExchangeMode::needed},
                        std::pair<std::string_view, ExchangeMode>{"full", ExchangeMode::full}});
  options.kv = choice(backward_kv, "--backward-kv",
                      std::array{std::pair<std::string_view, BackwardKeep>{"refetch", BackwardKeep::refetch},
                                 std::pair<std::string_view, BackwardKeep>{"retain", BackwardKeep::retain}});
  options.gradient_return = choice(
      gradient_return, "--gradient-return",
      std::array{std::pair<std::string_view, GradientReturn>{"owner", GradientReturn::owner},
                 std::pair<std::string_view, GradientReturn>{"reverse_tree", GradientReturn::reverse_tree}});
  options.strategies = strategies;
  strategies_named(strategies);  // refuses unknown names before any work is done
  return request;
}

CostProfile load_profile(const std::string& path, const Topology& topology, bool any_device) {
  if (path.empty()) return default_profile(topology);
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) {
    throw InputError(
        "profile", fmt::format("'{}', which is no file", path),
        "a profile file from strata calibrate; without --profile the shipped one of the topology");
  }
  CostProfile profile = read_profile_file(path);
  if (!any_device) expect_covered(profile, topology, path);
  return profile;
}

Bytes parse_bytes(const std::string& text, const std::string& what) {
  struct Unit {
    std::string_view suffix;
    double factor;
  };
  static constexpr std::array<Unit, 9> kUnits = {{{"KiB", 1024.0},
                                                  {"MiB", 1048576.0},
                                                  {"GiB", 1073741824.0},
                                                  {"TiB", 1099511627776.0},
                                                  {"KB", 1e3},
                                                  {"MB", 1e6},
                                                  {"GB", 1e9},
                                                  {"TB", 1e12},
                                                  {"B", 1.0}}};
  constexpr double kMost = 9e18;
  const auto refuse = [&](const std::string& expected) {
    throw InputError(what, "'" + text + "'", "a size such as 80GiB" + expected);
  };
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec == std::errc::result_out_of_range) refuse(", of 1 to 9e18 bytes");
  if (parsed.ec != std::errc() || std::isnan(value)) refuse("");
  std::string_view suffix(text);
  suffix.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  double factor = suffix.empty() ? 1 : 0;
  for (const Unit& unit : kUnits) {
    if (suffix == unit.suffix) factor = unit.factor;
  }
  if (factor == 0) refuse(", in B, KB, MB, GB, TB, KiB, MiB, GiB or TiB");
  if (value * factor < 1) refuse(", at least 1 byte");
  if (value * factor > kMost) refuse(", at most 9e18 bytes");
  return {static_cast<std::int64_t>(value * factor)};
}

void throw_no_plan(const PlanResult& result, const std::vector<std::string>& notes) {
  std::string text = "no feasible plan";
  for (const Rejection& rejection : result.rejections)
    text += fmt::format("\n  {}: {}", rejection.strategy, rejection.reason);
  for (const std::string& change : result.would_fit) text += "\nwould fit: " + change;
  for (const std::string& note : notes) text += "\n  note: " + note;
  throw NoPlan(text);
}

}  // namespace strata::tools
