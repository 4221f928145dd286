// SPDX-License-Identifier: Apache-2.0
// A plan that does otherwise than its own request asks is another plan; `exchange: full`, above all, switches
// a rule off.
#include "core/plan/plan_json.hpp"
#include "planner/audit/audit_detail.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata::audit {

namespace {

constexpr const char* kStrategies = "inputs.request.content.strategies";

void audit_wave_policies(const Plan& plan, Report& report) {
  for (std::size_t w = 0; w < plan.waves.size(); ++w) {
    const auto compare = [&](const char* key, std::string_view found, std::string_view asked) {
      if (found == asked) return;
      report.differs("request", fmt::format("{}.{}", wave_place(w), key), found, "the request asks for",
                     asked);
    };
    const Wave& wave = plan.waves[w];
    compare("exchange", to_string(wave.schedule.exchange), to_string(plan.options.exchange));
    compare("backward.kv", to_string(wave.backward.kv), to_string(plan.options.kv));
    compare("backward.return", to_string(wave.backward.gradient_return),
            to_string(plan.options.gradient_return));
  }
}

}  // namespace

std::optional<Strategy> find_strategy(std::string_view name) {
  for (const Strategy& strategy : all_strategies()) {
    if (strategy.name == name) return strategy;
  }
  return std::nullopt;
}

std::string known_strategies() {
  std::string names;
  for (const Strategy& strategy : all_strategies()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", strategy.name);
  }
  return names;
}

void audit_request(const Plan& plan, Report& report) {
  audit_wave_policies(plan, report);
  if (!find_strategy(plan.strategy)) {
    report.differs("strategy", "strategy", fmt::format("'{}'", plan.strategy), "the strategies are",
                   known_strategies());
    return;
  }
  try {
    std::string asked;
    for (const Strategy& strategy : strategies_named(plan.options.strategies)) {
      if (strategy.name == plan.strategy) return;
      asked += fmt::format("{}{}", asked.empty() ? "" : ", ", strategy.name);
    }
    report.differs("strategy", "strategy", fmt::format("'{}'", plan.strategy), "the request asks for", asked);
  } catch (const InputError& error) {
    report.add("request", kStrategies, fmt::format("{}, expected {}", error.found(), error.expected()));
  }
}

}  // namespace strata::audit
