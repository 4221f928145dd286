// SPDX-License-Identifier: Apache-2.0
// Max-min fair rates: solved examples as equations, then what defines them on random systems: no resource
// above its capacity, every flow has a bottleneck or its cap, and names do not matter.
#include "cost_models/simulator/fair_share.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace strata {
namespace {

constexpr double kTolerance = 1e-9;

TEST(FairShare, EqualFlowsSplitAResource) {
  EXPECT_EQ(fair_rates({12}, {{{{0, 1}}, 100}, {{{0, 1}}, 100}, {{{0, 1}}, 100}}),
            (std::vector<double>{4, 4, 4}));
}

TEST(FairShare, WhatACappedFlowLeavesGoesToTheOthers) {
  // 12 = 2 + 5 + 5.
  EXPECT_EQ(fair_rates({12}, {{{{0, 1}}, 2}, {{{0, 1}}, 100}, {{{0, 1}}, 100}}),
            (std::vector<double>{2, 5, 5}));
}

TEST(FairShare, AFlowOverTwoResourcesIsHeldByTheTighterOne) {
  // Resource 1 (capacity 4): flows 0 and 1 get 2. Resource 0 (10): flow 2 gets 10 - 2.
  EXPECT_EQ(fair_rates({10, 4}, {{{{0, 1}, {1, 1}}, 100}, {{{1, 1}}, 100}, {{{0, 1}}, 100}}),
            (std::vector<double>{2, 2, 8}));
}

TEST(FairShare, WeightsCountUseNotRate) {
  // Equal rates r with 3 r + r = 8; resource 1 lets flow 1 go no further than 5.
  EXPECT_EQ(fair_rates({8, 5}, {{{{0, 3}}, 100}, {{{0, 1}, {1, 1}}, 100}}), (std::vector<double>{2, 2}));
}

TEST(FairShare, AFlowWithoutResourcesRunsAtItsCap) {
  EXPECT_EQ(fair_rates({}, {{{}, 7}}), (std::vector<double>{7}));
}

TEST(FairShare, ManyDifferentCapsAreReachedInOrder) {
  // 1 + 2 + 3 + 4 + 5 + 6 = 21 of 27; the last flow gets what is left, 6.
  std::vector<SharingFlow> flows;
  for (const double cap : {6.0, 1.0, 5.0, 2.0, 4.0, 3.0, 50.0}) flows.push_back({{{0, 1}}, cap});
  EXPECT_EQ(fair_rates({27}, flows), (std::vector<double>{6, 1, 5, 2, 4, 3, 6}));
}

struct System {
  std::vector<double> capacities;
  std::vector<SharingFlow> flows;
};

System random_system(std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  System system;
  const int resources = pick(1, 8), flows = pick(1, 20);
  for (int r = 0; r < resources; ++r) system.capacities.push_back(pick(1, 40) * 0.25);
  for (int f = 0; f < flows; ++f) {
    SharingFlow flow;
    flow.cap = pick(1, 60) * 0.125;
    for (int r = 0; r < resources; ++r) {
      if (pick(0, 2) == 0) flow.uses.push_back({r, pick(1, 3) * 0.5});
    }
    system.flows.push_back(flow);
  }
  return system;
}

std::vector<double> loads(const System& system, const std::vector<double>& rates) {
  std::vector<double> load(system.capacities.size(), 0);
  for (std::size_t f = 0; f < rates.size(); ++f) {
    for (const ResourceUse& use : system.flows[f].uses) {
      load[static_cast<std::size_t>(use.resource)] += rates[f] * use.weight;
    }
  }
  return load;
}

TEST(FairShare, NoResourceIsAboveItsCapacity) {
  rc::check([](std::uint32_t seed) {
    const System system = random_system(seed);
    const auto load = loads(system, fair_rates(system.capacities, system.flows));
    for (std::size_t r = 0; r < load.size(); ++r)
      RC_ASSERT(load[r] <= system.capacities[r] * (1 + kTolerance));
  });
}

TEST(FairShare, EveryFlowHasItsCapOrABottleneckWhereNoneIsFaster) {
  rc::check([](std::uint32_t seed) {
    const System system = random_system(seed);
    const auto rates = fair_rates(system.capacities, system.flows);
    const auto load = loads(system, rates);
    for (std::size_t f = 0; f < rates.size(); ++f) {
      RC_ASSERT(rates[f] > 0);
      RC_ASSERT(rates[f] <= system.flows[f].cap);
      bool held = rates[f] == system.flows[f].cap;
      for (const ResourceUse& use : system.flows[f].uses) {
        const auto r = static_cast<std::size_t>(use.resource);
        if (load[r] < system.capacities[r] * (1 - kTolerance)) continue;
        bool fastest = true;
        for (std::size_t other = 0; other < rates.size(); ++other) {
          const auto& uses = system.flows[other].uses;
          const bool there = std::any_of(uses.begin(), uses.end(),
                                         [&](const ResourceUse& u) { return u.resource == use.resource; });
          fastest = fastest && !(there && rates[other] > rates[f] * (1 + kTolerance));
        }
        held = held || fastest;
      }
      RC_ASSERT(held);
    }
  });
}

TEST(FairShare, RelabellingFlowsAndResourcesChangesNothing) {
  rc::check([](std::uint32_t seed) {
    const System system = random_system(seed);
    std::mt19937 random(seed ^ 0x5bd1e995U);
    std::vector<std::int32_t> flow_name(system.flows.size()), resource_name(system.capacities.size());
    std::iota(flow_name.begin(), flow_name.end(), 0);
    std::iota(resource_name.begin(), resource_name.end(), 0);
    std::shuffle(flow_name.begin(), flow_name.end(), random);
    std::shuffle(resource_name.begin(), resource_name.end(), random);
    System renamed{std::vector<double>(system.capacities.size()),
                   std::vector<SharingFlow>(system.flows.size())};
    for (std::size_t r = 0; r < resource_name.size(); ++r) {
      renamed.capacities[static_cast<std::size_t>(resource_name[r])] = system.capacities[r];
    }
    for (std::size_t f = 0; f < flow_name.size(); ++f) {
      SharingFlow flow = system.flows[f];
      for (ResourceUse& use : flow.uses) use.resource = resource_name[static_cast<std::size_t>(use.resource)];
      renamed.flows[static_cast<std::size_t>(flow_name[f])] = flow;
    }
    const auto before = fair_rates(system.capacities, system.flows);
    const auto after = fair_rates(renamed.capacities, renamed.flows);
    for (std::size_t f = 0; f < before.size(); ++f) {
      const double other = after[static_cast<std::size_t>(flow_name[f])];
      RC_ASSERT(other <= before[f] * (1 + kTolerance));
      RC_ASSERT(other >= before[f] * (1 - kTolerance));
    }
  });
}

}  // namespace
}  // namespace strata
