// SPDX-License-Identifier: Apache-2.0
#include "planner/audit/audit_plan.hpp"

#include <algorithm>

#include "core/plan_json.hpp"
#include "planner/audit/audit_detail.hpp"
#include "planner/waves.hpp"

namespace strata {

namespace audit {

namespace {

/// The profile that the plan was made with; nothing, and a reason in the report, where it cannot be had.
std::optional<CostProfile> profile_of(const Plan& plan, const AuditOptions& options, std::string& missing,
                                      Report& report) {
  if (!needs_profile(plan)) {
    try {
      return read_profile(plan.profile.content, "inputs.profile.content");
    } catch (const InputError& error) {
      report.add("profile", error.where(),
                 fmt::format("found {}, but the cost model reads {}", error.found(), error.expected()));
    }
    return std::nullopt;
  }
  if (!options.profile) {
    missing = fmt::format("the plan names its profile by the digest {} alone", plan.profile.digest);
    return std::nullopt;
  }
  const std::string given = embed_profile(profile_text(*options.profile)).digest;
  if (given == plan.profile.digest) return options.profile;
  missing = fmt::format("the profile given has the digest {}, the plan's has {}", given, plan.profile.digest);
  return std::nullopt;
}

/// Sums over the batch fit, as masked_batch demands of every batch that is planned.
void audit_batch(const Plan& plan, Report& report) {
  try {
    masked_batch(plan.batch, plan.model, "inputs.batch");
  } catch (const InputError& error) {
    report.add("inputs", error.where(), fmt::format("{}, expected {}", error.found(), error.expected()));
  }
}

void audit_static(const Plan& plan, Report& report) {
  audit_batch(plan, report);
  audit_request(plan, report);
  audit_waves(plan, report);
  audit_strategy(plan, report);
  audit_candidate_list(plan, report);
}

void audit_recomputed(const Plan& plan, const AuditOptions& options, const std::function<void()>& considered,
                      Report& report) {
  std::string missing;
  const std::optional<CostProfile> profile = profile_of(plan, options, missing, report);
  if (!report.empty()) return;
  PlanRequest request{plan.batch, plan.topology, plan.model, plan.options, {}};
  if (profile) request.profile = *profile;
  if (!profile) report.leave_open("bounds.lower_bound_ns, bounds.active", missing);
  AuditOptions wanted = options;
  wanted.times = options.times && options.programs && profile;
  if (!wanted.times) {
    const std::string reason = !profile           ? missing
                               : options.programs ? "times were not asked for"
                                                  : "the programs were not asked for";
    report.leave_open("predicted.step_time_ns, predicted.forward_ns, predicted.backward_ns", reason);
    report.leave_open("candidates", reason);
  }
  if (!options.programs) {
    report.leave_open("program_digests, predicted.arena_bytes, predicted.peak_memory_bytes",
                      "the programs were not asked for");
  }
  audit_claims(plan, request, profile.has_value(), wanted, report);
  if (!report.empty() || !wanted.times) return;
  if (!options.candidates) return report.leave_open("candidates", "the candidates were not asked for");
  audit_candidate_times(plan, request, considered, report);
}

}  // namespace

std::string wave_place(std::size_t wave) { return fmt::format("waves[{}]", wave); }

}  // namespace audit

bool needs_profile(const Plan& plan) { return plan.profile.content.empty(); }

Audit audit_plan(const Plan& plan, const AuditOptions& options, const std::function<void()>& considered) {
  audit::Report report(std::max<std::size_t>(options.limit, 1));
  report.append(verify_plan(plan, report.room()));
  if (report.empty()) audit::audit_static(plan, report);
  if (report.empty() && options.programs) report.append(verify_plan_programs(plan, report.room()));
  if (report.empty()) audit::audit_recomputed(plan, options, considered, report);
  return report.take();
}

}  // namespace strata
