// SPDX-License-Identifier: Apache-2.0
// strata calibrate: measures this machine and writes a cost profile with its held-out error, or, on executors
// of GPUs and processes, raw samples.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <thread>

#include "core/base/atomic_file.hpp"
#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/base/version.hpp"
#include "core/json/json_writer.hpp"
#include "core/problem/model_json.hpp"
#include "kernels/cpu_features.hpp"
#include "tools/calibration/calibrate.hpp"
#include "tools/calibration/calibrate_samples.hpp"
#include "tools/command.hpp"

namespace strata::tools {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    const auto colon = line.find(':');
    if (colon != std::string::npos && colon + 2 < line.size()) return line.substr(colon + 2);
  }
  return "unknown processor";
}

std::string today() { return fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::chrono::system_clock::now())); }

namespace {

struct CalibrateOptions {
  std::string output, model;
  bool quick = false, thorough = false;
  RunOptions run;  ///< executor, threads, device, rendezvous
};

/// Of the last minute, per hardware thread; none where the system does not say.
std::optional<double> machine_load() {
  double load = 0;
  if (!(std::ifstream("/proc/loadavg") >> load)) return std::nullopt;
  return load / std::max(1U, std::thread::hardware_concurrency());
}

std::string quality_line(const CostProfile& profile) {
  const ProfileQuality& quality = *profile.provenance.quality;
  const std::string error = quality.held_out_p95 ? "held-out p95 error " + percent(*quality.held_out_p95)
                                                 : "no attention instruction was held out";
  const std::string load = quality.load ? fmt::format("a load of {:.2f} a hardware thread", *quality.load)
                                        : "a load that the system does not say";
  return fmt::format("{} at {} before: {}", error, load, provenance_label(profile));
}

void stamp(const CalibrationRequest& request, CostProfile& profile) {
  profile.name = "cpu-measured";
  ProfileProvenance& provenance = profile.provenance;
  provenance = {};
  provenance.device = processor_name();
  provenance.date = today();
  provenance.tool_version = kVersion;
  provenance.instruction_set = kernels::instruction_set();
  provenance.threads = request.threads;
  provenance.notes = fmt::format("attention with {} per KV head; rows and exchanges fitted in the step",
                                 counted(request.model.group_size(), "query head"));
}

void write_document(JsonWriter& json, const std::string& path, const std::vector<FitReport>& fits,
                    std::int32_t threads) {
  json.open_object(JsonLayout::lines);
  json.member("profile", std::string_view(path));
  json.key("fits");
  json.open_array(JsonLayout::lines);
  for (const FitReport& fit : fits) {
    json.open_object(JsonLayout::compact);
    json.member("operation", std::string_view(fit.operation));
    json.member("placement", std::string_view(fmt::format("{} on {}", counted(std::max(2, threads), "rank"),
                                                          counted(threads, "core"))));
    json.key("held_out");
    json.open_object(JsonLayout::compact);
    json.member("count", fit.held_out.count);
    json.member("mape", fit.held_out.mean);
    json.member("median", fit.held_out.median);
    json.member("p95", fit.held_out.p95);
    json.member("max", fit.held_out.max);
    json.member("bias", fit.held_out.bias);
    json.close();
    json.close();
  }
  json.close();
  json.key("rejected");
  json.open_array(JsonLayout::compact);
  json.close();
  json.close();
}

void check_options(const CalibrateOptions& options) {
  check_run_options(options.run);
  if (options.quick && options.run.executor == "cpu") {
    throw InputError("--quick", "--executor cpu", "--executor cuda, mpi or nccl");
  }
  if (options.quick && options.thorough) throw InputError("--quick", "--thorough too", "one of them");
}

int calibrate_cpu(const CalibrateOptions& options, Output& output) {
  expect_writable({options.output}, {options.model});
  CalibrationRequest request;
  request.model = load_model(options.model.empty() ? "tiny" : options.model);
  request.threads = options.run.threads > 0
                        ? static_cast<std::int32_t>(options.run.threads)
                        : static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  request.thorough = options.thorough;
  request.seed = output.seed;
  CostProfile profile = default_profile("cpu");  // start of the fit for everything that is not a table
  profile.attention.clear();
  stamp(request, profile);
  const std::optional<double> load = machine_load();
  measure_attention(request, profile, output);
  const std::vector<FitReport> fits = fit_in_step(request, profile, output);
  ProfileProvenance& provenance = profile.provenance;
  provenance.measured = true;
  provenance.quality = quality_of(fits, load);
  for (const FitReport& fit : fits) {
    if (fit.operation == "Attention" && fit.held_out.count > 0) {
      provenance.held_out_error = fit.held_out.median;
    }
  }
  validate(profile, "the measured profile");
  write_file_atomically(options.output, [&](std::ostream& file) { file << profile_text(profile); });
  output.line(fmt::format("{}, {}, {}, {}", profile.provenance.device, profile.provenance.instruction_set,
                          counted(request.threads, "thread"),
                          counted(profile.provenance.samples, "attention sample")));
  Table table({"operation", "held-out instructions", "median error", "p95", "bias"});
  for (const FitReport& fit : fits) {
    table.add({fit.operation, human_count(fit.held_out.count), percent(fit.held_out.median),
               percent(fit.held_out.p95), percent(fit.held_out.bias)});
  }
  output.line(table.text());
  output.line(quality_line(profile));
  output.line(fmt::format("wrote {}", options.output));
  output.document([&](JsonWriter& json) { write_document(json, options.output, fits, request.threads); });
  return 0;
}

int calibrate(const CalibrateOptions& options, Output& output) {
  check_options(options);
  const std::string& executor = options.run.executor;
  if (executor == "cpu") return calibrate_cpu(options, output);
  SamplesOptions samples;
  samples.output = options.output;
  samples.model = !options.model.empty() ? options.model : executor == "mpi" ? "tiny" : "llama3_8b";
  samples.fineness = options.quick      ? Fineness::quick
                     : options.thorough ? Fineness::thorough
                                        : Fineness::normal;
  samples.run = options.run;
  return calibrate_samples(samples, output);
}

}  // namespace

Command calibrate_command() {
  auto options = std::make_shared<CalibrateOptions>();
  Command command;
  command.name = "calibrate";
  command.summary = "Measure this machine: a cost profile, or samples of GPUs and links";
  command.declare = [options](Options& declared) {
    declared.required("-o,--output FILE", options->output,
                      "File to write: cpu a cost profile, others raw samples");
    declared.add("--executor NAME", options->run.executor,
                 "cpu: this process; cuda: one GPU; mpi, nccl: processes, as in run");
    declared.add("--model MODEL", options->model,
                 "Model to measure heads and types of; default: tiny, GPUs llama3_8b");
    declared.add("--threads N", options->run.threads, "Cores to measure with; 0: one per hardware thread");
    declared.add("--device N", options->run.device, "cuda, nccl: number of the GPU");
    declared.add("--rendezvous DIR", options->run.rendezvous,
                 "nccl without MPI: a folder that all processes see");
    declared.flag("--quick", options->quick, "Not with cpu: a few small sizes, in seconds");
    declared.flag("--thorough", options->thorough,
                  "Finer grid, more batches or models (minutes instead of seconds)");
  };
  command.run = [options](Output& output) { return calibrate(*options, output); };
  return command;
}

}  // namespace strata::tools
