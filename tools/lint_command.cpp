// SPDX-License-Identifier: Apache-2.0
// strata lint: verifies a plan file independently of whoever wrote it; one line per violated rule.
#include <fmt/format.h>

#include <memory>

#include "core/check.hpp"
#include "core/counts.hpp"
#include "core/json_writer.hpp"
#include "core/plan_json.hpp"
#include "core/verify_schedule.hpp"
#include "cost_models/cost_profile.hpp"
#include "tools/command.hpp"

namespace strata::tools {

namespace {

struct LintOptions {
  std::string plan;
  std::int64_t limit = 100;
  bool schedule_only = false;
};

void write_document(JsonWriter& json, const std::string& path, const Plan& plan,
                    const std::vector<Violation>& violations) {
  json.open_object(JsonLayout::lines);
  json.member("plan", std::string_view(path));
  json.member("strategy", std::string_view(plan.strategy));
  json.member("passed", violations.empty());
  json.key("violations");
  json.open_array(JsonLayout::lines);
  for (const Violation& violation : violations) {
    json.open_object(JsonLayout::compact);
    json.member("rule", std::string_view(violation.rule));
    json.member("place", std::string_view(violation.place));
    json.member("message", std::string_view(violation.message));
    json.close();
  }
  json.close();
  json.close();
}

/// What predicted the times is an input like the others; a plan that carries it carries a good one.
void check_profile(const Plan& plan, std::vector<Violation>& violations) {
  if (plan.profile.content.empty()) return;
  try {
    read_profile(plan.profile.content, "inputs.profile.content");
  } catch (const InputError& error) {
    violations.push_back({"inputs", "inputs.profile", error.what()});
  }
}

}  // namespace

Command lint_command() {
  auto options = std::make_shared<LintOptions>();
  Command command;
  command.name = "lint";
  command.summary = "Verify a plan file, one line per violated rule";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    declared.add("--limit N", options->limit, "Stop after this many violations");
    declared.flag("--schedule-only", options->schedule_only, "Do not lower and check the rank programs");
  };
  command.run = [options](Output& output) {
    if (options->limit < 1) throw InputError("--limit", std::to_string(options->limit), "at least 1");
    const Plan plan = read_plan(options->plan);
    const auto limit = static_cast<std::size_t>(options->limit);
    std::vector<Violation> violations = verify_plan(plan, limit);
    check_profile(plan, violations);
    if (violations.empty() && !options->schedule_only) violations = verify_plan_programs(plan, limit);
    for (const Violation& violation : violations) {
      output.result(
          fmt::format("{}: {}: {}: {}", options->plan, violation.place, violation.rule, violation.message));
    }
    if (violations.empty()) {
      std::int64_t transfers = 0, tasks = 0;
      for (const Wave& wave : plan.waves) {
        for (const ScheduleStep& step : wave.schedule.steps) {
          transfers += std::ssize(step.transfers);
          tasks += std::ssize(step.tasks);
        }
      }
      output.line(fmt::format("{}: clean ({}, {}, {}, {}, {})", options->plan, plan.strategy,
                              counted(std::ssize(plan.waves), "wave"),
                              counted(plan.topology.rank_count(), "rank"), counted(transfers, "transfer"),
                              counted(tasks, "task")));
    }
    output.document([&](JsonWriter& json) { write_document(json, options->plan, plan, violations); });
    return violations.empty() ? 0 : 1;
  };
  return command;
}

}  // namespace strata::tools
