// SPDX-License-Identifier: Apache-2.0
// Flows that come and go: ends to the nanosecond where paper suffices, and on random systems the local
// solution equals one that solves everything at every change.
#include "cost_models/simulator/fluid.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

namespace strata {
namespace {

struct Arrival {
  std::int64_t time_ns = 0;
  double work = 0, cap = 0;
  std::vector<ResourceUse> uses;
};

/// Ends of `arrivals` (ascending in time) over resources of `capacities`.
std::vector<std::int64_t> ends_of(const std::vector<double>& capacities, const std::vector<Arrival>& arrivals,
                                  bool batch_ends = true, FluidSolver solver = FluidSolver::in_place,
                                  FluidWork* work = nullptr) {
  EventQueue queue;
  FluidSystem fluid(batch_ends, solver);
  for (const double capacity : capacities) fluid.add_resource(capacity);
  for (std::size_t i = 0; i < arrivals.size(); ++i) {
    queue.push(arrivals[i].time_ns, EventKind::flow_start, static_cast<std::int32_t>(i), 0);
  }
  std::vector<std::int64_t> ends(arrivals.size(), -1);
  std::map<std::int32_t, std::size_t> running;
  std::int64_t now = 0;
  while (true) {
    if (queue.empty() || queue.next_ns() > now) fluid.settle(now, queue);
    if (work != nullptr) *work = fluid.work();
    if (queue.empty()) return ends;
    const SimulatorEvent event = queue.pop();
    if (event.kind != EventKind::flow_start && !fluid.is_current(event.subject, event.detail)) continue;
    now = event.time_ns;
    if (event.kind == EventKind::flow_start) {
      const auto number = static_cast<std::size_t>(event.subject);
      running[fluid.start(arrivals[number].work, arrivals[number].cap, arrivals[number].uses)] = number;
    } else if (event.kind == EventKind::flow_due) {
      fluid.due(event.subject);
    } else {
      ends[running.at(event.subject)] = now;
      fluid.end(event.subject);
    }
  }
}

/// The same without any cleverness: all rates anew after every arrival and end, time in whole nanoseconds.
std::vector<double> plain_ends(const std::vector<double>& capacities, const std::vector<Arrival>& arrivals) {
  std::vector<double> ends(arrivals.size(), -1), left(arrivals.size());
  std::vector<std::size_t> active;
  std::size_t next = 0;
  double now = 0;
  while (next < arrivals.size() || !active.empty()) {
    std::vector<SharingFlow> flows;
    flows.reserve(active.size());
    for (const std::size_t i : active) flows.push_back({arrivals[i].uses, arrivals[i].cap});
    const auto rates = fair_rates(capacities, flows);
    double until = next < arrivals.size() ? static_cast<double>(arrivals[next].time_ns) : 1e300;
    for (std::size_t f = 0; f < active.size(); ++f) until = std::min(until, now + left[active[f]] / rates[f]);
    std::vector<std::size_t> still;
    for (std::size_t f = 0; f < active.size(); ++f) {
      left[active[f]] -= rates[f] * (until - now);
      if (left[active[f]] > 1e-6 * arrivals[active[f]].work) {  // the rest is rounding
        still.push_back(active[f]);
      } else {
        ends[active[f]] = until;
      }
    }
    now = until;
    active = still;
    for (; next < arrivals.size() && static_cast<double>(arrivals[next].time_ns) <= now; ++next) {
      left[next] = arrivals[next].work;
      active.push_back(next);
    }
  }
  return ends;
}

TEST(Fluid, AThirdEachEndsOnTheDot) {
  const Arrival third{0, 100, 1, {{0, 1}}};
  EXPECT_EQ(ends_of({1}, {third, third, third}), (std::vector<std::int64_t>{300, 300, 300}));
}

TEST(Fluid, ALateArrivalSlowsTheFirstOne) {
  // Alone until 50 (50 of 100 done), half after: 50 + 100 = 150 for the first; the second has done 50 of 80
  // then.
  EXPECT_EQ(ends_of({1}, {{0, 100, 1, {{0, 1}}}, {50, 80, 1, {{0, 1}}}}),
            (std::vector<std::int64_t>{150, 180}));
}

TEST(Fluid, AFractionOfANanosecondRoundsUp) {
  EXPECT_EQ(ends_of({3}, {{0, 10, 9, {{0, 1}}}}), (std::vector<std::int64_t>{4}));
}

TEST(Fluid, AnEndIsFeltAcrossResourcesItDidNotUse) {
  // f0 on r0 and f1 on r0 + r1 share r0 (1): 1/2 each; f2 on r1 (1) gets 1/2 too. f0 ends at 20; f1 could
  // have r0 alone but shares r1 with f2: still 1/2 each, until f2 ends at 60; f1 has 70 of 100 left and runs
  // at 1: 130.
  EXPECT_EQ(ends_of({1, 1}, {{0, 10, 9, {{0, 1}}}, {0, 100, 9, {{0, 1}, {1, 1}}}, {0, 30, 9, {{1, 1}}}}),
            (std::vector<std::int64_t>{20, 130, 60}));
}

TEST(Fluid, SolvingLocallyEqualsSolvingEverything) {
  rc::check([](std::uint32_t seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(random);
    };
    std::vector<double> capacities(static_cast<std::size_t>(pick(1, 6)));
    for (double& capacity : capacities) capacity = pick(1, 8);
    std::vector<Arrival> arrivals;
    std::int64_t time = 0;
    for (int i = pick(1, 25); i > 0; --i) {
      Arrival arrival{time, pick(1, 100) * 1e6, static_cast<double>(pick(1, 6)), {}};
      for (std::size_t r = 0; r < capacities.size(); ++r) {
        if (pick(0, 2) == 0)
          arrival.uses.push_back({static_cast<std::int32_t>(r), static_cast<double>(pick(1, 2))});
      }
      arrivals.push_back(arrival);
      time += pick(0, 3) * 10'000'000;
    }
    const auto ends = ends_of(capacities, arrivals);
    const auto expected = plain_ends(capacities, arrivals);
    for (std::size_t i = 0; i < ends.size(); ++i) {
      // Each of at most 50 events before it may have been rounded up by a nanosecond.
      const double difference = static_cast<double>(ends[i]) - expected[i];
      RC_ASSERT(difference > -51);
      RC_ASSERT(difference < 51);
    }
  });
}

/// Flows that cross one to four of the resources, most of them with weight 1, in bursts.
std::vector<Arrival> random_arrivals(std::mt19937& random, std::size_t resources, int count) {
  const auto pick = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
  };
  const bool weighted = pick(0, 3) == 0;
  const int caps = pick(1, 12);
  std::vector<Arrival> arrivals;
  std::int64_t time = 0;
  for (int i = 0; i < count; ++i) {
    Arrival arrival{time, pick(1, 4000) * 37.0, 1.0 + pick(1, caps) * 4.3, {}};
    std::vector<std::int32_t> crossed;
    for (int uses = pick(1, 4); uses > 0; --uses) {
      crossed.push_back(pick(0, static_cast<int>(resources) - 1));
    }
    std::sort(crossed.begin(), crossed.end());
    crossed.erase(std::unique(crossed.begin(), crossed.end()), crossed.end());
    for (const std::int32_t resource : crossed) {
      arrival.uses.push_back({resource, weighted && pick(0, 5) == 0 ? 1.7 : 1.0});
    }
    arrivals.push_back(arrival);
    if (pick(0, 9) == 0) time += pick(1, 700);
  }
  return arrivals;
}

TEST(Fluid, FillingInPlaceEqualsFairShareToTheNanosecond) {
  std::int64_t shared = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    std::vector<double> capacities(2 + random() % 40);
    const bool alike = random() % 2 == 0;
    for (double& capacity : capacities) capacity = alike ? 48 : 1.0 + static_cast<double>(random() % 90) / 7;
    const auto arrivals = random_arrivals(random, capacities.size(), seed % 10 == 0 ? 700 : 120);
    for (const bool batch : {true, false}) {
      FluidWork work;
      EXPECT_EQ(ends_of(capacities, arrivals, batch, FluidSolver::in_place, &work),
                ends_of(capacities, arrivals, batch, FluidSolver::general))
          << seed;
      shared += work.flows - work.components;
    }
  }
  EXPECT_GT(shared, 1'000'000) << "hardly any flows shared";
}

TEST(Fluid, WorkOfAStarGrowsWithItsFlows) {
  // All start together and end together, however many there are: each is rated once, beside its port.
  for (const int count : {1'000, 10'000, 100'000}) {
    const std::vector<Arrival> arrivals(static_cast<std::size_t>(count), {0, 1e6, 10, {{0, 1}}});
    FluidWork work;
    ends_of({100}, arrivals, true, FluidSolver::in_place, &work);
    EXPECT_EQ(work.components, 1);
    EXPECT_EQ(work.flows, count);
    EXPECT_EQ(work.resources, 1);
  }
}

TEST(Fluid, BatchedEndsAreEarlyOrLateByASmallShareAtMost) {
  // 300 flows of a resource of 300: 1 each at first. Flow i has 100,000 + 10 i units. Exactly: end k = end
  // (k-1) + 10 (300 - k) / 300. The last one ends at the exact time that conserves work, sum / 300.
  std::vector<Arrival> arrivals;
  double total = 0;
  for (int i = 0; i < 300; ++i) {
    arrivals.push_back({0, 100'000.0 + 10 * i, 300, {{0, 1}}});
    total += arrivals.back().work;
  }
  const auto ends = ends_of({300}, arrivals);
  const auto expected = plain_ends({300}, arrivals);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    EXPECT_GE(static_cast<double>(ends[i]), expected[i] * (1 - 1.0 / 256) - 1);
    EXPECT_LE(static_cast<double>(ends[i]), expected[i] * (1 + 1.0 / 256) + 300);
  }
  EXPECT_NEAR(static_cast<double>(ends.back()), total / 300, total / 300 / 256 + 1);
}

TEST(Fluid, StartsAmongManyFlowsAreSettledTogetherAndLoseNothing) {
  // 300 flows of a resource of 300, then one every 7 ns: each would wait 1/128 of about 100,000 ns, so that
  // the first one's time takes all of the other 99 along.
  std::vector<Arrival> arrivals(300, {0, 100'000, 300, {{0, 1}}});
  for (int i = 0; i < 100; ++i) arrivals.push_back({1000 + 7 * i, 100'000, 300, {{0, 1}}});
  FluidWork together, alone;
  const auto batched = ends_of({300}, arrivals, true, FluidSolver::in_place, &together);
  const auto exact = ends_of({300}, arrivals, false, FluidSolver::in_place, &alone);
  for (std::size_t i = 0; i < batched.size(); ++i) {
    const auto end = static_cast<double>(exact[i]);
    EXPECT_NEAR(static_cast<double>(batched[i]), end, end / 256) << i;
  }
  EXPECT_GT(alone.components, 100);
  EXPECT_LE(together.components, alone.components - 95);
}

TEST(Fluid, BatchedEndsMoveTheLastEndByASmallShareAtMost) {
  // All-to-alls: every flow crosses one of the resources of its source and one of its target.
  int moved = 0;
  for (std::uint32_t seed = 0; seed < 12; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int low, int high) {
      return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
    };
    const int ends = pick(18, 24);
    std::vector<double> capacities;
    for (int i = 0; i < 2 * ends; ++i) capacities.push_back(pick(20, 60));
    std::vector<Arrival> arrivals;
    for (int from = 0; from < ends; ++from) {
      for (int to = 0; to < ends; ++to) {
        arrivals.push_back({1000 * from, pick(1, 40) * 1e4, 30, {{from, 1}, {ends + to, 1}}});
      }
    }
    const auto batched = ends_of(capacities, arrivals, true), alone = ends_of(capacities, arrivals, false);
    const auto last = static_cast<double>(*std::max_element(alone.begin(), alone.end()));
    const auto late = static_cast<double>(*std::max_element(batched.begin(), batched.end())) - last;
    EXPECT_LE(std::abs(late), last / 256 + 2) << seed;
    moved += batched != alone ? 1 : 0;
  }
  EXPECT_GT(moved, 0);
}

TEST(Fluid, ACapacityThatShrinksAndGrowsIsFollowed) {
  EventQueue queue;
  FluidSystem fluid;
  fluid.add_resource(2);
  const std::int32_t flow = fluid.start(100, 2, {{0, 1}});
  fluid.settle(0, queue);
  // 40 done by 20; then 0.5 per ns until 60: another 20; then 2 again: 40 left, 20 ns.
  fluid.set_capacity(0, 0.5);
  fluid.settle(20, queue);
  fluid.set_capacity(0, 2);
  fluid.settle(60, queue);
  std::int64_t end = -1;
  while (!queue.empty()) {
    const SimulatorEvent event = queue.pop();
    if (fluid.is_current(event.subject, event.detail)) end = event.time_ns;
  }
  EXPECT_EQ(end, 80);
  fluid.end(flow);
}

}  // namespace
}  // namespace strata
