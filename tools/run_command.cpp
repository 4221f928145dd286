// SPDX-License-Identifier: Apache-2.0
// strata run: executes exactly what the plan file says, checks the result against float64, records a
// timeline.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/json/json_writer.hpp"
#include "core/program/timeline_json.hpp"
#include "executor/check.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "kernels/cpu_features.hpp"
#include "tools/command.hpp"
#include "tools/error_report.hpp"
#include "tools/job/process_job.hpp"
#include "tools/plan_report.hpp"
#include "tools/run_cuda.hpp"
#include "tools/run_setup.hpp"
#include "traces/timelines/chrome_trace.hpp"

namespace strata::tools {

namespace {

constexpr std::int64_t kPercent = 100;

/// Shows how far something is; owned by the function that is told.
std::function<void(double)> shown_progress(const Output& output, const std::string& what) {
  const auto progress = std::make_shared<Progress>(output, what, kPercent);
  return [progress](double share) { progress->reach(std::llround(share * static_cast<double>(kPercent))); };
}

std::optional<CheckReport> check(const RunOptions& options, const Execution& execution,
                                 const RunResult& result, const CpuOptions& cpu, const Output& output) {
  if (options.check == "none") return std::nullopt;
  CheckOptions settings;
  settings.mode = options.check == "full" ? CheckMode::full : CheckMode::sampled;
  settings.threads = cpu.threads;
  settings.seed = cpu.seed;
  settings.progress = shown_progress(output, "checking");
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
    json.member("mode", to_string(report->mode));
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

/// Writes what was asked for. The error of a file that could not be written, to be told when everything else
/// has been: the check of a run is not lost with a full disk, nor the files with a check that takes hours.
std::exception_ptr write_files(const RunOptions& options, const RunSetup& setup, const RunResult& result) {
  std::exception_ptr error;
  const auto attempt = [&](const std::string& path, const auto& write) {
    if (path.empty()) return;
    try {
      write(path);
    } catch (const InputError&) {
      if (!error) error = std::current_exception();
    }
  };
  attempt(options.timeline, [&](const std::string& path) { write_timeline(result.timeline, path); });
  attempt(options.trace,
          [&](const std::string& path) { write_chrome_trace(result.timeline, setup.loaded.programs, path); });
  return error;
}

/// Says when the system gave fewer threads than the run was to have.
void report_threads(std::int32_t asked, std::int32_t got, const Output& output) {
  const auto hardware = static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  const std::int32_t expected = asked > 0 ? asked : hardware;
  if (got >= expected) return;
  output.line(
      fmt::format("the system gave {} of {}: the run went on with fewer", got, counted(expected, "thread")));
}

/// What a run has done, checked, printed and written. Returns the exit code.
int report(const RunOptions& options, const RunSetup& setup, const RunResult& result, Output& output) {
  const Plan& plan = setup.loaded.plan;
  STRATA_CHECK(result.sent == setup.bytes.total(), "{} bytes were sent, the programs say {}",
               result.sent.count, setup.bytes.total().count);
  const Bytes arena = *std::max_element(result.arena.begin(), result.arena.end());
  STRATA_CHECK(arena == plan.predicted.arena, "the largest arena takes {} bytes, the plan says {}",
               arena.count, plan.predicted.arena.count);
  for (std::size_t r = 0; r < result.wall.size(); ++r) {
    output.line(fmt::format("repeat {}: {}", r, human(result.wall[r])));
  }
  output.line(fmt::format("{}\nlargest arena {}; {}", moved_bytes(setup.bytes), human(arena),
                          plan.options.recompute == Recompute::full
                              ? "as predicted, but the plan also counts the bytes that a full recomputation\n"
                                "  sends again: executors recompute nothing"
                              : "bytes and arena are as predicted"));
  const std::exception_ptr unwritten = write_files(options, setup, result);
  const std::optional<CheckReport> checked = check(options, setup.execution, result, setup.cpu, output);
  if (checked) {
    output.line(checked->to_text());
    output.result(checked->verdict());
  }
  output.document(
      [&](JsonWriter& json) { write_document(json, options.plan, result, checked, setup.bytes); });
  const bool failed = checked && !checked->passed();
  if (!unwritten) return failed ? 1 : 0;
  std::cout.flush();
  if (!failed) std::rethrow_exception(unwritten);
  try {
    std::rethrow_exception(unwritten);
  } catch (...) {
    report_current_exception();
  }
  return 1;  // a wrong result is worse than a missing file
}

int run_cpu(const RunOptions& options, Output& output) {
  expect_writable({options.timeline, options.trace}, {options.plan});
  const RunSetup setup = set_up_run(options, output);
  CpuOptions cpu = setup.cpu;
  cpu.progress = shown_progress(output, "running");
  const RunResult result = run_on_cpu(setup.execution, cpu);
  cpu.progress = {};
  const Plan& plan = setup.loaded.plan;
  output.line(fmt::format("{}: {} in this process, {}, {}, {}", plan.strategy,
                          counted(plan.topology.rank_count(), "rank"),
                          counted(result.timeline.cores_per_device, "thread"), kernels::instruction_set(),
                          counted(setup.cpu.layers, "layer")));
  report_threads(setup.cpu.threads, result.timeline.cores_per_device, output);
  return report(options, setup, result, output);
}

/// One of several processes: process 0 prints and writes what all of them have done.
int run_in_job(const RunOptions& options, Output& output) {
  const auto set_up = [&] { return set_up_run(options, output); };
  const std::unique_ptr<ProcessJob> job =
      join_job(options, {fmt::format("run {} --executor {}", options.plan, options.executor),
                         [&] { return set_up().loaded.plan.topology.rank_count(); }});
  RunSetup setup;
  ProcessRun run;
  const int code = in_job(*job, [&] {
    setup = load_in_job(*job, options.plan, [&] {
      if (job->reports()) {
        expect_writable({options.timeline, options.trace}, {options.plan});
      }
      return set_up();
    });
    if (job->reports()) {
      output.line(fmt::format("{}: {} in {}, {}, {}", setup.loaded.plan.strategy,
                              counted(setup.loaded.plan.topology.rank_count(), "rank"),
                              counted(job->control().processes(), "process", "processes"), job->device(),
                              counted(setup.cpu.layers, "layer")));
      std::cout.flush();
    }
    if (job->reports()) setup.cpu.progress = shown_progress(output, "running");
    run = job->execute(setup);
    setup.cpu.progress = {};
  });
  if (code != 0 || !job->reports()) return code;
  const Timeline& timeline = run.result.timeline;
  const std::string each = options.executor == "nccl" ? "1 GPU" : counted(run.threads, "thread");
  output.line(fmt::format("{} per process on {}; clocks agree within {}", each,
                          counted(run.machines, "machine"), human(Duration{timeline.clock_error_ns})));
  return report(options, setup, run.result, output);
}

int run_cuda(const RunOptions& options, Output& output) {
  expect_writable({options.timeline, options.trace}, {options.plan});
  const CudaOutcome outcome = run_with_cuda(options, output);
  return report(options, outcome.setup, outcome.result, output);
}

int run(const RunOptions& options, Output& output) {
  check_run_options(options);
  if (options.executor == "cpu") return run_cpu(options, output);
  return options.executor == "cuda" ? run_cuda(options, output) : run_in_job(options, output);
}

}  // namespace

Command run_command() {
  auto options = std::make_shared<RunOptions>();
  Command command;
  command.name = "run";
  command.summary = "Execute a plan, check it against float64, record the timeline";
  command.declare = [options](Options& declared) {
    declared.required("PLAN", options->plan, "Plan file");
    declared.add("--executor NAME", options->executor,
                 "cpu; cuda: all on one GPU; mpi: processes; nccl: a GPU in each");
    declared.choice("--check MODE", options->check, {"none", "sampled", "full"}, "sampled",
                    "none, sampled or full: compare with float64; no MODE: sampled");
    declared.add("--layers N", options->layers, "Layers to run; 0: as the model says");
    declared.add("--repeat N", options->repeats, "Times to run the step");
    declared.add("--threads N", options->threads, "Worker threads; 0: one per hardware thread");
    declared.add("-o,--timeline FILE", options->timeline, "Write the measured timeline to this file");
    declared.add("--trace FILE", options->trace, "Write a Chrome/Perfetto trace to this file");
    declared.add("--deadline-s N", options->deadline_s,
                 "Seconds for a repeat (cpu [any]), a pass (GPUs [60]), a wait (mpi [60])");
    declared.add("--device N", options->device, "cuda, nccl: number of the GPU");
    declared.add("--kernels NAME", options->kernels, "cuda, nccl: auto, or plain for plain fp32 attention");
    declared.add("--spare-sms N", options->spare_sms,
                 "nccl: multiprocessors that attention leaves to communication [8]");
    declared.add("--rendezvous DIR", options->rendezvous,
                 "nccl without MPI: a folder that all processes see");
    declared.flag("--serial", options->serial,
                  "cuda: one instruction at a time, to time each one alone on the GPU");
    declared.flag("--poison", options->poison, "Fill buffers with NaN first, so that any stray read shows");
  };
  command.run = [options](Output& output) { return run(*options, output); };
  return command;
}

}  // namespace strata::tools
