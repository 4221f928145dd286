// SPDX-License-Identifier: Apache-2.0
// Small damages to a plan, one function per kind, for testing that the verifier notices them.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"

namespace strata::test {

/// Uniform numbers without the standard's distributions, which differ between libraries.
class MutationDice {
 public:
  explicit MutationDice(std::uint64_t seed) : engine_(seed) {}
  /// In [0, count); `count` is at least 1.
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(engine_() % count); }
  /// One of -3 to 3, never 0.
  std::int32_t nudge() {
    const auto size = static_cast<std::int32_t>(1 + below(3));
    return below(2) == 0 ? size : -size;
  }
  template <typename Value>
  Value& pick(std::vector<Value>& values) {
    return values[below(values.size())];
  }

 private:
  std::mt19937_64 engine_;
};

/// `apply` damages the plan in place and returns false where the plan has nothing of that kind.
struct Mutation {
  std::string kind;
  std::function<bool(Plan&, MutationDice&)> apply;
};

/// All kinds. Schedules are put back into canonical order afterwards, so that order alone gives nothing away.
std::vector<Mutation> all_mutations();

}  // namespace strata::test
