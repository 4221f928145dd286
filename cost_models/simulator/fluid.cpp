// SPDX-License-Identifier: Apache-2.0
#include "cost_models/simulator/fluid.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/check.hpp"
#include "core/base/units.hpp"

namespace strata {
namespace {

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

/// Demand and capacity are compared in integers, so that sums come and go without a trace.
std::int64_t units(double rate) { return static_cast<std::int64_t>(std::llround(rate * 4294967296.0)); }

/// Shares such as one third are rounded; this much of a nanosecond is forgiven before the next one begins.
constexpr double kForgivenNs = 1e-6;
constexpr double kForgivenShare = 1e-12;

/// A ragged all-to-all has thousands of ends close to each other, and each one changes the rates of all the
/// rest.
constexpr std::size_t kManyFlows = 256;
constexpr std::int64_t kBatchedShare = 256;

}  // namespace

std::int32_t FluidSystem::add_resource(double capacity) {
  STRATA_CHECK(capacity > 0 && capacity < 1e9, "a shared resource has a capacity of {} per ns", capacity);
  Resource resource;
  resource.capacity = capacity;
  resource.capacity_units = units(capacity);
  resources_.push_back(std::move(resource));
  return static_cast<std::int32_t>(resources_.size()) - 1;
}

void FluidSystem::mark(std::int32_t resource) {
  if (resources_[at(resource)].changed) return;
  resources_[at(resource)].changed = true;
  changed_resources_.push_back(resource);
}

void FluidSystem::set_capacity(std::int32_t resource, double capacity) {
  Resource& changed = resources_[at(resource)];
  const bool could_fill = changed.may_fill();
  changed.capacity = capacity;
  changed.capacity_units = units(capacity);
  if (could_fill || changed.may_fill()) mark(resource);
}

std::int32_t FluidSystem::start(double work, double cap, const std::vector<ResourceUse>& uses) {
  STRATA_CHECK(work > 0 && cap > 0, "a flow of {} units with the cap {}", work, cap);
  std::int32_t number = 0;
  if (free_.empty()) {
    number = static_cast<std::int32_t>(flows_.size());
    flows_.emplace_back();
  } else {
    number = free_.back();
    free_.pop_back();
  }
  Flow& flow = flows_[at(number)];
  flow.work = work;
  flow.rate = 0;
  flow.announced = false;
  flow.start_ns = -1;
  flow.cap = cap;
  flow.uses.clear();
  for (const ResourceUse& use : uses) {
    Resource& resource = resources_[at(use.resource)];
    const std::int64_t demand = units(cap * use.weight);
    flow.uses.push_back({use.resource, static_cast<std::int32_t>(resource.users.size()), use.weight, demand});
    resource.users.push_back({number, static_cast<std::int32_t>(flow.uses.size()) - 1});
    resource.demand += demand;
    if (resource.may_fill()) mark(use.resource);
  }
  changed_flows_.push_back(number);
  return number;
}

void FluidSystem::end(std::int32_t flow) {
  Flow& ended = flows_[at(flow)];
  for (const Use& use : ended.uses) {
    Resource& resource = resources_[at(use.resource)];
    if (resource.may_fill()) mark(use.resource);
    resource.demand -= use.demand;
    const User moved = resource.users.back();
    resource.users[at(use.place)] = moved;
    flows_[at(moved.flow)].uses[at(moved.use)].place = use.place;
    resource.users.pop_back();
  }
  ended.uses.clear();
  ++ended.generation;
  free_.push_back(flow);
}

void FluidSystem::visit_flow(std::int32_t flow) {
  Flow& visited = flows_[at(flow)];
  if (visited.visit == visit_) return;
  visited.visit = visit_;
  component_.push_back(flow);
}

void FluidSystem::visit_users(std::int32_t resource) {
  resources_[at(resource)].visit = visit_;
  for (const User& user : resources_[at(resource)].users) visit_flow(user.flow);
}

void FluidSystem::settle(std::int64_t now_ns) {
  if (is_settled()) return;
  ++visit_;
  const auto grow = [&] {
    for (std::size_t i = 0; i < component_.size(); ++i) {
      for (const Use& use : flows_[at(component_[i])].uses) {
        Resource& resource = resources_[at(use.resource)];
        if (!resource.may_fill() || resource.visit == visit_) continue;
        component_resources_.push_back(use.resource);
        visit_users(use.resource);
      }
    }
    if (component_.empty()) return;
    solve_component(now_ns);
    announce_first();
    component_.clear();
    component_resources_.clear();
  };
  for (const std::int32_t flow : changed_flows_) {
    visit_flow(flow);
    grow();
  }
  // A resource that could fill and no longer can frees its users, each of them a component of its own.
  for (const std::int32_t resource : changed_resources_) {
    resources_[at(resource)].changed = false;
    for (const User& user : resources_[at(resource)].users) {
      visit_flow(user.flow);
      grow();
    }
  }
  changed_flows_.clear();
  changed_resources_.clear();
}

void FluidSystem::solve_component(std::int64_t now_ns) {
  if (component_.size() == 1) {
    const Flow& flow = flows_[at(component_.front())];
    double rate = flow.cap;
    for (const Use& use : flow.uses) {
      const Resource& resource = resources_[at(use.resource)];
      if (resource.may_fill()) rate = std::min(rate, resource.capacity / use.weight);
    }
    set_rate(component_.front(), rate, now_ns);
    return;
  }
  share_.clear();
  for (const std::int32_t resource : component_resources_) {
    resources_[at(resource)].number = share_.add_resource(resources_[at(resource)].capacity);
  }
  for (const std::int32_t flow : component_) {
    share_.add_flow(flows_[at(flow)].cap);
    for (const Use& use : flows_[at(flow)].uses) {
      const Resource& resource = resources_[at(use.resource)];
      if (resource.may_fill()) share_.add_use(resource.number, use.weight);
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
  if (changed.start_ns < 0) changed.start_ns = now_ns;
  changed.since_ns = now_ns;
  changed.rate = rate;
  changed.announced = false;
  ++changed.generation;
  const double left = changed.work / rate;
  const double whole = std::ceil(left * (1 - kForgivenShare) - kForgivenNs);
  changed.end_ns = now_ns + std::max<std::int64_t>(0, whole_ns(whole));
}

/// Only the flows of a component that end first: their end settles all the others of the component anew.
void FluidSystem::announce_first() {
  const Flow* first = &flows_[at(component_.front())];
  for (const std::int32_t flow : component_) {
    if (flows_[at(flow)].end_ns < first->end_ns) first = &flows_[at(flow)];
  }
  std::int64_t together_ns = first->end_ns;
  if (batch_ends_ && component_.size() > kManyFlows) {
    together_ns += (first->end_ns - first->start_ns) / kBatchedShare;
  }
  for (const std::int32_t number : component_) {
    Flow& flow = flows_[at(number)];
    if (flow.end_ns > together_ns || flow.announced) continue;
    flow.announced = true;
    flow.end_ns = together_ns;
    events_.push(flow.end_ns, EventKind::flow_end, number, flow.generation);
  }
}

}  // namespace strata
