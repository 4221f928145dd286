// SPDX-License-Identifier: Apache-2.0
// Work that progresses at max-min fair rates while flows come and go. Rates are solved again only for the
// flows connected, through resources that could be full, to what has changed; an uncontended flow costs O(1).
// Times are integer nanoseconds: a flow ends at the first nanosecond at which its work is done, give or take
// the rounding of its rate (1e-6 ns and 1e-12 of what is left are forgiven).
//
// One shortcut: of more than 256 flows that share, directly or through others, those that would end soonest
// after the first end together, late by at most 1/256 of the first one's duration. While they wait they hold
// their shares, so others are late as well; nothing bounds that for all systems, since a flow that ends late
// can spare another. Over random all-to-alls the last end moves by at most 1/256 (tests/cost_models/
// fluid_test.cpp), over recorded packs on real programs the step by at most 0.3 %
// (tests/planner/search/simulator_shortcuts_test.cpp).
#pragma once

#include <cstdint>
#include <vector>

#include "cost_models/simulator/event_queue.hpp"
#include "cost_models/simulator/fair_share.hpp"

namespace strata {

class FluidSystem {
 public:
  /// Ends are announced to `events` as EventKind::flow_end (subject: flow, detail: generation).
  /// `batch_ends`: whether the shortcut is taken; otherwise every flow ends by itself.
  explicit FluidSystem(EventQueue& events, bool batch_ends = true)
      : events_(events), batch_ends_(batch_ends) {}

  /// Capacity in work units per nanosecond.
  std::int32_t add_resource(double capacity);
  void set_capacity(std::int32_t resource, double capacity);

  /// `work` > 0 units at a rate of at most `cap` units per ns. Numbers of ended flows are used again.
  std::int32_t start(double work, double cap, const std::vector<ResourceUse>& uses);
  /// Whether an announced end still holds.
  bool is_current(std::int32_t flow, std::uint32_t generation) const {
    return flows_[static_cast<std::size_t>(flow)].generation == generation;
  }
  /// Takes away a flow whose announced end has come.
  void end(std::int32_t flow);

  /// Brings the rates up to date after starts, ends and capacity changes at `now_ns`. To be called before the
  /// clock moves on.
  void settle(std::int64_t now_ns);
  bool is_settled() const { return changed_flows_.empty() && changed_resources_.empty(); }

 private:
  struct Use {
    std::int32_t resource = 0;
    std::int32_t place = 0;  // in Resource::users
    double weight = 1;
    std::int64_t demand = 0;  // at the flow's cap, in units of 2^-32
  };
  struct Flow {
    double work = 0;  // left at `since_ns`
    double rate = 0;
    double cap = 0;
    std::int64_t start_ns = -1;  // of its first rate
    std::int64_t since_ns = 0;
    std::int64_t end_ns = 0;
    bool announced = false;  // end_ns is, or was, in the queue
    std::uint32_t generation = 0;
    std::uint32_t visit = 0;
    std::int32_t number = 0;  // in the solver
    std::vector<Use> uses;
  };
  struct User {
    std::int32_t flow = 0;
    std::int32_t use = 0;
  };
  struct Resource {
    double capacity = 0;
    std::int64_t capacity_units = 0;
    std::int64_t demand = 0;  // of all users at their caps
    std::uint32_t visit = 0;
    std::int32_t number = 0;
    bool changed = false;
    std::vector<User> users;
    bool may_fill() const { return demand > capacity_units; }
  };

  void mark(std::int32_t resource);
  void visit_flow(std::int32_t flow);
  void visit_users(std::int32_t resource);
  void solve_component(std::int64_t now_ns);
  void set_rate(std::int32_t flow, double rate, std::int64_t now_ns);
  void announce_first();

  EventQueue& events_;
  const bool batch_ends_;
  std::vector<Resource> resources_;
  std::vector<Flow> flows_;
  std::vector<std::int32_t> free_;
  std::vector<std::int32_t> changed_flows_;
  std::vector<std::int32_t> changed_resources_;
  std::uint32_t visit_ = 0;
  std::vector<std::int32_t> component_;            // flows
  std::vector<std::int32_t> component_resources_;  // those that may fill
  FairShare share_;
};

}  // namespace strata
