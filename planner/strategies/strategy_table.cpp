// SPDX-License-Identifier: Apache-2.0
#include "planner/strategies/strategy_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "core/base/check.hpp"
#include "core/base/closest_name.hpp"

#include "planner/strategies/strategies.hpp"

namespace strata {

std::vector<Strategy> all_strategies() {
  return {ulysses_strategy(),      ring_strategy(),      zigzag_ring_strategy(),
          per_document_strategy(), allgather_strategy(), whole_document_strategy()};
}

Strategy strategy_named(std::string_view name) {
  const std::vector<Strategy> strategies = all_strategies();
  std::vector<std::string_view> known;
  for (const Strategy& strategy : strategies) {
    if (strategy.name == name) return strategy;
    known.emplace_back(strategy.name);
  }
  known.emplace_back("auto");
  throw InputError("strategy", fmt::format("\"{}\"", name),
                   fmt::format("one of {}{}", fmt::join(known, ", "), did_you_mean(name, known)));
}

std::vector<Strategy> strategies_named(const std::vector<std::string>& names) {
  std::vector<std::string> wanted;
  bool every = names.empty();
  for (const std::string& name : names) {
    if (name.empty()) throw InputError("strategy", "an empty name", "names separated by single commas");
    if (name == "auto" || name == "all") {
      if (names.size() > 1) {
        throw InputError("strategy", fmt::format("\"{}\" beside other names", name),
                         fmt::format("{} alone, which is every strategy, or names", name));
      }
      every = true;
      continue;
    }
    if (std::find(wanted.begin(), wanted.end(), name) != wanted.end()) {
      throw InputError("strategy", fmt::format("\"{}\" twice", name), "every name once");
    }
    wanted.emplace_back(strategy_named(name).name);
  }
  std::vector<Strategy> chosen;
  for (const Strategy& strategy : all_strategies()) {
    if (every || std::find(wanted.begin(), wanted.end(), strategy.name) != wanted.end())
      chosen.push_back(strategy);
  }
  return chosen;
}

}  // namespace strata
