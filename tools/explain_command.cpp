// SPDX-License-Identifier: Apache-2.0
// strata explain: why this layout, which bound binds, the runner-up and its gap.
#include "planner/explain.hpp"

#include <memory>

#include "core/json_writer.hpp"
#include "tools/command.hpp"
#include "tools/plan_audit.hpp"
#include "tools/plan_report.hpp"

namespace strata::tools {

namespace {

struct ExplainOptions {
  AuditInputs audit;
  std::string plan;
};

}  // namespace

Command explain_command() {
  auto options = std::make_shared<ExplainOptions>();
  Command command;
  command.name = "explain";
  command.summary = "Why this layout, which bound binds, the runner-up and its gap";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    options->audit.declare(declared);
  };
  command.run = [options](Output& output) {
    const AuditedPlan audited = audit_file(options->plan, options->audit, true, output);
    if (!report_violations(audited, output)) {
      output.document([&](JsonWriter& json) { write_verdict(json, audited); });
      return 1;
    }
    for (const std::string& line : explain_plan(audited.plan)) output.line(wrapped(line, 4));
    report_open_claims(audited, output);
    output.document([&](JsonWriter& json) { write_plan_summary(json, audited.plan, options->plan); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
