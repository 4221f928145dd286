// SPDX-License-Identifier: Apache-2.0
// strata explain: why this layout, which bound binds, the runner-up and its gap.
#include "planner/explain.hpp"

#include <memory>

#include "core/json_writer.hpp"
#include "tools/command.hpp"
#include "tools/plan_programs.hpp"
#include "tools/plan_report.hpp"
#include "tools/read_as_profile.hpp"

namespace strata::tools {

namespace {

struct ExplainOptions {
  std::string plan;
  bool strict = false;
};

}  // namespace

Command explain_command() {
  auto options = std::make_shared<ExplainOptions>();
  Command command;
  command.name = "explain";
  command.summary = "Why this layout, which bound binds, the runner-up and its gap";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    declared.flag("--strict", options->strict, "Refuse over 1 % of work outside the profile's tables");
  };
  command.run = [options](Output& output) {
    const Plan plan = load_verified_plan(options->plan);
    const ReadAs read_as = read_as_plan(plan);
    if (options->strict) expect_inside_tables(*read_as.profile);
    for (const std::string& line : lines_of(read_as)) output.line(line);
    for (const std::string& line : explain_plan(plan)) output.line(wrapped(line, 4));
    output.document([&](JsonWriter& json) { write_plan_summary(json, plan, options->plan, &read_as); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
