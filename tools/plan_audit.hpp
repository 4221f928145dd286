// SPDX-License-Identifier: Apache-2.0
// One verdict on a plan file for every command that shows what it claims: lint, explain and simulate.
#pragma once

#include <cstdint>
#include <string>

#include "planner/audit/audit_plan.hpp"
#include "tools/command.hpp"

namespace strata::tools {

/// The options of an audit. `profile` is also the one that simulate predicts with.
struct AuditInputs {
  std::string profile;
  std::int64_t limit = 100;
  bool schedule_only = false, no_simulate = false, no_candidates = false;
  bool keep_programs = false;  ///< users have no option for it

  /// --profile, --no-simulate and --no-candidates.
  void declare(Options& options);
  void declare_no_candidates(Options& options);
};

struct AuditedPlan {
  std::string path;
  Plan plan;
  Audit audit;
};

/// Reads and audits a plan. Throws InputError where the file is no plan. With `own_profile` it also throws
/// where the profile of `inputs` is not the plan's, and where times are to be verified and nobody has the
/// plan's. Without it, what needs the plan's profile is left open.
AuditedPlan audit_file(const std::string& path, const AuditInputs& inputs, bool own_profile,
                       const Output& output);

/// Prints a line per violation, as a result. Returns whether the plan passed.
bool report_violations(const AuditedPlan& audited, const Output& output);
/// Prints a line per claim that was not verified.
void report_open_claims(const AuditedPlan& audited, const Output& output);
/// {"plan", "strategy", "passed", "violations", "not_verified"}
void write_verdict(JsonWriter& json, const AuditedPlan& audited);

}  // namespace strata::tools
