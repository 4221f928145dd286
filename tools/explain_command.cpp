// SPDX-License-Identifier: Apache-2.0
// strata explain: why this layout, which bound binds, the runner-up and its gap.
#include "planner/report/explain.hpp"

#include <memory>

#include "core/base/check.hpp"
#include "core/json/json_writer.hpp"
#include "tools/command.hpp"
#include "tools/plan_audit.hpp"
#include "tools/plan_report.hpp"
#include "tools/read_as_model.hpp"
#include "tools/read_as_profile.hpp"

namespace strata::tools {

namespace {

struct ExplainOptions {
  AuditInputs audit;
  std::string plan;
  bool strict = false;
};

/// A share that nobody recomputed is what the file says of itself.
void expect_share_verified(const AuditedPlan& audited) {
  if (audited.audit.verifies("predicted.extrapolated_share")) return;
  throw InputError("--strict", "predicted.extrapolated_share not verified",
                   "a share that is recomputed: leave out --no-simulate");
}

}  // namespace

Command explain_command() {
  auto options = std::make_shared<ExplainOptions>();
  Command command;
  command.name = "explain";
  command.summary = "Why this layout, which bound binds, the runner-up and its gap";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    declared.flag("--strict", options->strict, "Refuse over 1 % of work outside the profile's tables");
    options->audit.declare(declared);
  };
  command.run = [options](Output& output) {
    const AuditedPlan audited = audit_file(options->plan, options->audit, true, output);
    if (!report_violations(audited, output)) {
      output.document([&](JsonWriter& json) { write_verdict(json, audited); });
      return 1;
    }
    const ReadAs read_as = read_as_plan(audited.plan, audited.audit.profile);
    if (options->strict) {
      expect_share_verified(audited);
      expect_for_devices(*read_as.profile);
      expect_inside_tables(*read_as.profile);
    }
    for (const std::string& line : lines_of(read_as)) output.line(line);
    for (const std::string& line : explain_plan(audited.plan, audited.audit.profile))
      output.line(wrapped(line, 4));
    report_open_claims(audited, output);
    output.document(
        [&](JsonWriter& json) { write_plan_summary(json, audited.plan, options->plan, &read_as); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
