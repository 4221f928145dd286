// SPDX-License-Identifier: Apache-2.0
// Checks a whole plan against what Strata itself would say. Core's verifier proves the waves and programs;
// the audit recomputes every other claim from waves, inputs and profile. It lists what it cannot recompute;
// nothing is passed over in silence.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/program/rank_program.hpp"
#include "core/verify/verify_schedule.hpp"
#include "cost_models/profile/cost_profile.hpp"

namespace strata {

struct AuditOptions {
  std::size_t limit = 100;     ///< of violations
  bool programs = true;        ///< lower the waves: digests, arena, peak memory; without them no times either
  bool times = true;           ///< simulate the waves
  bool candidates = true;      ///< plan again with every strategy that lost; only with `times`
  bool keep_programs = false;  ///< for whoever goes on with a plan that passed
  /// For a plan that names its profile by digest alone. One of another digest is not used.
  std::optional<CostProfile> profile;
};

/// Claims that were not recomputed, "predicted.step_time_ns, predicted.forward_ns", and why.
struct UnverifiedClaim {
  std::string claim;
  std::string reason;
  bool operator==(const UnverifiedClaim&) const = default;
};

/// Every violation names a rule of docs/plan-format.md and the place of the claim; its message says what was
/// found and what is true.
struct Audit {
  std::vector<Violation> violations;
  std::vector<UnverifiedClaim> not_verified;  ///< of a plan without violations
  std::optional<CostProfile> profile;         ///< the plan's own, where it was to be had
  /// The programs of the waves, [wave][rank], of a plan that passed and where they were to be kept.
  std::vector<std::vector<RankProgram>> programs;
  bool passed() const { return violations.empty(); }
  /// Whether the plan passed and this claim, "predicted.step_time_ns", was not left open.
  bool verifies(std::string_view claim) const;
};

/// Never throws for what a plan file can hold. Derives and lowers every wave once. The audit costs as much as
/// planning; without `candidates` it costs one simulation, without `times` as much as verify_plan_programs.
/// `considered` is called after each candidate.
Audit audit_plan(const Plan& plan, const AuditOptions& options = {},
                 const std::function<void()>& considered = {});

/// Whether the plan carries no profile, so that times need one from outside.
bool needs_profile(const Plan& plan);

}  // namespace strata
