// SPDX-License-Identifier: Apache-2.0
// strata run: executes exactly what the plan file says, checks the result against float64, records a
// timeline.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "core/check.hpp"
#include "core/json_writer.hpp"
#include "core/plan_json.hpp"
#include "core/timeline_json.hpp"
#include "executor/check.hpp"
#include "executor/cpu_executor.hpp"
#include "kernels/cpu_features.hpp"
#include "planner/human_units.hpp"
#include "tools/command.hpp"
#include "tools/plan_programs.hpp"
#include "tools/plan_report.hpp"
#include "traces/chrome_trace.hpp"

namespace strata::tools {

namespace {

struct RunOptions {
  std::string plan, executor = "cpu", check = "none", timeline, trace;
  std::int64_t layers = 0, repeats = 1, threads = 0, deadline_s = 0;
  bool poison = false;
};

/// Payload by the level of the plan's topology, all waves, both passes, `layers` layers.
LevelBytes bytes_by_level(const LoadedPlan& loaded, std::int32_t layers) {
  const RouteTable routes(loaded.plan.topology);
  LevelBytes bytes;
  for (const auto& wave : loaded.programs) {
    for (const RankProgram& program : wave) {
      for (const Pass pass : {Pass::forward, Pass::backward}) {
        for (const Instruction& instruction : program.instructions(pass)) {
          const Exchange* exchange = exchange_of(instruction.op);
          if (exchange == nullptr) continue;
          for (const ExchangePart& part : exchange->sends) {
            const LinkLevel level = routes.between(program.rank, part.peer).level;
            Bytes& sum = level == LinkLevel::device ? bytes.device
                         : level == LinkLevel::node ? bytes.node
                                                    : bytes.network;
            const Buffer& buffer = program.buffers[static_cast<std::size_t>(part.buffer)];
            sum += Bytes{part.row_count * buffer.row_bytes()} * layers;
          }
        }
      }
    }
  }
  return bytes;
}

CpuOptions cpu_options(const RunOptions& options, const ModelShape& model, std::uint64_t seed) {
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t least) {
    if (value < least || value > 1'000'000) {
      throw InputError(name, std::to_string(value), fmt::format("{} to 1000000", least));
    }
    return static_cast<std::int32_t>(value);
  };
  CpuOptions cpu;
  cpu.layers = options.layers == 0 ? model.layers : at_least("--layers", options.layers, 1);
  cpu.repeats = at_least("--repeat", options.repeats, 1);
  cpu.threads = at_least("--threads", options.threads, 0);
  cpu.deadline = Duration{std::int64_t{at_least("--deadline-s", options.deadline_s, 0)} * 1'000'000'000};
  cpu.seed = seed;
  cpu.poison = options.poison;
  cpu.keep_results = options.check != "none";
  return cpu;
}

std::optional<CheckReport> check(const RunOptions& options, const Execution& execution,
                                 const RunResult& result, const CpuOptions& cpu) {
  if (options.check == "none") return std::nullopt;
  CheckOptions settings;
  settings.mode = options.check == "full" ? CheckMode::full : CheckMode::sampled;
  settings.threads = cpu.threads;
  settings.seed = cpu.seed;
  return check_results(execution, result.results, settings);
}

void write_document(JsonWriter& json, const std::string& path, const RunResult& result,
                    const std::optional<CheckReport>& report, const LevelBytes& bytes) {
  json.open_object(JsonLayout::lines);
  json.member("plan", std::string_view(path));
  json.key("check");
  if (report) {
    json.open_object(JsonLayout::compact);
    json.member("passed", report->passed());
    json.member("max_relative_l2", report->max_relative_l2());
    json.member("mode", report->mode == CheckMode::full ? "full" : "sampled");
    json.close();
  } else {
    json.null();
  }
  json.key("wall_ns");
  json.open_array(JsonLayout::compact);
  for (const Duration wall : result.wall) json.value(wall.ns);
  json.close();
  json.key("bytes_by_level");
  json.open_object(JsonLayout::compact);
  json.member("device", bytes.device.count);
  json.member("node", bytes.node.count);
  json.member("network", bytes.network.count);
  json.close();
  json.member("sent_bytes", result.sent.count);
  json.key("arena_bytes");
  json.open_array(JsonLayout::compact);
  for (const Bytes arena : result.arena) json.value(arena.count);
  json.close();
  json.close();
}

int run(const RunOptions& options, Output& output) {
  if (options.executor != "cpu") {
    throw InputError("--executor", "'" + options.executor + "'", "cpu, the executor of this build");
  }
  if (options.check != "none" && options.check != "sampled" && options.check != "full") {
    throw InputError("--check", "'" + options.check + "'", "none, sampled or full");
  }
  for (const std::string& path : {options.timeline, options.trace}) expect_writable(path);
  LoadedPlan loaded = load_plan(options.plan);
  const CpuOptions cpu = cpu_options(options, loaded.plan.model, output.seed);
  const LevelBytes bytes = bytes_by_level(loaded, cpu.layers);
  Execution execution;
  execution.model = loaded.plan.model;
  execution.plan_digest = plan_digest(loaded.plan);
  for (std::size_t w = 0; w < loaded.programs.size(); ++w) {
    execution.waves.push_back({loaded.programs[w], loaded.plan.waves[w].placement});
  }
  const RunResult result = run_on_cpu(execution, cpu);
  STRATA_CHECK(result.sent == bytes.total(), "{} bytes were sent, the programs say {}", result.sent.count,
               bytes.total().count);
  const Bytes arena = *std::max_element(result.arena.begin(), result.arena.end());
  STRATA_CHECK(arena == loaded.plan.predicted.arena, "the largest arena takes {} bytes, the plan says {}",
               arena.count, loaded.plan.predicted.arena.count);
  output.line(fmt::format("{}: {} in this process, {}, {}, {}", loaded.plan.strategy,
                          counted(loaded.plan.topology.rank_count(), "rank"),
                          counted(result.timeline.cores_per_device, "thread"), kernels::instruction_set(),
                          counted(cpu.layers, "layer")));
  for (std::size_t r = 0; r < result.wall.size(); ++r) {
    output.line(fmt::format("repeat {}: {}", r, human(result.wall[r])));
  }
  output.line(fmt::format("{}\nlargest arena {}; bytes and arena are as predicted", moved_bytes(bytes),
                          human(arena)));
  if (!options.timeline.empty()) write_timeline(result.timeline, options.timeline);
  if (!options.trace.empty()) write_chrome_trace(result.timeline, loaded.programs, options.trace);
  const std::optional<CheckReport> report = check(options, execution, result, cpu);
  if (report) {
    output.line(report->to_text());
    output.result(report->passed() ? "check passed: the result is what one device computes"
                                   : "check FAILED: the result differs from the float64 reference");
  }
  output.document([&](JsonWriter& json) { write_document(json, options.plan, result, report, bytes); });
  return !report || report->passed() ? 0 : 1;
}

}  // namespace

Command run_command() {
  auto options = std::make_shared<RunOptions>();
  Command command;
  command.name = "run";
  command.summary = "Execute a plan, check it against float64, record the timeline";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    declared.add("--executor NAME", options->executor, "cpu: all ranks in this process");
    declared.add("--check MODE", options->check, "none, sampled or full: compare with the float64 reference");
    declared.add("--layers N", options->layers, "Layers to run; 0: as the model says");
    declared.add("--repeat N", options->repeats, "Times to run the step");
    declared.add("--threads N", options->threads, "Worker threads; 0: one per hardware thread");
    declared.add("-o,--timeline FILE", options->timeline, "Write the measured timeline to this file");
    declared.add("--trace FILE", options->trace, "Write a Chrome/Perfetto trace to this file");
    declared.add("--deadline-s N", options->deadline_s,
                 "Give up on a repeat after so many seconds; 0: never");
    declared.flag("--poison", options->poison, "Fill buffers with NaN first, so that any stray read shows");
  };
  command.run = [options](Output& output) { return run(*options, output); };
  return command;
}

}  // namespace strata::tools
