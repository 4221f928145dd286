// SPDX-License-Identifier: Apache-2.0
// strata plan: batch + topology + model -> plan.json and the ranked candidates.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "core/base/check.hpp"
#include "core/json/json_writer.hpp"
#include "core/plan/plan_json.hpp"
#include "planner/search/waves.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tools/batch_inputs.hpp"
#include "tools/inputs.hpp"
#include "tools/plan_report.hpp"
#include "tools/read_as_profile.hpp"

namespace strata::tools {

namespace {

struct PlanCommandOptions {
  PlanInputs inputs;
  BatchInputs batches;
  std::string batch, output;
  bool prune = false;
};

constexpr std::int64_t kPermille = 1000;

/// Of a thousand, how much of a candidate is behind it when a stage begins: waves are placed, verified and
/// lowered one after another, and the second half is the simulation.
std::int64_t permille_of_candidate(const StageBegins& begins) {
  constexpr std::int64_t kWaveStages = 3;
  if (begins.stage == PlanStage::simulate) return kPermille / 2;
  const std::int64_t stage = begins.stage == PlanStage::search   ? 0
                             : begins.stage == PlanStage::verify ? 1
                                                                 : 2;
  const auto done = static_cast<std::int64_t>(begins.wave) * kWaveStages + stage;
  return done * kPermille / 2 / (static_cast<std::int64_t>(begins.waves) * kWaveStages);
}

std::string_view doing(PlanStage stage) {
  switch (stage) {
    case PlanStage::search:
      return "placing";
    case PlanStage::verify:
      return "verifying";
    case PlanStage::lower:
      return "lowering";
    case PlanStage::simulate:
      return "simulating";
  }
  STRATA_CHECK(false, "stage {} has no name", static_cast<int>(stage));
}

/// A strategy takes milliseconds, or minutes for a thousand ranks.
PlanResult plan_with_progress(const PlanRequest& request, const Output& output) {
  const auto candidates = std::ssize(strategies_named(request.options.strategies));
  const std::int64_t total = kPermille * (candidates + 1);
  Progress progress(output, "planning", total);
  PlanResult result = plan_batch(request, [&](const PlanProgress& at) {
    progress.reach(kPermille * static_cast<std::int64_t>(at.candidate) + permille_of_candidate(at.stage),
                   fmt::format("planning, {} {}", doing(at.stage.stage), at.strategy));
  });
  progress.reach(total);
  return result;
}

}  // namespace

Command plan_command() {
  auto options = std::make_shared<PlanCommandOptions>();
  Command command;
  command.name = "plan";
  command.summary = "Find a layout for a batch on a cluster and write it to a plan file";
  command.declare = [options](Options& declared) {
    declared.required("-o,--output FILE", options->output, "Plan file to write");
    declared.required("--batch FILE:LINE", options->batch,
                      "Recorded batches or lengths, read from the line on");
    declared.flag("--prune", options->prune, "Stop simulating what is slower than the best so far");
    options->batches.declare(declared);
    options->inputs.declare(declared);
  };
  command.run = [options](Output& output) {
    const PlanInputs& inputs = options->inputs;
    const ModelReading model = inputs.read_model();
    PlanRequest request = inputs.request(output, model);
    request.prune = options->prune;
    if (request.prune && inputs.strict) {
      throw InputError("--prune", "--strict",
                       "one of the two: --strict judges every candidate, --prune leaves some unknown");
    }
    expect_writable({options->output}, {file_of_reference(options->batch), inputs.topology,
                                        model_file(inputs.model), inputs.profile});
    LoadedBatches loaded = options->batches.load(options->batch, "--batch");
    if (loaded.steps.size() > 1) {
      loaded.read_as.notes.push_back(
          fmt::format("step {}, the first of {}, is planned (FILE:LINE begins at a line)",
                      loaded.steps.front().step, loaded.steps.size()));
    }
    request.batch = masked_batch(loaded.steps.front(), request.model, options->batch);
    const auto profile = [&](std::optional<double> share) {
      return read_as_profile(request.profile, request.topology, request.model, share);
    };
    if (inputs.strict) expect_for_devices(profile(std::nullopt));
    const PlanResult result = plan_with_progress(request, output);
    if (inputs.strict) {
      // A candidate may have lost by a guess, so that all are judged.
      expect_inside_tables(profile(result.largest_extrapolated_share), result.most_extrapolated_strategy);
    }
    const ReadAs read_as{
        loaded.read_as, model,
        profile(result.plan ? std::optional(result.plan->predicted.extrapolated_share) : std::nullopt)};
    if (!result.plan) {
      for (const std::string& line : lines_of(read_as)) output.line(line);
      output.document([&](JsonWriter& json) { write_no_plan(json, result, read_as); });
      throw_no_plan(result, loaded.step_notes);
    }
    const Plan& plan = *result.plan;
    write_plan(plan, options->output);
    for (const std::string& line : lines_of(read_as)) output.line(line);
    for (const std::string& line : plan_summary(plan)) output.line(line);
    output.line(fmt::format("wrote {}", options->output));
    output.document([&](JsonWriter& json) { write_plan_summary(json, plan, options->output, &read_as); });
    return 0;
  };
  return command;
}

}  // namespace strata::tools
