// SPDX-License-Identifier: Apache-2.0
// Progressive filling in place (Bertsekas and Gallager, Data Networks, section 6.5.2) of components whose
// flows all have weight 1. Resources wait in a heap by the level at which they would be full. Levels hardly
// ever fall, so an entry stays where it is until it comes to the top and is then put right; where rounding
// makes one fall, a lower entry is added at once.
#include <algorithm>
#include <limits>

#include "core/base/check.hpp"
#include "cost_models/simulator/fluid.hpp"

namespace strata {
namespace {

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

constexpr double kNever = std::numeric_limits<double>::infinity();
/// Wider than the rounding of a product and a quotient.
constexpr double kRounding = 1 + 1e-9;

}  // namespace

void FluidSystem::push_level(std::int32_t resource, double level) {
  fillings_[at(resource)].key = level;
  levels_.push_back({level, resource});
  std::push_heap(levels_.begin(), levels_.end(),
                 [](const Level& a, const Level& b) { return a.level > b.level; });
}

/// Puts the top right: its level has risen, mostly by so little that it does not sink far.
void FluidSystem::sink_lowest(double level) {
  const Level risen{level, levels_.front().resource};
  fillings_[at(risen.resource)].key = level;
  std::size_t place = 0;
  for (std::size_t next = 1; next < levels_.size(); next = 2 * place + 1) {
    if (next + 1 < levels_.size() && levels_[next + 1].level < levels_[next].level) ++next;
    if (levels_[next].level >= level) break;
    levels_[place] = levels_[next];
    place = next;
  }
  levels_[place] = risen;
}

/// The lowest level at which a resource is full now.
double FluidSystem::lowest_level() {
  while (!levels_.empty()) {
    const Level lowest = levels_.front();
    const Filling& filling = fillings_[at(lowest.resource)];
    const double now = filling.growing > 0 ? filling.left / filling.growing : kNever;
    if (filling.growing > 0) {
      if (now <= lowest.level) return now;
      sink_lowest(now);
      continue;
    }
    std::pop_heap(levels_.begin(), levels_.end(),
                  [](const Level& a, const Level& b) { return a.level > b.level; });
    levels_.pop_back();
  }
  return kNever;
}

void FluidSystem::fill(std::int64_t now_ns) {
  levels_.clear();
  for (const std::int32_t resource : component_resources_) {
    const Resource& filled = resources_[at(resource)];
    const auto users = static_cast<std::int32_t>(filled.users.size());
    fillings_[at(resource)] = {filled.capacity, 0, users};
    push_level(resource, filled.capacity / users);
  }
  const auto by_cap = [&](std::int32_t a, std::int32_t b) { return flows_[at(a)].cap < flows_[at(b)].cap; };
  if (!std::is_sorted(capped_.begin(), capped_.end(), by_cap))
    std::sort(capped_.begin(), capped_.end(), by_cap);
  const auto is_frozen = [&](std::int32_t flow) { return flows_[at(flow)].visit > visit_; };
  double level = 0;
  std::size_t next = 0;
  for (std::size_t open = component_.size(); open > 0;) {
    while (next < capped_.size() && is_frozen(capped_[next])) ++next;
    const double full = lowest_level();
    const double lowest_cap = next < capped_.size() ? flows_[at(capped_[next])].cap : kNever;
    // Rounding may put a tie a hair below the level already reached; levels never fall.
    level = std::max(level, std::min(full, lowest_cap));
    STRATA_CHECK(level < kNever, "{} flows of {} have no limit", open, component_.size());
    for (; next < capped_.size() && flows_[at(capped_[next])].cap <= level; ++next) {
      if (is_frozen(capped_[next])) continue;
      freeze(capped_[next], flows_[at(capped_[next])].cap, now_ns);
      --open;
    }
    if (full <= level) open -= fill_up_to(level, now_ns);
  }
}

/// Freezes the users of all resources that are full at `level`; returns how many.
std::size_t FluidSystem::fill_up_to(double level, std::int64_t now_ns) {
  std::size_t frozen = 0;
  while (lowest_level() <= level) frozen += freeze_users(levels_.front().resource, level, now_ns);
  return frozen;
}

std::size_t FluidSystem::freeze_users(std::int32_t resource, double level, std::int64_t now_ns) {
  fillings_[at(resource)].key = -1;  // its own level does not matter any more
  std::size_t frozen = 0;
  const std::vector<User>& users = resources_[at(resource)].users;
  for (std::size_t i = 0; i < users.size(); ++i) {
    fetch_ahead(users, i);
    if (flows_[at(users[i].flow)].visit > visit_) continue;
    freeze(users[i].flow, level, now_ns);
    ++frozen;
  }
  return frozen;
}

void FluidSystem::freeze(std::int32_t flow, double rate, std::int64_t now_ns) {
  flows_[at(flow)].visit = visit_ + 1;
  set_rate(flow, rate, now_ns);
  for (const std::int32_t resource : resources_of(flows_[at(flow)])) {
    Filling& filling = fillings_[at(resource)];
    if (filling.growing == 0) continue;
    filling.left = std::max(0.0, filling.left - rate);
    --filling.growing;
    if (filling.growing == 0 || filling.left >= filling.key * filling.growing * kRounding) continue;
    if (filling.left / filling.growing < filling.key) push_level(resource, filling.left / filling.growing);
  }
}

}  // namespace strata
