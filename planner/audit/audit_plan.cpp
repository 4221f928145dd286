// SPDX-License-Identifier: Apache-2.0
#include "planner/audit/audit_plan.hpp"

#include <algorithm>

#include "core/plan/plan_json.hpp"
#include "planner/audit/audit_detail.hpp"
#include "planner/search/waves.hpp"

namespace strata {

namespace audit {

namespace {

constexpr const char* kNoPrograms = "the programs were not asked for";

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

/// Times of another device are true to the profile and false of the machine: `--any-device` admits them, and
/// nobody can say how far off they are.
void audit_devices(const CostProfile& profile, const Topology& topology, Report& report) {
  const std::vector<std::int32_t> devices = uncovered_devices(profile, topology);
  if (devices.empty()) return;
  report.leave_open("inputs.profile",
                    fmt::format("{} is not for {} of this cluster, such as {}: times are another device's",
                                profile.name, devices.size() == 1 ? "a device" : "devices",
                                topology.devices[static_cast<std::size_t>(devices.front())].name));
}

/// `programs`: of the waves, where they were asked for; they may be moved from.
void audit_recomputed(const Plan& plan, const AuditOptions& options, Programs& programs,
                      const std::function<void()>& considered, Report& report) {
  std::string missing;
  const std::optional<CostProfile> profile = profile_of(plan, options, missing, report);
  if (!report.empty()) return;
  PlanRequest request{plan.batch, plan.topology, plan.model, plan.options, {}};
  if (profile) {
    request.profile = *profile;
    audit_devices(*profile, plan.topology, report);
    report.recomputed_with(*profile);
  }
  if (!profile) leave_bounds_open(missing, report);
  AuditOptions wanted = options;
  wanted.times = options.times && options.programs && profile;
  if (!wanted.times) {
    leave_times_open(!profile           ? missing
                     : options.programs ? "times were not asked for"
                                        : kNoPrograms,
                     report);
  }
  if (!options.programs) leave_programs_open(kNoPrograms, report);
  audit_claims(plan, request, profile.has_value(), wanted, programs, report);
  if (options.keep_programs) {
    report.keep(std::move(programs));
  } else {
    programs.clear();  // they are the most of what a plan takes
  }
  if (!report.empty() || !wanted.times) return;
  if (!options.candidates) return report.leave_open("candidates", "the candidates were not asked for");
  audit_candidate_times(plan, request, considered, report);
}

}  // namespace

std::string wave_place(std::size_t wave) { return fmt::format("waves[{}]", wave); }

}  // namespace audit

bool Audit::verifies(std::string_view claim) const {
  if (!passed()) return false;
  return std::none_of(not_verified.begin(), not_verified.end(), [&](const UnverifiedClaim& open) {
    return (", " + open.claim + ",").find(fmt::format(" {},", claim)) != std::string::npos;
  });
}

bool needs_profile(const Plan& plan) { return plan.profile.content.empty(); }

Audit audit_plan(const Plan& plan, const AuditOptions& options, const std::function<void()>& considered) {
  audit::Report report(std::max<std::size_t>(options.limit, 1));
  std::vector<CommSchedule> backward;
  audit::Programs programs;
  report.append(verify_plan(plan, report.room(), &backward));
  if (report.empty()) audit::audit_static(plan, report);
  if (report.empty() && options.programs) {
    report.append(verify_plan_programs(plan, std::move(backward), report.room(), programs));
  }
  if (report.empty()) audit::audit_recomputed(plan, options, programs, considered, report);
  return report.take();
}

}  // namespace strata
