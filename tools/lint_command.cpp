// SPDX-License-Identifier: Apache-2.0
// strata lint: verifies a plan file independently of whoever wrote it, every claim included; one line per
// violated rule.
#include <fmt/format.h>

#include <memory>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "tools/command.hpp"
#include "tools/plan_audit.hpp"

namespace strata::tools {

namespace {

struct LintOptions {
  AuditInputs audit;
  std::string plan;
};

std::string clean_line(const AuditedPlan& audited) {
  const Plan& plan = audited.plan;
  std::int64_t transfers = 0, tasks = 0;
  for (const Wave& wave : plan.waves) {
    for (const ScheduleStep& step : wave.schedule.steps) {
      transfers += std::ssize(step.transfers);
      tasks += std::ssize(step.tasks);
    }
  }
  return fmt::format("{}: clean ({}, {}, {}, {}, {})", audited.path, plan.strategy,
                     counted(std::ssize(plan.waves), "wave"), counted(plan.topology.rank_count(), "rank"),
                     counted(transfers, "transfer"), counted(tasks, "task"));
}

}  // namespace

Command lint_command() {
  auto options = std::make_shared<LintOptions>();
  Command command;
  command.name = "lint";
  command.summary = "Verify a plan file, one line per violated rule";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    declared.add("--limit N", options->audit.limit, "Stop after this many violations");
    declared.flag("--schedule-only", options->audit.schedule_only,
                  "Do not lower and check the rank programs, nor recompute times");
    options->audit.declare(declared);
  };
  command.run = [options](Output& output) {
    if (options->audit.limit < 1) {
      throw InputError("--limit", std::to_string(options->audit.limit), "at least 1");
    }
    const AuditedPlan audited = audit_file(options->plan, options->audit, true, output);
    if (report_violations(audited, output)) output.line(clean_line(audited));
    report_open_claims(audited, output);
    output.document([&](JsonWriter& json) { write_verdict(json, audited); });
    return audited.audit.passed() ? 0 : 1;
  };
  return command;
}

}  // namespace strata::tools
