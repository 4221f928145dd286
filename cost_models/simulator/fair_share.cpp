// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator/fair_share.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/base/check.hpp"

namespace strata {
namespace {

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

constexpr std::size_t kFewCaps = 4;

}  // namespace

void FairShare::clear() {
  resources_.clear();
  caps_.clear();
  uses_.clear();
  use_begin_.assign(1, 0);
}

std::int32_t FairShare::add_resource(double capacity) {
  STRATA_CHECK(capacity > 0, "a shared resource has capacity {}, expected more than 0", capacity);
  resources_.push_back({capacity, capacity, 0, 0});
  return static_cast<std::int32_t>(resources_.size()) - 1;
}

std::int32_t FairShare::add_flow(double cap) {
  STRATA_CHECK(cap > 0 && cap < std::numeric_limits<double>::infinity(), "a flow has the rate cap {}", cap);
  if (use_begin_.empty()) use_begin_.push_back(0);
  caps_.push_back(cap);
  use_begin_.push_back(static_cast<std::int32_t>(uses_.size()));
  return static_cast<std::int32_t>(caps_.size()) - 1;
}

void FairShare::add_use(std::int32_t resource, double weight) {
  STRATA_CHECK(weight > 0, "a flow uses resource {} with weight {}", resource, weight);
  uses_.push_back({resource, weight});
  ++use_begin_.back();
  Resource& used = resources_[at(resource)];
  used.weight += weight;
  ++used.growing;
}

void FairShare::build_resource_lists() {
  user_begin_.assign(resources_.size() + 1, 0);
  for (const ResourceUse& use : uses_) ++user_begin_[at(use.resource) + 1];
  std::partial_sum(user_begin_.begin(), user_begin_.end(), user_begin_.begin());
  users_.resize(uses_.size());
  std::vector<std::int32_t>& fill = by_cap_;  // borrowed as the cursors
  fill.assign(user_begin_.begin(), user_begin_.end() - 1);
  for (std::int32_t flow = 0; flow < static_cast<std::int32_t>(caps_.size()); ++flow)
    for (std::int32_t use = use_begin_[at(flow)]; use < use_begin_[at(flow) + 1]; ++use)
      users_[at(fill[at(uses_[at(use)].resource)]++)] = flow;
}

void FairShare::freeze(std::int32_t flow, double rate) {
  rates_[at(flow)] = rate;
  frozen_[at(flow)] = 1;
  for (std::int32_t i = use_begin_[at(flow)]; i < use_begin_[at(flow) + 1]; ++i) {
    Resource& used = resources_[at(uses_[at(i)].resource)];
    used.left = std::max(0.0, used.left - rate * uses_[at(i)].weight);
    used.weight -= uses_[at(i)].weight;
    --used.growing;
  }
}

/// Most systems have a handful of caps, for which counting beats sorting.
void FairShare::order_by_cap() {
  by_cap_.resize(caps_.size());
  distinct_caps_.clear();
  for (const double cap : caps_) {
    const auto place = std::find(distinct_caps_.begin(), distinct_caps_.end(), cap);
    if (place == distinct_caps_.end()) distinct_caps_.push_back(cap);
    if (distinct_caps_.size() > kFewCaps) {
      std::iota(by_cap_.begin(), by_cap_.end(), 0);
      std::stable_sort(by_cap_.begin(), by_cap_.end(),
                       [&](std::int32_t a, std::int32_t b) { return caps_[at(a)] < caps_[at(b)]; });
      return;
    }
  }
  std::sort(distinct_caps_.begin(), distinct_caps_.end());
  std::size_t next = 0;
  for (const double cap : distinct_caps_) {
    for (std::size_t flow = 0; flow < caps_.size(); ++flow) {
      if (caps_[flow] == cap) by_cap_[next++] = static_cast<std::int32_t>(flow);
    }
  }
}

void FairShare::solve() {
  build_resource_lists();
  rates_.assign(caps_.size(), 0);
  frozen_.assign(caps_.size(), 0);
  order_by_cap();
  double level = 0;
  std::size_t next = 0;
  while (true) {
    while (next < by_cap_.size() && frozen_[at(by_cap_[next])] != 0) ++next;
    if (next == by_cap_.size()) return;
    double full = std::numeric_limits<double>::infinity();
    for (const Resource& resource : resources_)
      if (resource.growing > 0) full = std::min(full, resource.left / resource.weight);
    // Rounding may put a tie a hair below the level already reached; levels never fall.
    const double lowest_cap = caps_[at(by_cap_[next])];
    level = std::max(level, std::min(full, lowest_cap));
    for (; next < by_cap_.size() && caps_[at(by_cap_[next])] <= level; ++next)
      if (frozen_[at(by_cap_[next])] == 0) freeze(by_cap_[next], caps_[at(by_cap_[next])]);
    if (full > level) continue;
    for (std::size_t r = 0; r < resources_.size(); ++r) {
      if (resources_[r].growing == 0 || resources_[r].left / resources_[r].weight > level) continue;
      for (std::int32_t i = user_begin_[r]; i < user_begin_[r + 1]; ++i)
        if (frozen_[at(users_[at(i)])] == 0) freeze(users_[at(i)], level);
    }
  }
}

std::vector<double> fair_rates(const std::vector<double>& capacities, const std::vector<SharingFlow>& flows) {
  FairShare share;
  share.clear();
  for (const double capacity : capacities) share.add_resource(capacity);
  for (const SharingFlow& flow : flows) {
    share.add_flow(flow.cap);
    for (const ResourceUse& use : flow.uses) share.add_use(use.resource, use.weight);
  }
  share.solve();
  std::vector<double> rates(flows.size());
  for (std::size_t i = 0; i < flows.size(); ++i) rates[i] = share.rate(static_cast<std::int32_t>(i));
  return rates;
}

}  // namespace strata
