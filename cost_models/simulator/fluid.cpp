// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator/fluid.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/base/check.hpp"
#include "core/base/units.hpp"

namespace strata {
namespace {

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

/// Shares such as one third are rounded; this much of a nanosecond is forgiven before the next one begins.
constexpr double kForgivenNs = 1e-6;
constexpr double kForgivenShare = 1e-12;

/// A ragged all-to-all has thousands of starts and ends close to each other, and each one changes the rates
/// of all the rest.
constexpr std::size_t kManyFlows = 256;
/// The part of a duration within which they become one.
constexpr std::int64_t kBatchedShare = 128;

/// Rounded up.
std::int64_t ceiled(double ns) {
  const auto down = static_cast<std::int64_t>(ns);
  return down + (static_cast<double>(down) < ns ? 1 : 0);
}

}  // namespace

std::int32_t FluidSystem::add_resource(double capacity) {
  STRATA_CHECK(capacity > 0 && capacity < 1e9, "a shared resource has a capacity of {} per ns", capacity);
  Resource resource;
  resource.capacity = capacity;
  resource.capacity_units = units(capacity);
  resources_.push_back(std::move(resource));
  marks_.emplace_back();
  fillings_.emplace_back();
  return static_cast<std::int32_t>(resources_.size()) - 1;
}

/// Demand and capacity are compared in integers, so that sums come and go without a trace.
std::int64_t FluidSystem::units(double rate) {
  if (rate == last_rate_) return last_units_;  // most flows have the same cap
  last_rate_ = rate;
  return last_units_ = static_cast<std::int64_t>(std::llround(rate * 4294967296.0));
}

void FluidSystem::mark(std::int32_t resource) {
  if (resources_[at(resource)].changed) return;
  resources_[at(resource)].changed = true;
  changed_resources_.push_back(resource);
}

void FluidSystem::update_may_fill(std::int32_t resource) {
  const Resource& changed = resources_[at(resource)];
  marks_[at(resource)].may_fill = changed.demand > changed.capacity_units;
}

void FluidSystem::set_capacity(std::int32_t resource, double capacity) {
  Resource& changed = resources_[at(resource)];
  const bool could_fill = marks_[at(resource)].may_fill;
  changed.capacity = capacity;
  changed.capacity_units = units(capacity);
  update_may_fill(resource);
  if (could_fill || marks_[at(resource)].may_fill) mark(resource);
}

std::int32_t FluidSystem::start(double work, double cap, const std::vector<ResourceUse>& uses) {
  STRATA_CHECK(work > 0 && cap > 0, "a flow of {} units with the cap {}", work, cap);
  std::int32_t number = 0;
  if (free_.empty()) {
    number = static_cast<std::int32_t>(flows_.size());
    flows_.emplace_back();
    start_ns_.push_back(kWaits);
    use_room_.push_back(0);
  } else {
    number = free_.back();
    free_.pop_back();
  }
  Flow& flow = flows_[at(number)];
  flow.work = work;
  flow.rate = 0;
  flow.announced = false;
  flow.since_ns = kNotDue;
  start_ns_[at(number)] = kWaits;
  flow.cap = cap;
  add_uses(number, uses);
  changed_flows_.push_back(number);
  return number;
}

void FluidSystem::add_uses(std::int32_t number, const std::vector<ResourceUse>& uses) {
  Flow& flow = flows_[at(number)];
  const auto count = static_cast<std::int32_t>(uses.size());
  flow.use_count = static_cast<std::int16_t>(count);
  if (count > use_room_[at(number)]) {  // the place it had stays empty: a number's room only grows
    use_room_[at(number)] = count;
    flow.use_begin = static_cast<std::int32_t>(uses_.size());
    uses_.resize(uses_.size() + uses.size());
    use_resources_.resize(uses_.size());
  }
  flow.plain = true;
  for (std::int32_t i = 0; i < count; ++i) {
    const ResourceUse& use = uses[at(i)];
    if (i < kNear) flow.near[at(i)] = use.resource;
    Resource& resource = resources_[at(use.resource)];
    const std::int64_t demand = units(flow.cap * use.weight);
    use_resources_[at(flow.use_begin + i)] = use.resource;
    uses_[at(flow.use_begin + i)] = {static_cast<std::int32_t>(resource.users.size()), use.weight, demand};
    flow.plain = flow.plain && use.weight == 1.0;
    resource.users.push_back({number, flow.use_begin + i});
    resource.demand += demand;
    update_may_fill(use.resource);
  }
}

void FluidSystem::due(std::int32_t flow) {
  start_ns_[at(flow)] = kDue;
  changed_flows_.push_back(flow);
}

void FluidSystem::end(std::int32_t flow) {
  Flow& ended = flows_[at(flow)];
  for (std::int32_t i = ended.use_begin; i < ended.use_begin + ended.use_count; ++i) {
    const std::int32_t number = use_resources_[at(i)];
    Resource& resource = resources_[at(number)];
    if (marks_[at(number)].may_fill) mark(number);
    resource.demand -= uses_[at(i)].demand;
    update_may_fill(number);
    const User moved = resource.users.back();
    resource.users[at(uses_[at(i)].place)] = moved;
    uses_[at(moved.use)].place = uses_[at(i)].place;
    resource.users.pop_back();
  }
  ended.use_count = 0;
  ++ended.generation;
  free_.push_back(flow);
}

void FluidSystem::visit_flow(std::int32_t flow) {
  if (flows_[at(flow)].visit >= visit_) return;
  flows_[at(flow)].visit = visit_;
  component_.push_back(flow);
}

void FluidSystem::visit_users(std::int32_t resource) {
  marks_[at(resource)].visit = visit_;
  marks_[at(resource)].due_ns = kNotDue;
  component_resources_.push_back(resource);
  const std::vector<User>& users = resources_[at(resource)].users;
  for (std::size_t i = 0; i < users.size(); ++i) {
    fetch_ahead(users, i);
    visit_flow(users[i].flow);
  }
}

void FluidSystem::visit_uses(std::int32_t flow) {
  const Flow& visited = flows_[at(flow)];
  component_is_plain_ = component_is_plain_ && visited.plain;
  bool held_by_cap = true;
  for (const std::int32_t resource : resources_of(visited)) {
    if (!marks_[at(resource)].may_fill) continue;
    held_by_cap = held_by_cap && visited.cap < resources_[at(resource)].capacity;
    if (marks_[at(resource)].visit != visit_) visit_users(resource);
  }
  if (held_by_cap) capped_.push_back(flow);
}

/// Begins to count visits anew.
void FluidSystem::forget_visits() {
  for (Flow& flow : flows_) flow.visit = 0;
  for (Mark& mark : marks_) mark.visit = 0;
  visit_ = 2;
}

void FluidSystem::settle(std::int64_t now_ns, EventQueue& events) {
  if (is_settled()) return;
  visit_ += 2;
  if (visit_ > std::numeric_limits<std::uint32_t>::max() - 4) forget_visits();
  for (const std::int32_t flow : changed_flows_) {
    if (is_alone(flow)) {
      settle_alone(flow, now_ns, events);
    } else if (may_wait(flow)) {
      new_flows_.push_back(flow);
    } else {
      settle_component(flow, now_ns, events);
    }
  }
  // A resource that could fill and no longer can frees its users, each of them a component of its own.
  for (const std::int32_t resource : changed_resources_) {
    resources_[at(resource)].changed = false;
    for (const User& user : resources_[at(resource)].users) settle_component(user.flow, now_ns, events);
  }
  for (const std::int32_t flow : new_flows_) {
    if (flows_[at(flow)].visit < visit_) wait(flow, now_ns, events);
  }
  new_flows_.clear();
  changed_flows_.clear();
  changed_resources_.clear();
}

void FluidSystem::settle_component(std::int32_t flow, std::int64_t now_ns, EventQueue& events) {
  visit_flow(flow);
  if (component_.empty()) return;
  for (std::size_t i = 0; i < component_.size(); ++i) visit_uses(component_[i]);
  solve_visited(now_ns);
  announce_first(events);
  const bool crowded = component_.size() > kManyFlows;
  for (const std::int32_t resource : component_resources_) marks_[at(resource)].crowded = crowded;
  component_.clear();
  component_resources_.clear();
  component_is_plain_ = true;
  capped_.clear();
}

/// Whether the flow has only just come, to many others.
bool FluidSystem::may_wait(std::int32_t number) const {
  if (!batch_ends_ || flows_[at(number)].rate > 0 || start_ns_[at(number)] != kWaits) return false;
  for (const std::int32_t resource : resources_of(flows_[at(number)])) {
    if (marks_[at(resource)].may_fill && marks_[at(resource)].crowded) return true;
  }
  return false;
}

/// Lets the flow wait for the next settling of its component, and sees to it that this comes in time.
void FluidSystem::wait(std::int32_t number, std::int64_t now_ns, EventQueue& events) {
  Flow& flow = flows_[at(number)];
  flow.since_ns = now_ns;
  double share = flow.cap;
  for (const std::int32_t resource : resources_of(flow)) {
    if (!marks_[at(resource)].may_fill) continue;
    const Resource& shared = resources_[at(resource)];
    share = std::min(share, shared.capacity / static_cast<double>(shared.users.size()));
  }
  const double longest_ns = std::min(flow.work / share, static_cast<double>(kLongestNs));
  const std::int64_t due_ns = now_ns + static_cast<std::int64_t>(longest_ns) / kBatchedShare;
  for (const std::int32_t resource : resources_of(flow)) {
    if (marks_[at(resource)].may_fill && marks_[at(resource)].due_ns <= due_ns) return;
  }
  for (const std::int32_t resource : resources_of(flow)) {
    if (marks_[at(resource)].may_fill) marks_[at(resource)].due_ns = due_ns;
  }
  events.push(due_ns, EventKind::flow_due, number, flow.generation);
}

/// Whether nothing that the flow uses could be full.
bool FluidSystem::is_alone(std::int32_t number) const {
  const Flow& flow = flows_[at(number)];
  for (const std::int32_t resource : resources_of(flow)) {
    if (marks_[at(resource)].may_fill) return false;
  }
  return true;
}

/// What settling it as a component would do.
void FluidSystem::settle_alone(std::int32_t number, std::int64_t now_ns, EventQueue& events) {
  if (flows_[at(number)].visit >= visit_) return;
  flows_[at(number)].visit = visit_;
  ++done_.components;
  ++done_.flows;
  set_rate(number, flows_[at(number)].cap, now_ns);
  Flow& flow = flows_[at(number)];
  if (flow.announced) return;
  flow.announced = true;
  events.push(flow.end_ns, EventKind::flow_end, number, flow.generation);
}

void FluidSystem::solve_visited(std::int64_t now_ns) {
  ++done_.components;
  done_.flows += std::ssize(component_);
  done_.resources += std::ssize(component_resources_);
  if (component_.size() == 1) return solve_one(component_.front(), now_ns);
  if (component_is_plain_ && solver_ == FluidSolver::in_place) return fill(now_ns);
  solve_generally(now_ns);
}

void FluidSystem::solve_one(std::int32_t number, std::int64_t now_ns) {
  const Flow& flow = flows_[at(number)];
  double rate = flow.cap;
  for (std::int32_t i = flow.use_begin; i < flow.use_begin + flow.use_count; ++i) {
    const std::int32_t resource = use_resources_[at(i)];
    if (!marks_[at(resource)].may_fill) continue;
    rate = std::min(rate, resources_[at(resource)].capacity / uses_[at(i)].weight);
  }
  set_rate(number, rate, now_ns);
}

void FluidSystem::solve_generally(std::int64_t now_ns) {
  share_.clear();
  for (const std::int32_t resource : component_resources_) {
    resources_[at(resource)].number = share_.add_resource(resources_[at(resource)].capacity);
  }
  for (const std::int32_t number : component_) {
    const Flow& flow = flows_[at(number)];
    share_.add_flow(flow.cap);
    for (std::int32_t i = flow.use_begin; i < flow.use_begin + flow.use_count; ++i) {
      const std::int32_t resource = use_resources_[at(i)];
      if (marks_[at(resource)].may_fill) share_.add_use(resources_[at(resource)].number, uses_[at(i)].weight);
    }
  }
  share_.solve();
  for (std::size_t i = 0; i < component_.size(); ++i) {
    set_rate(component_[i], share_.rate(static_cast<std::int32_t>(i)), now_ns);
  }
}

void FluidSystem::set_rate(std::int32_t flow, double rate, std::int64_t now_ns) {
  Flow& changed = flows_[at(flow)];
  if (changed.rate == rate) return;
  if (changed.rate > 0) {
    changed.work =
        std::max(0.0, changed.work - changed.rate * static_cast<double>(now_ns - changed.since_ns));
  }
  if (start_ns_[at(flow)] < 0) {  // what it could have done while it waited is taken as done
    start_ns_[at(flow)] = std::min(now_ns, changed.since_ns);
    changed.work = std::max(0.0, changed.work - rate * static_cast<double>(now_ns - start_ns_[at(flow)]));
  }
  changed.since_ns = now_ns;
  changed.rate = rate;
  changed.announced = false;
  ++changed.generation;
  const double left = changed.work / rate * (1 - kForgivenShare) - kForgivenNs;
  // kLongestNs as in whole_ns
  changed.end_ns =
      left <= 0 ? now_ns : now_ns + (left < static_cast<double>(kLongestNs) ? ceiled(left) : kLongestNs);
}

/// Only the flows of a component that end first: their end settles all the others of the component anew. Of
/// many flows those that end soon after the first end with it, in the middle of that time.
void FluidSystem::announce_first(EventQueue& events) {
  std::int32_t first = component_.front();
  std::int64_t first_ns = flows_[at(first)].end_ns;
  for (const std::int32_t flow : component_) {
    if (flows_[at(flow)].end_ns >= first_ns) continue;
    first = flow;
    first_ns = flows_[at(flow)].end_ns;
  }
  std::int64_t last_ns = first_ns;
  if (batch_ends_ && component_.size() > kManyFlows) {
    last_ns += (first_ns - start_ns_[at(first)]) / kBatchedShare;
  }
  const std::int64_t together_ns = first_ns + (last_ns - first_ns) / 2;
  for (const std::int32_t number : component_) {
    Flow& flow = flows_[at(number)];
    if (flow.end_ns > last_ns || flow.announced) continue;
    flow.announced = true;
    flow.end_ns = together_ns;
    events.push(together_ns, EventKind::flow_end, number, flow.generation);
  }
}

void FluidSystem::append_state(std::int64_t now_ns, std::vector<std::int32_t>& names,
                               std::vector<std::int64_t>& state) const {
  names.assign(flows_.size(), -1);
  std::int32_t named = 0;
  for (const Resource& resource : resources_) {
    state.push_back(std::bit_cast<std::int64_t>(resource.capacity));
    state.push_back(std::ssize(resource.users));
    const Mark& mark = marks_[static_cast<std::size_t>(&resource - resources_.data())];
    state.push_back(mark.crowded ? 1 : 0);
    state.push_back(mark.due_ns == kNotDue ? -1 : mark.due_ns - now_ns);
    for (const User& user : resource.users) {
      std::int32_t& name = names[at(user.flow)];
      if (name < 0) {
        name = named++;
        append_flow(user.flow, now_ns, state);
      }
      state.push_back(name);
      state.push_back(user.use - flows_[at(user.flow)].use_begin);
    }
  }
}

void FluidSystem::append_flow(std::int32_t number, std::int64_t now_ns,
                              std::vector<std::int64_t>& state) const {
  const Flow& flow = flows_[at(number)];
  for (const double value : {flow.work, flow.rate, flow.cap})
    state.push_back(std::bit_cast<std::int64_t>(value));
  state.push_back(flow.since_ns - now_ns);
  for (const std::int64_t ns : {start_ns_[at(number)], flow.end_ns})
    state.push_back(flow.rate > 0 ? ns - now_ns : -1);
  state.push_back(flow.announced ? 1 : 0);
  for (std::int32_t i = flow.use_begin; i < flow.use_begin + flow.use_count; ++i) {
    state.push_back(use_resources_[at(i)]);
    state.push_back(std::bit_cast<std::int64_t>(uses_[at(i)].weight));
  }
}

void FluidSystem::shift(std::int64_t by_ns) {
  for (Flow& flow : flows_) {
    flow.since_ns += by_ns;
    flow.end_ns += by_ns;
  }
  for (std::int64_t& start : start_ns_) start += start >= 0 ? by_ns : 0;
  for (Mark& mark : marks_) mark.due_ns += mark.due_ns != kNotDue ? by_ns : 0;
}

}  // namespace strata
