// SPDX-License-Identifier: Apache-2.0
#include "tools/inputs.hpp"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "core/batch_json.hpp"
#include "core/closest_name.hpp"
#include "core/model_json.hpp"
#include "core/topology_json.hpp"
#include "planner/strategy_table.hpp"
#include "tools/no_plan.hpp"
#include "traces/length_source.hpp"

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

void apply_overrides(const PlanInputs& inputs, ModelShape& model) {
  if (!inputs.heads.empty()) {
    const auto colon = inputs.heads.find(':');
    if (colon == std::string::npos)
      throw InputError("--heads", "'" + inputs.heads + "'", "QUERY:KV, such as 32:8");
    model.query_heads = static_cast<std::int32_t>(parse_count(inputs.heads.substr(0, colon), "--heads"));
    model.kv_heads = static_cast<std::int32_t>(parse_count(inputs.heads.substr(colon + 1), "--heads"));
  }
  if (inputs.head_dim) {
    model.head_dim = static_cast<std::int32_t>(parse_count(std::to_string(*inputs.head_dim), "--head-dim"));
    model.value_head_dim = model.head_dim;
  }
  if (inputs.layers) {
    model.layers = static_cast<std::int32_t>(parse_count(std::to_string(*inputs.layers), "--layers"));
  }
  if (!inputs.element_type.empty()) {
    model.element_type =
        choice(inputs.element_type, "--element-type",
               std::array{std::pair<std::string_view, ElementType>{"f32", ElementType::f32},
                          std::pair<std::string_view, ElementType>{"bf16", ElementType::bf16},
                          std::pair<std::string_view, ElementType>{"f16", ElementType::f16}});
  }
  validate(model, "--model " + inputs.model);
}

}  // namespace

void PlanInputs::declare(Options& options) {
  options.add("--topology FILE", topology,
              "Cluster: a file, dgx_h100:NODES or cpu:HOSTSxRANKS[:CORES] (required)");
  options.add("--ranks,--cp N", ranks, "Use the first N ranks of the topology");
  options.add("--model FILE", model, "tiny, llama3_8b, llama3_70b or a (Hugging Face) model file");
  options.add("--heads Q:KV", heads, "Override the query and KV heads, such as 32:8");
  options.add("--head-dim D", head_dim, "Override the head dimension");
  options.add("--layers N", layers, "Override the number of layers");
  options.add("--element-type TYPE", element_type, "Override the element type: f32, bf16 or f16");
  options.add("--profile FILE", profile, "Cost profile from strata calibrate; default: shipped, unmeasured");
  options.add("--strategy,--strategies NAMES", strategies, "auto, all, or names separated by commas");
  options.add("--exchange MODE", exchange, "needed (only what the mask needs) or full (as published)");
  options.add("--backward-kv MODE", backward_kv, "KV in backward: refetch (send again) or retain (keep)");
  options.add("--gradient-return MODE", gradient_return,
              "dK and dV: owner (straight home) or reverse_tree (as KV came)");
  options.add("--memory-cap SIZE", memory_cap, "Per rank, such as 80GiB; what needs more is rejected");
  options.add("--packs-per-step N", packs_per_step, "Recorded rows that form one training step");
}

PlanRequest PlanInputs::request(const Output& output) const {
  if (topology.empty()) {
    throw InputError("--topology", "nothing", "a topology file or a shorthand such as dgx_h100:8 or cpu:2x4");
  }
  PlanRequest request;
  request.topology = load_topology(topology);
  if (ranks)
    request.topology = with_ranks(request.topology,
                                  static_cast<std::int32_t>(parse_count(std::to_string(*ranks), "--ranks")));
  request.model = load_model(model);
  apply_overrides(*this, request.model);
  request.profile = load_profile(profile, request.topology);
  PlanOptions& options = request.options;
  options.seed = output.seed;
  if (!memory_cap.empty()) options.memory_cap = parse_bytes(memory_cap, "--memory-cap");
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

CostProfile load_profile(const std::string& path, const Topology& topology) {
  return path.empty() ? default_profile(topology) : read_profile_file(path);
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
  std::string_view digits = text;
  double factor = 1;
  for (const Unit& unit : kUnits) {
    if (digits.size() > unit.suffix.size() && digits.ends_with(unit.suffix)) {
      digits.remove_suffix(unit.suffix.size());
      factor = unit.factor;
      break;
    }
  }
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || !(value * factor >= 1) ||
      value * factor > 9e18) {
    throw InputError(what, "'" + text + "'", "a size such as 80GiB");
  }
  return {static_cast<std::int64_t>(value * factor)};
}

std::vector<Batch> load_batches(const std::string& path, std::int64_t max, std::int64_t packs_per_step) {
  if (packs_per_step < 1) throw InputError("--packs-per-step", std::to_string(packs_per_step), "at least 1");
  LengthSource source = read_length_source(path);
  std::vector<Batch> steps;
  if (source.batches.empty()) {
    Batch all;
    all.packs = {source.lengths};
    steps.push_back(std::move(all));
  }
  for (Batch& batch : source.batches) {
    const bool joins = packs_per_step > 1 && batch.fixed_packs && !steps.empty() &&
                       steps.back().fixed_packs &&
                       static_cast<std::int64_t>(steps.back().packs.size()) < packs_per_step;
    if (joins) {
      auto& packs = steps.back().packs;
      packs.insert(packs.end(), batch.packs.begin(), batch.packs.end());
      continue;
    }
    if (max > 0 && static_cast<std::int64_t>(steps.size()) == max) break;
    steps.push_back(std::move(batch));
  }
  return steps;
}

Batch load_batch(const std::string& reference, std::int64_t packs_per_step) {
  if (reference.empty()) throw InputError("--batch", "nothing", "a file with lengths or packs, or FILE:LINE");
  const BatchReference place = parse_batch_reference(reference);
  if (place.line > 0) return read_batch(place.path, place.line, packs_per_step);
  return load_batches(place.path, 1, packs_per_step).front();
}

void throw_no_plan(const std::vector<Rejection>& rejections) {
  std::string text = "no feasible plan";
  for (const Rejection& rejection : rejections)
    text += fmt::format("\n  {}: {}", rejection.strategy, rejection.reason);
  throw NoPlan(text);
}

}  // namespace strata::tools
