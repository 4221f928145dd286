// SPDX-License-Identifier: Apache-2.0
// Work that progresses at max-min fair rates while flows come and go. Rates are solved again only for the
// flows connected, through resources that could be full, to what has changed; an uncontended flow costs O(1).
// Times are integer nanoseconds: a flow ends at the first nanosecond at which its work is done, give or take
// the rounding of its rate (1e-6 ns and 1e-12 of what is left are forgiven).
//
// Flows that use links have weight 1 on each of them. Components of such flows are filled in place, resource
// by resource in ascending order of their levels (fluid_fill.cpp): O((flows + resources) log resources). All
// others go through FairShare. Both give the same rates to the last bit: a rate depends on nothing but the
// capacity of the resource that stops the flow and the rates of the slower flows there, subtracted in
// ascending order, and weights of 1 add up exactly. tests/cost_models/simulator/fluid_test.cpp compares them.
//
// Two shortcuts, both where more than 256 flows share, directly or through others.
//
// Ends: those that would end within 1/128 of the first one's duration after it end together, in the middle of
// that time, each early or late by at most 1/256 of it.
//
// Starts: a flow that comes to them waits until they are rated anew for another reason, or 1/128 of what it
// would take with an equal share of its most crowded resource. What it could have done meanwhile, at the rate
// it then gets, is taken as done.
//
// So neither is late nor early on the whole. Nothing bounds what comes of it for all systems, since a flow
// that ends late can spare another. Over random all-to-alls the last end moves by at most 1/256 (tests/
// cost_models/simulator/fluid_test.cpp), over recorded packs on real programs the step by at most 0.2 %
// (tests/planner/search/simulator_shortcuts_test.cpp).
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "cost_models/simulator/event_queue.hpp"
#include "cost_models/simulator/fair_share.hpp"

namespace strata {

/// How rates of flows of weight 1 are found: `general` takes FairShare for them as well.
enum class FluidSolver : std::uint8_t { in_place, general };

/// What the solver has done, for tests and benchmarks.
struct FluidWork {
  std::int64_t components = 0;  ///< solved, those of one flow included
  std::int64_t flows = 0;       ///< in them
  std::int64_t resources = 0;   ///< in them, only those that could be full
};

class FluidSystem {
 public:
  /// `batch_ends`: whether the shortcuts are taken; otherwise every flow starts and ends by itself.
  explicit FluidSystem(bool batch_ends = true, FluidSolver solver = FluidSolver::in_place)
      : batch_ends_(batch_ends), solver_(solver) {}

  /// Capacity in work units per nanosecond.
  std::int32_t add_resource(double capacity);
  void set_capacity(std::int32_t resource, double capacity);

  /// Starts a flow of `work` > 0 units at a rate of at most `cap` units per ns, and returns its number.
  /// Numbers of ended flows are used again.
  std::int32_t start(double work, double cap, const std::vector<ResourceUse>& uses);
  /// Whether an announced end still holds.
  bool is_current(std::int32_t flow, std::uint32_t generation) const {
    return flows_[static_cast<std::size_t>(flow)].generation == generation;
  }
  /// A flow's EventKind::flow_due has come: its start is to be settled now.
  void due(std::int32_t flow);
  /// Takes away a flow whose announced end has come.
  void end(std::int32_t flow);

  /// Brings the rates up to date after starts, ends and capacity changes at `now_ns`. To be called before the
  /// clock moves on. Ends are announced to `events` as EventKind::flow_end, and starts that cannot wait
  /// longer as EventKind::flow_due (subject: flow, detail: generation).
  void settle(std::int64_t now_ns, EventQueue& events);
  bool is_settled() const { return changed_flows_.empty() && changed_resources_.empty(); }
  const FluidWork& work() const { return done_; }
  void forget_work() { done_ = {}; }

  /// Appends everything that decides what comes after `now_ns`. The numbers depend neither on what the clock
  /// shows nor on how flows are numbered: equal numbers mean equal futures. `names`, [flow], gets a name by
  /// which the caller can tell what is whose, -1 for flows that have ended. To be called when settled.
  void append_state(std::int64_t now_ns, std::vector<std::int32_t>& names,
                    std::vector<std::int64_t>& state) const;
  /// Moves the past and the future of all flows by `by_ns`, but not their ends in the queue.
  void shift(std::int64_t by_ns);

 private:
  static constexpr std::int16_t kNear = 2;
  /// In place of the instant of a flow's start: it has no rate yet.
  static constexpr std::int64_t kWaits = -1, kDue = -2;
  /// What settling asks of a flow, in one line of the cache: large systems do not fit into it.
  struct alignas(64) Flow {
    double work = 0;  // left at `since_ns`
    double rate = 0;
    double cap = 0;
    std::int64_t since_ns = 0;  // before the first rate: since when the flow waits for it, or kNotDue
    std::int64_t end_ns = 0;
    std::uint32_t visit = 0;  // visit_: in the component; visit_ + 1: its rate is found, too
    std::uint32_t generation = 0;
    std::array<std::int32_t, kNear> near{};  // the resources, if these are all
    std::int32_t use_begin = 0;              // in use_resources_ and uses_
    std::int16_t use_count = 0;
    bool announced = false;  // its end is, or was, in the queue
    bool plain = true;       // all weights are 1
  };
  struct Use {
    std::int32_t place = 0;  // in Resource::users
    double weight = 1;
    std::int64_t demand = 0;  // at the flow's cap, in units of 2^-32
  };
  struct User {
    std::int32_t flow = 0;
    std::int32_t use = 0;  // in uses_
  };
  struct Resource {
    double capacity = 0;
    std::int64_t capacity_units = 0;
    std::int64_t demand = 0;  // of all users at their caps
    std::int32_t number = 0;  // in the general solver
    bool changed = false;
    std::vector<User> users;
  };
  static constexpr std::int64_t kNotDue = std::numeric_limits<std::int64_t>::max();
  /// What is asked of a resource most often.
  struct Mark {
    std::uint32_t visit = 0;
    bool may_fill = false;
    bool crowded = false;           // its component had many flows when it was settled last
    std::int64_t due_ns = kNotDue;  // when the first of the flows that wait here cannot wait longer
  };
  /// A resource while a component is filled in place.
  struct Filling {
    double left = 0;           // capacity not taken by frozen flows
    double key = 0;            // some entry of levels_ for it is not above left / growing
    std::int32_t growing = 0;  // flows; 0: not of the component, or full
  };
  /// A level at which a resource may be full. The heap has the lowest first.
  struct Level {
    double level = 0;
    std::int32_t resource = 0;
  };

  std::span<const std::int32_t> resources_of(const Flow& flow) const {
    const auto count = static_cast<std::size_t>(flow.use_count);
    if (flow.use_count <= kNear) return {flow.near.data(), count};
    return {use_resources_.data() + flow.use_begin, count};
  }
  /// Lets the cache fetch a flow that comes after users[i]: the flows of one resource lie all over the
  /// memory.
  void fetch_ahead(const std::vector<User>& users, std::size_t i) const {
    constexpr std::size_t kAhead = 8;
    if (i + kAhead < users.size())
      __builtin_prefetch(&flows_[static_cast<std::size_t>(users[i + kAhead].flow)], 1);
  }
  void mark(std::int32_t resource);
  void update_may_fill(std::int32_t resource);
  std::int64_t units(double rate);
  void add_uses(std::int32_t flow, const std::vector<ResourceUse>& uses);
  void forget_visits();
  void visit_flow(std::int32_t flow);
  void visit_users(std::int32_t resource);
  void visit_uses(std::int32_t flow);
  bool is_alone(std::int32_t flow) const;
  bool may_wait(std::int32_t flow) const;
  void wait(std::int32_t flow, std::int64_t now_ns, EventQueue& events);
  void settle_component(std::int32_t flow, std::int64_t now_ns, EventQueue& events);
  void settle_alone(std::int32_t flow, std::int64_t now_ns, EventQueue& events);
  void solve_visited(std::int64_t now_ns);
  void solve_one(std::int32_t flow, std::int64_t now_ns);
  void solve_generally(std::int64_t now_ns);
  void set_rate(std::int32_t flow, double rate, std::int64_t now_ns);
  void announce_first(EventQueue& events);
  void append_flow(std::int32_t flow, std::int64_t now_ns, std::vector<std::int64_t>& state) const;
  // fluid_fill.cpp
  void fill(std::int64_t now_ns);
  void push_level(std::int32_t resource, double level);
  void sink_lowest(double level);
  double lowest_level();
  std::size_t freeze_users(std::int32_t resource, double level, std::int64_t now_ns);
  std::size_t fill_up_to(double level, std::int64_t now_ns);
  void freeze(std::int32_t flow, double rate, std::int64_t now_ns);

  const bool batch_ends_;
  const FluidSolver solver_;
  FluidWork done_;
  std::vector<Resource> resources_;
  std::vector<Mark> marks_;        // [resource]
  std::vector<Filling> fillings_;  // [resource]
  std::vector<Flow> flows_;
  std::vector<std::int64_t> start_ns_;  // [flow] or kWaits or kDue
  std::vector<std::int32_t> use_room_;  // [flow] uses that fit at its use_begin
  std::vector<std::int32_t> use_resources_;
  std::vector<Use> uses_;
  std::vector<std::int32_t> free_;
  std::vector<std::int32_t> changed_flows_;
  std::vector<std::int32_t> changed_resources_;
  std::vector<std::int32_t> new_flows_;  // of changed_flows_, those that can wait
  std::uint32_t visit_ = 0;
  double last_rate_ = 0;  // of `units`
  std::int64_t last_units_ = 0;
  std::vector<std::int32_t> component_;            // flows
  std::vector<std::int32_t> component_resources_;  // those that may fill
  bool component_is_plain_ = true;
  std::vector<std::int32_t> capped_;  // flows of the component whose cap is below all capacities they meet
  std::vector<Level> levels_;
  FairShare share_;
};

}  // namespace strata
