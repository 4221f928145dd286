// SPDX-License-Identifier: Apache-2.0
// Max-min fair rates by progressive filling (Bertsekas and Gallager, Data Networks, section 6.5.2): all rates
// grow together, and a flow stops at its own cap or when a resource that it uses is full. This knows nothing
// of links or ranks.
#pragma once

#include <cstdint>
#include <vector>

namespace strata {

/// A flow of rate r takes `weight` * r of resource `resource`. Weights are positive.
struct ResourceUse {
  std::int32_t resource = 0;
  double weight = 1;
  bool operator==(const ResourceUse&) const = default;
};

/// A flow uses each resource at most once; `cap` bounds its rate and is positive and finite.
struct SharingFlow {
  std::vector<ResourceUse> uses;
  double cap = 0;
};

/// Rates of flows over resources of the given capacities (positive). No resource is used above its capacity,
/// and every flow is at its cap or crosses a full resource on which no other flow is faster.
class FairShare {
 public:
  /// Forgets all flows, keeps memory.
  void clear();
  /// Adds a resource or a flow and returns its number, counted from 0. The uses of a flow are added right
  /// after it.
  std::int32_t add_resource(double capacity);
  std::int32_t add_flow(double cap);
  void add_use(std::int32_t resource, double weight);

  /// O(rounds x (resources + flows that can still grow)); at most one round per resource and per distinct
  /// cap.
  void solve();
  double rate(std::int32_t flow) const { return rates_[static_cast<std::size_t>(flow)]; }

 private:
  void build_resource_lists();
  void order_by_cap();
  void freeze(std::int32_t flow, double rate);

  struct Resource {
    double capacity = 0;
    double left = 0;    // capacity not taken by frozen flows
    double weight = 0;  // of the flows that still grow
    std::int32_t growing = 0;
  };
  std::vector<Resource> resources_;
  std::vector<double> caps_;
  std::vector<double> rates_;
  std::vector<ResourceUse> uses_;  // of flow f: [use_begin_[f], use_begin_[f + 1])
  std::vector<std::int32_t> use_begin_;
  std::vector<std::int32_t> users_;  // of resource r: [user_begin_[r], user_begin_[r + 1])
  std::vector<std::int32_t> user_begin_;
  std::vector<std::int32_t> by_cap_;  // flows in ascending order of cap
  std::vector<double> distinct_caps_;
  std::vector<std::uint8_t> frozen_;
};

/// The same in one call.
std::vector<double> fair_rates(const std::vector<double>& capacities, const std::vector<SharingFlow>& flows);

}  // namespace strata
