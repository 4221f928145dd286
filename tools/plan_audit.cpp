// SPDX-License-Identifier: Apache-2.0
#include "tools/plan_audit.hpp"

#include <fmt/format.h>

#include "core/base/check.hpp"
#include "core/json/json_writer.hpp"
#include "core/plan/plan_json.hpp"
#include "tools/output.hpp"

namespace strata::tools {

namespace {

/// A profile that is given is the plan's, and one is given where times are to be verified and the plan has
/// only its digest.
void expect_own_profile(const std::string& path, const Plan& plan, const AuditInputs& inputs,
                        const AuditOptions& options) {
  const std::string place = path + ": inputs.profile";
  if (options.profile) {
    const std::string digest = embed_profile(profile_text(*options.profile)).digest;
    if (digest == plan.profile.digest) return;
    throw InputError(
        place, fmt::format("digest {} in {}", digest, inputs.profile),
        fmt::format("--profile FILE with the profile of digest {}: only simulate predicts with another",
                    plan.profile.digest));
  }
  if (!options.times || !needs_profile(plan)) return;
  throw InputError(
      place, "only a digest",
      fmt::format("--profile FILE with the profile of digest {}, or --no-simulate", plan.profile.digest));
}

}  // namespace

void AuditInputs::declare_no_candidates(Options& options) {
  options.flag("--no-candidates", no_candidates, "Do not plan again what lost: it is listed as not verified");
}

void AuditInputs::declare(Options& options) {
  options.add("--profile FILE", profile, "The plan's cost profile, where it was too large to be embedded");
  options.flag("--no-simulate", no_simulate, "Do not recompute times: they are listed as not verified");
  declare_no_candidates(options);
}

AuditedPlan audit_file(const std::string& path, const AuditInputs& inputs, bool own_profile,
                       const Output& output) {
  AuditedPlan audited{path, read_plan(path), {}};
  const Plan& plan = audited.plan;
  AuditOptions options;
  options.limit = static_cast<std::size_t>(inputs.limit);
  options.programs = !inputs.schedule_only;
  options.times = !inputs.no_simulate && !inputs.schedule_only;
  options.candidates = !inputs.no_candidates;
  options.keep_programs = inputs.keep_programs;
  if (!inputs.profile.empty()) options.profile = read_profile_file(inputs.profile);
  if (own_profile) expect_own_profile(path, plan, inputs, options);
  Progress progress(output, "verifying", std::ssize(plan.candidates));
  audited.audit = audit_plan(plan, options, [&] { progress.advance(); });
  return audited;
}

bool report_violations(const AuditedPlan& audited, const Output& output) {
  for (const Violation& violation : audited.audit.violations) {
    output.result(
        fmt::format("{}: {}: {}: {}", audited.path, violation.place, violation.rule, violation.message));
  }
  return audited.audit.passed();
}

void report_open_claims(const AuditedPlan& audited, const Output& output) {
  for (const UnverifiedClaim& open : audited.audit.not_verified) {
    output.line(wrapped(fmt::format("{}: not verified: {}: {}", audited.path, open.claim, open.reason), 2));
  }
}

void write_verdict(JsonWriter& json, const AuditedPlan& audited) {
  json.open_object(JsonLayout::lines);
  json.member("plan", std::string_view(audited.path));
  json.member("strategy", std::string_view(audited.plan.strategy));
  json.member("passed", audited.audit.passed());
  json.key("violations");
  json.open_array(JsonLayout::lines);
  for (const Violation& violation : audited.audit.violations) {
    json.open_object(JsonLayout::compact);
    json.member("rule", std::string_view(violation.rule));
    json.member("place", std::string_view(violation.place));
    json.member("message", std::string_view(violation.message));
    json.close();
  }
  json.close();
  json.key("not_verified");
  json.open_array(JsonLayout::lines);
  for (const UnverifiedClaim& open : audited.audit.not_verified) {
    json.open_object(JsonLayout::compact);
    json.member("claim", std::string_view(open.claim));
    json.member("reason", std::string_view(open.reason));
    json.close();
  }
  json.close();
  json.close();
}

}  // namespace strata::tools
