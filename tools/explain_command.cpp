// SPDX-License-Identifier: Apache-2.0
// strata explain: why this layout, which bound binds, the runner-up and its gap.
#include "planner/explain.hpp"

#include <memory>

#include "core/json_writer.hpp"
#include "tools/command.hpp"
#include "tools/plan_programs.hpp"
#include "tools/plan_report.hpp"

namespace strata::tools {

Command explain_command() {
  auto path = std::make_shared<std::string>();
  Command command;
  command.name = "explain";
  command.summary = "Why this layout, which bound binds, the runner-up and its gap";
  command.declare = [path](Options& declared) { declared.required("PLAN", *path, "Plan file"); };
  command.run = [path](Output& output) {
    const Plan plan = load_verified_plan(*path);
    const ReadAs read_as = read_as_plan(plan);
    for (const std::string& line : lines_of(read_as)) output.line(line);
    for (const std::string& line : explain_plan(plan)) output.line(wrapped(line, 4));
    output.document([&](JsonWriter& json) { write_plan_summary(json, plan, *path, &read_as); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
