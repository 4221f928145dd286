// SPDX-License-Identifier: Apache-2.0
// Inside of the audit: where it writes what it found, and its parts in the order in which they run.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "planner/audit/audit_plan.hpp"
#include "planner/search/prediction.hpp"
#include "planner/strategies/strategy.hpp"

namespace strata::audit {

using Programs = std::vector<std::vector<RankProgram>>;  ///< [wave][rank]

/// Violations up to a limit, and claims that stay open.
class Report {
 public:
  explicit Report(std::size_t limit) : limit_(limit) {}
  bool empty() const { return audit_.violations.empty(); }
  bool full() const { return audit_.violations.size() >= limit_; }
  std::size_t room() const { return limit_ - audit_.violations.size(); }

  void add(std::string_view rule, std::string place, std::string message) {
    if (!full()) audit_.violations.push_back({std::string(rule), std::move(place), std::move(message)});
  }
  /// "FOUND, but SAYS TRUTH".
  void differs(std::string_view rule, std::string place, std::string_view found, std::string_view says,
               std::string_view truth) {
    add(rule, std::move(place), fmt::format("{}, but {} {}", found, says, truth));
  }
  void append(std::vector<Violation> more) {
    for (Violation& violation : more) {
      if (!full()) audit_.violations.push_back(std::move(violation));
    }
  }
  void leave_open(std::string claim, std::string reason) {
    audit_.not_verified.push_back({std::move(claim), std::move(reason)});
  }
  void recomputed_with(CostProfile profile) { audit_.profile = std::move(profile); }
  void keep(Programs programs) { audit_.programs = std::move(programs); }
  /// Whether some claim of this name was left open.
  bool is_open(std::string_view claim) const {
    return std::any_of(audit_.not_verified.begin(), audit_.not_verified.end(),
                       [&](const UnverifiedClaim& open) { return open.claim == claim; });
  }
  Audit take() {
    if (!audit_.passed()) {
      audit_.not_verified.clear();
      audit_.programs.clear();
    }
    return std::move(audit_);
  }

 private:
  std::size_t limit_;
  Audit audit_;
};

/// "waves[3]".
std::string wave_place(std::size_t wave);

/// Checks that the waves do what the request asks for, and that the strategies that it names exist.
void audit_request(const Plan& plan, Report& report);
/// Checks that tasks are inside their groups, and that steps marked as collectives are such.
void audit_waves(const Plan& plan, Report& report);
/// Checks that the layout is not that of another strategy than the plan names. A layout that no strategy
/// makes stays open.
void audit_strategy(const Plan& plan, Report& report);
/// Checks that every asked strategy has one entry, and that the chosen one is the least.
void audit_candidate_list(const Plan& plan, Report& report);

/// Checks `predicted` and `bounds` against the programs, and the programs against the memory of the devices.
/// `request` has the plan's inputs; its profile is read only where `profile_is_known`, `programs` only where
/// `options.programs`.
void audit_claims(const Plan& plan, const PlanRequest& request, bool profile_is_known,
                  const AuditOptions& options, const Programs& programs, Report& report);
/// Leave open the claims that nobody recomputes: without a profile, without a simulation (the candidates
/// among them), without programs.
void leave_bounds_open(const std::string& reason, Report& report);
void leave_times_open(const std::string& reason, Report& report);
void leave_programs_open(const std::string& reason, Report& report);
/// Plans again with every strategy that lost, and checks its entry.
void audit_candidate_times(const Plan& plan, const PlanRequest& request,
                           const std::function<void()>& considered, Report& report);

/// The strategy of this name, nothing where the table has none.
std::optional<Strategy> find_strategy(std::string_view name);
/// The names in the table, "ulysses, ring, ...".
std::string known_strategies();

}  // namespace strata::audit
