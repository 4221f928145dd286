// SPDX-License-Identifier: Apache-2.0
#include "planner/search/would_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/base/check.hpp"
#include "core/base/checked.hpp"
#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "cost_models/cost/memory_cost.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata {

namespace {

constexpr std::int32_t kMostRanks = 1024;

/// The first `ranks` ranks of as many copies of the machine side by side as they need. `machine_ranks`: all
/// ranks of one machine. Links are left out: memory does not depend on them.
Topology enlarged(const Topology& topology, const std::vector<std::int32_t>& machine_ranks,
                  std::int32_t ranks) {
  Topology large;
  large.name = topology.name;
  const auto per_machine = static_cast<std::int32_t>(machine_ranks.size());
  const std::int32_t copies = (ranks + per_machine - 1) / per_machine;
  const auto nodes = static_cast<std::int32_t>(topology.nodes.size());
  const auto devices = static_cast<std::int32_t>(topology.devices.size());
  for (std::int32_t copy = 0; copy < copies; ++copy) {
    large.nodes.insert(large.nodes.end(), topology.nodes.begin(), topology.nodes.end());
    for (Device device : topology.devices) {
      device.node += copy * nodes;
      large.devices.push_back(device);
    }
    for (const std::int32_t device : machine_ranks) large.rank_device.push_back(device + copy * devices);
  }
  large.rank_device.resize(static_cast<std::size_t>(ranks));
  return large;
}

/// Every rank holds its state, whatever its tokens are: where one device has no room for that of its ranks,
/// room on the others does not help.
bool state_may_fit(const PlanRequest& request) {
  const Topology& topology = request.topology;
  const std::int64_t state = state_memory(request.model, request.options, topology.rank_count()).count;
  if (request.options.memory_cap.count > 0) return state <= request.options.memory_cap.count;
  std::vector<std::int64_t> held(topology.devices.size(), 0);
  for (const std::int32_t device : topology.rank_device) {
    std::int64_t& sum = held[static_cast<std::size_t>(device)];
    sum = checked_sum(sum, state);
  }
  for (std::size_t device = 0; device < held.size(); ++device) {
    const std::int64_t memory = topology.devices[device].memory.count;
    if (memory > 0 && held[device] > memory) return false;
  }
  return true;
}

/// A true bound, so that most of what cannot fit is not lowered.
bool may_fit(const Batch& batch, const PlanRequest& request) {
  if (!state_may_fit(request)) return false;
  const std::int64_t room = most_tokens(request.model, request.options, request.topology);
  std::int64_t largest = 0;
  for (const auto& pack : batch.packs) {
    std::int64_t tokens = 0;
    for (const std::int64_t length : pack) {
      tokens = batch.fixed_packs ? tokens + length : std::max(tokens, length);
    }
    largest = std::max(largest, tokens);
  }
  return largest <= room;
}

/// Waves that fit, or the rejection; so much that it cannot be counted does not fit either.
StrategyOutcome try_fit(const Strategy& strategy, const Batch& batch, const PlanRequest& request) {
  try {
    return fit_waves(strategy, batch, request);
  } catch (const UncountableError& error) {
    StrategyOutcome none;
    none.rejection = Rejection{std::string(strategy.name), error.what()};
    return none;
  }
}

/// "ring, 61.2 GiB on the fullest rank, 3 waves" of the first strategy that fits.
std::optional<std::string> fitting(const Batch& batch, const PlanRequest& request) {
  if (!may_fit(batch, request)) return std::nullopt;
  for (const Strategy& strategy : strategies_named(request.options.strategies)) {
    const StrategyOutcome outcome = try_fit(strategy, batch, request);
    if (outcome.rejection) continue;
    Prediction predicted;
    set_memory(outcome.memory, predicted);
    const auto waves = std::ssize(outcome.waves);
    return fmt::format("{}, {} on the fullest rank{}", strategy.name, human(predicted.peak_memory),
                       waves > 1 ? ", " + counted(waves, "wave") : "");
  }
  return std::nullopt;
}

struct Setting {
  std::string text;
  PlanOptions options;
};

/// Ever less memory; the first is what was asked.
std::vector<Setting> settings_of(const PlanRequest& request) {
  std::vector<Setting> settings{{"", request.options}};
  const auto add = [&](const std::string& text, const PlanOptions& options) {
    if (options == settings.back().options) return;
    settings.push_back({text, options});
  };
  PlanOptions options = request.options;
  if (options.recompute == Recompute::none) {
    options.recompute = Recompute::selective;
    add("--recompute selective", options);
  }
  options.recompute = Recompute::full;
  add("--recompute full", options);
  std::string text = "--recompute full";
  if (request.model.vocabulary > 0) {
    options.logits = Logits::chunked;
    text += " --logits chunked";
    add(text, options);
  }
  options.offload_activations = true;
  add(text + " --offload-activations", options);
  return settings;
}

/// A multiple of the ranks on which a setting fits.
struct MoreRanks {
  std::int32_t ranks = 0;
  std::string text;
};

/// The least, by doubling, below `ranks_below`.
std::optional<MoreRanks> more_ranks(const Batch& batch, PlanRequest request, const Setting& setting,
                                    std::int32_t ranks_below) {
  request.options = setting.options;
  const Topology one = request.topology;
  const std::vector<std::int32_t>& machine =
      request.machine_ranks.empty() ? one.rank_device : request.machine_ranks;
  for (std::int32_t ranks = 2 * one.rank_count(); ranks < ranks_below; ranks *= 2) {
    request.topology = enlarged(one, machine, ranks);
    const auto found = fitting(batch, request);
    if (!found) continue;
    return MoreRanks{ranks, fmt::format("{} instead of {}{}{} ({})", counted(ranks, "rank"), one.rank_count(),
                                        setting.text.empty() ? "" : " and ", setting.text, *found)};
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> would_fit(const Batch& batch, const PlanRequest& request) {
  std::vector<std::string> answers;
  const bool capped = request.options.memory_cap.count > 0 || request.options.device_cap;
  if (!capped) return answers;  // what cannot be counted is no question of a machine
  const std::vector<Setting> settings = settings_of(request);
  PlanRequest changed = request;
  for (std::size_t i = 1; i < settings.size(); ++i) {
    changed.options = settings[i].options;
    const auto found = fitting(batch, changed);
    if (!found) continue;
    answers.push_back(fmt::format("{} ({})", settings[i].text, *found));
    break;
  }
  const bool needs_ranks = answers.empty();
  const bool has_packs = batch.fixed_packs && batch.document_count() > std::ssize(batch.packs) &&
                         request.model.mask_kind == MaskKind::document_causal;
  if (has_packs) {
    Batch free = batch;
    free.fixed_packs = false;
    free.packs = {batch.document_lengths()};
    if (const auto found = fitting(free, request)) {
      answers.push_back(fmt::format("free documents instead of fixed packs ({})", *found));
    }
  }
  const auto as_asked = more_ranks(batch, request, settings.front(), kMostRanks + 1);
  const std::int32_t ranks = as_asked ? as_asked->ranks : kMostRanks + 1;
  if (needs_ranks) {
    if (const auto fewer = more_ranks(batch, request, settings.back(), ranks)) answers.push_back(fewer->text);
  }
  if (as_asked) answers.push_back(as_asked->text);
  return answers;
}

}  // namespace strata
