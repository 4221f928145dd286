// SPDX-License-Identifier: Apache-2.0
// strata validate: a measured timeline against the prediction for the machine that measured it.
#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/json/json_writer.hpp"
#include "core/plan/plan_json.hpp"
#include "core/program/timeline_json.hpp"
#include "cost_models/simulator/simulator.hpp"
#include "tools/command.hpp"
#include "tools/execution_topology.hpp"
#include "tools/plan_programs.hpp"
#include "tools/plan_report.hpp"
#include "tools/read_as_profile.hpp"
#include "traces/timelines/compare_timelines.hpp"
#include "traces/timelines/timeline_faults.hpp"

namespace strata::tools {

namespace {

struct ValidateOptions {
  std::string plan, measured, profile;
  std::int64_t tolerance_percent = 0;
  bool strict = false, allow_unmatched = false;
};

void write_errors(JsonWriter& json, const ErrorSummary& error) {
  json.member("count", error.count);
  json.member("predicted_ns", error.predicted_ns);
  json.member("measured_ns", error.measured_ns);
  json.member("median_absolute_relative_error", error.median);
  json.member("p95_absolute_relative_error", error.p95);
  json.member("max_absolute_relative_error", error.max);
  json.member("bias", error.bias);
}

void write_document(JsonWriter& json, const TimelineComparison& comparison, const TimelineFaults& faults) {
  json.open_object(JsonLayout::lines);
  json.member("source", std::string_view(comparison.measured_source));
  json.key("step");
  json.open_object(JsonLayout::compact);
  json.member("predicted_ns", comparison.step.predicted_ns);
  json.member("measured_ns", comparison.step.measured_ns);
  json.member("relative_error", comparison.step.relative_error);
  json.close();
  json.key("kinds");
  json.open_array(JsonLayout::lines);
  for (const KindError& kind : comparison.kinds) {
    json.open_object(JsonLayout::compact);
    json.member("kind", std::string_view(kind.kind));
    write_errors(json, kind.error);
    json.close();
  }
  json.close();
  json.key("below_noise_floor");
  json.open_object(JsonLayout::compact);
  json.member("noise_floor_ns", comparison.noise_floor_ns);
  write_errors(json, comparison.below_floor);
  json.close();
  json.member("matched", comparison.matched);
  json.member("unmatched", comparison.only_predicted + comparison.only_measured);
  json.member("missing", faults.missing);
  json.member("differing", faults.differing);
  json.member("repeats", comparison.repeats);
  json.close();
}

/// Says what is wrong with the measurement; whether nothing is.
bool report_faults(const TimelineFaults& faults, const ValidateOptions& options, const Output& output) {
  bool sound = true;
  if (faults.missing > 0) {
    const std::string text = fmt::format("{}: {} of {} instructions of the plan are missing",
                                         options.measured, faults.missing, faults.instructions);
    if (options.allow_unmatched) {
      output.line(text);
    } else {
      output.result(text + "; --allow-unmatched admits them");
      sound = false;
    }
  }
  if (faults.differing > 0) {
    output.result(fmt::format("{}: {}: other work than the program's, {} in all", options.measured,
                              faults.first_differing, counted(faults.differing, "event")));
    sound = false;
  }
  return sound;
}

bool report_tolerance(const StepError& step, const ValidateOptions& options, const Output& output) {
  const double error = std::abs(step.relative_error) * 100;
  if (options.tolerance_percent <= 0 || error <= static_cast<double>(options.tolerance_percent)) return true;
  output.result(
      fmt::format("step error {:.1f} % is above the tolerance of {} %", error, options.tolerance_percent));
  return false;
}

}  // namespace

Command validate_command() {
  auto options = std::make_shared<ValidateOptions>();
  Command command;
  command.name = "validate";
  command.summary = "Predicted against measured, by kind of instruction, rank and step";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    declared.required("MEASURED", options->measured, "Timeline that strata run wrote");
    declared.add("--profile FILE", options->profile,
                 "Cost profile of the measuring machine; without it the plan's");
    declared.flag("--strict", options->strict, "Refuse over 1 % of work outside the profile's tables");
    declared.add("--tolerance-percent N", options->tolerance_percent,
                 "Exit 1 when the step's error is larger; 0: never");
    declared.flag("--allow-unmatched", options->allow_unmatched,
                  "Compare what is there where instructions are missing, instead of exit 1");
  };
  command.run = [options](Output& output) {
    if (options->tolerance_percent < 0) {
      throw InputError("--tolerance-percent", std::to_string(options->tolerance_percent), "0 or more");
    }
    const LoadedPlan loaded = load_plan(options->plan);
    const CostProfile profile = profile_of(loaded.plan, options->profile, /*any_device=*/true);
    const Timeline measured = read_timeline(options->measured);
    const std::string digest = plan_digest(loaded.plan);
    if (measured.plan_digest != digest) {
      throw InputError(options->measured, "a run of plan " + measured.plan_digest, "plan " + digest);
    }
    check_measured(measured, loaded.programs, options->measured);
    SimulatorOptions settings;
    settings.layers = measured.layers;
    settings.include_linear = measured.linear_included;
    settings.exact = true;
    const ExecutionTopology machine = execution_topology(measured, loaded.plan.topology, options->measured);
    Simulation simulation =
        simulate_step(loaded.programs, machine.topology, loaded.plan.model, profile, settings);
    simulation.timeline.plan_digest = digest;
    const TimelineComparison comparison = compare_timelines(simulation.timeline, measured, loaded.programs);
    output.line(wrapped(fmt::format("predicted for {}; {}", machine.description, profile_label(profile)), 2));
    if (measured.source == "simulator") {
      output.line(fmt::format("{} was simulated: two predictions are compared, nothing was measured",
                              options->measured));
    }
    const ReadAsProfile read =
        read_as_profile(profile, machine.topology, loaded.plan.model, simulation.extrapolated_share);
    if (options->strict) expect_inside_tables(read);
    for (const std::string& line : lines_of(read)) output.line(wrapped(line, 4));
    output.line(to_text(comparison));
    if (!measured.linear_included) output.line("linear layers were neither run nor predicted here");
    if (loaded.plan.options.recompute != Recompute::none) {
      output.line(fmt::format("the plan's recomputation ({}) was neither run nor predicted here",
                              to_string(loaded.plan.options.recompute)));
    }
    const TimelineFaults faults = timeline_faults(measured, loaded.programs);
    output.document([&](JsonWriter& json) { write_document(json, comparison, faults); });
    const bool sound = report_faults(faults, *options, output);
    const bool close = report_tolerance(comparison.step, *options, output);
    return sound && close ? 0 : 1;
  };
  return command;
}

}  // namespace strata::tools
