// SPDX-License-Identifier: Apache-2.0
// strata simulate: the predicted timeline of a plan, load per rank, exposed communication, memory.
#include <fmt/format.h>

#include <memory>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/json/json_writer.hpp"
#include "core/plan/plan_json.hpp"
#include "core/program/timeline_json.hpp"
#include "cost_models/cost/memory_cost.hpp"
#include "cost_models/simulator/simulator.hpp"
#include "planner/report/explain.hpp"
#include "tools/command.hpp"
#include "tools/plan_audit.hpp"
#include "tools/plan_programs.hpp"
#include "tools/plan_report.hpp"
#include "tools/read_as_profile.hpp"
#include "traces/timelines/chrome_trace.hpp"

namespace strata::tools {

namespace {

constexpr std::int64_t kMostLayers = 100'000;

struct SimulateOptions {
  AuditInputs audit;
  std::string plan, timeline, trace;
  std::int64_t layers = 0;
  bool attention_only = false, any_device = false, strict = false;
};

/// `layers`: those that the times are of.
void print(const Output& output, const Simulation& simulation, const Plan& plan, std::int32_t layers,
           const CostProfile& profile, const ReadAsProfile& read) {
  const Prediction& predicted = simulation.prediction;
  output.line(fmt::format("step {} (forward {}, backward {}); {}", human(predicted.step_time),
                          human(predicted.forward), human(predicted.backward), profile_label(profile)));
  if (!predicted.settled) output.line("  " + unsettled_note());
  if (layers != plan.model.layers) {
    output.line(fmt::format("  times and bytes are of {} instead of the model's {}, memory is of all {}",
                            counted(layers, "layer"), plan.model.layers, plan.model.layers));
  }
  Table table({"rank", "end", "busy", "exposed communication", "idle", "pairs x heads"});
  for (std::size_t rank = 0; rank < simulation.ranks.size(); ++rank) {
    const RankLoad& load = simulation.ranks[rank];
    table.add({fmt::format("{}", rank), human(load.end), human(load.busy), human(load.exposed),
               human(load.end - load.busy - load.exposed), human_count(load.pairs)});
  }
  output.line(table.text());
  output.line(
      fmt::format("{}\nimbalance {:.3f}", moved_bytes(predicted.bytes_by_level), predicted.imbalance));
  output.line(memory_summary(predicted, plan));
  for (const std::string& line : lines_of(read)) output.line(wrapped(line, 4));
  output.line(excluded_sentence());
}

void write_document(JsonWriter& json, const Simulation& simulation, std::int32_t layers,
                    const ReadAsProfile& read) {
  json.open_object(JsonLayout::lines);
  json.key("read_as");
  json.open_object(JsonLayout::lines);
  json.key("profile");
  write_read_as(json, read);
  json.close();
  json.key("predicted");
  write_prediction(json, simulation.prediction, JsonLayout::compact);
  json.member("layers", layers);
  json.member("measured_profile", simulation.measured);
  json.member("extrapolated_share", simulation.extrapolated_share);
  json.member("instructions", simulation.instructions);
  json.key("ranks");
  json.open_array(JsonLayout::lines);
  for (std::size_t rank = 0; rank < simulation.ranks.size(); ++rank) {
    const RankLoad& load = simulation.ranks[rank];
    json.open_object(JsonLayout::compact);
    json.member("rank", static_cast<std::int64_t>(rank));
    json.member("end_ns", load.end.ns);
    json.member("busy_ns", load.busy.ns);
    json.member("exposed_ns", load.exposed.ns);
    json.member("pairs", load.pairs);
    json.close();
  }
  json.close();
  json.close();
}

}  // namespace

Command simulate_command() {
  auto options = std::make_shared<SimulateOptions>();
  Command command;
  command.name = "simulate";
  command.summary = "Predicted timeline: load per rank, exposed communication, memory";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    declared.add("--profile FILE", options->audit.profile,
                 "Cost profile; without it the one the plan carries");
    declared.add("--layers N", options->layers, "Layers to simulate; 0: as the model says");
    declared.flag("--any-device", options->any_device, "Admit a profile that is not for these devices");
    declared.flag("--strict", options->strict, "Refuse over 1 % of work outside the profile's tables");
    declared.flag("--attention-only", options->attention_only, "Leave the linear layers out");
    options->audit.declare_no_candidates(declared);
    declared.add("--timeline FILE", options->timeline, "Write the timeline to this file");
    declared.add("--trace FILE", options->trace, "Write a Chrome/Perfetto trace to this file");
  };
  command.run = [options](Output& output) {
    if (options->layers < 0 || options->layers > kMostLayers) {
      throw InputError("--layers", std::to_string(options->layers), fmt::format("0 to {}", kMostLayers));
    }
    expect_writable({options->timeline, options->trace}, {options->plan, options->audit.profile});
    options->audit.keep_programs = true;
    AuditedPlan audited = audit_file(options->plan, options->audit, false, output);
    if (!report_violations(audited, output)) {
      output.document([&](JsonWriter& json) { write_verdict(json, audited); });
      return 1;
    }
    // What the audit has proved.
    const LoadedPlan loaded{std::move(audited.plan), std::move(audited.audit.programs)};
    const CostProfile profile = profile_of(loaded.plan, options->audit.profile, options->any_device);
    SimulatorOptions settings;
    const std::int32_t layers =
        options->layers > 0 ? static_cast<std::int32_t>(options->layers) : loaded.plan.model.layers;
    settings.layers = layers;
    settings.include_linear = !options->attention_only;
    settings.recompute = loaded.plan.options.recompute;
    Simulation simulation =
        simulate_step(loaded.programs, loaded.plan.topology, loaded.plan.model, profile, settings);
    set_memory(predict_memory(loaded.programs, loaded.plan.model, loaded.plan.options, loaded.plan.topology),
               simulation.prediction);
    const ReadAsProfile read =
        read_as_profile(profile, loaded.plan.topology, loaded.plan.model, simulation.extrapolated_share);
    if (options->strict) {
      expect_for_devices(read);
      expect_inside_tables(read);
    }
    simulation.timeline.plan_digest = plan_digest(loaded.plan);
    if (!options->timeline.empty()) write_timeline(simulation.timeline, options->timeline);
    if (!options->trace.empty()) write_chrome_trace(simulation.timeline, loaded.programs, options->trace);
    print(output, simulation, loaded.plan, layers, profile, read);
    report_open_claims(audited, output);
    output.document([&](JsonWriter& json) { write_document(json, simulation, layers, read); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
