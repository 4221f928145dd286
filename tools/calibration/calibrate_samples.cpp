// SPDX-License-Identifier: Apache-2.0
#include "tools/calibration/calibrate_samples.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "core/base/atomic_file.hpp"
#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "core/base/human_units.hpp"
#include "core/json/json_writer.hpp"
#include "core/problem/model_json.hpp"
#include "executor/device/cuda_accelerator.hpp"
#include "executor/device_error.hpp"
#include "kernels/cpu_features.hpp"
#include "tools/calibration/calibrate.hpp"
#include "tools/error_report.hpp"
#include "tools/job/process_job.hpp"

namespace strata::tools {

namespace {

SamplesRequest request_of(const SamplesOptions& options, const Output& output) {
  SamplesRequest request;
  request.model = load_model(options.model);
  request.fineness = options.fineness;
  request.threads = static_cast<std::int32_t>(options.run.threads);
  request.seed = output.seed;
  return request;
}

void report(const SamplesOptions& options, SamplesFile file, Output& output) {
  file.date = today();
  const std::string text = samples_text(file);
  write_file_atomically(options.output, [&](std::ostream& stream) { stream << text; });
  output.line(samples_table(file));
  output.line(fmt::format("wrote {}", options.output));
  std::int64_t samples = 0;
  for (const MeasuredModel& model : file.models) samples += std::ssize(model.samples);
  output.document([&](JsonWriter& json) {
    json.open_object(JsonLayout::lines);
    json.member("samples_file", std::string_view(options.output));
    json.member("executor", std::string_view(file.executor));
    json.member("device", std::string_view(file.device));
    json.member("models", std::ssize(file.models));
    json.member("samples", samples);
    json.close();
  });
}

int calibrate_cuda(const SamplesOptions& options, Output& output) {
  expect_built_with("cuda");
  expect_writable({options.output}, {options.model});
  const SamplesRequest request = request_of(options, output);
  SamplesFile file;
  try {
    file = measure_on_device(
        request, [&] { return open_gpu(static_cast<std::int32_t>(options.run.device.value_or(0))); }, output);
  } catch (const DeviceError&) {
    exit_for_device();
  }
  output.line(fmt::format("{}, one instruction at a time", file.device));
  report(options, std::move(file), output);
  return 0;
}

/// What is the same for every model shape of one job.
class JobCalibration {
 public:
  JobCalibration(const SamplesOptions& options, ProcessJob& job, const Output& output)
      : options_(options), job_(job), output_(output), pace_(pacing(options.fineness)) {
    file_.places = RankPlaces::on_hosts(machine_names(job.control()));
    file_.executor = options.run.executor;
    file_.instruction_set = kernels::instruction_set();
    file_.repeats = pace_.repeats;
    file_.layers = pace_.layers;
  }

  void run() {
    job_.open();
    file_.device = on_gpus() ? job_.device() : processor_name();
    for (std::size_t number = 0; number == 0 || number < models_.size(); ++number) measure(number);
  }
  SamplesFile take() { return std::move(file_); }

 private:
  bool on_gpus() const { return file_.executor == "nccl"; }

  RunSetup set_up(std::size_t number, CalibrationPart& part) {
    if (number == 0) {
      if (job_.reports()) expect_writable({options_.output}, {options_.model});
      request_ = request_of(options_, output_);
      models_ = calibrated_models(request_.model, request_.fineness);
    }
    const bool first = number == 0;
    const ModelShape& model = models_[number];
    const Fineness fineness = grid_fineness(request_.fineness, first);
    // The same on all processes, whatever their GPUs have; arenas stay until the job closes its GPUs.
    const Bytes memory{std::int64_t{first ? 20 : 4} << 30};
    const CalibrationGrid grid =
        on_gpus() ? gpu_grid(fineness, model, memory, job_.attention_kernel(model)) : cpu_grid(fineness);
    part = first ? whole_part(model, file_.places, grid) : attention_part(model, file_.places, grid);
    RunSetup setup;
    setup.execution = std::move(part.execution);
    setup.cpu.layers = pace_.layers;
    setup.cpu.repeats = pace_.repeats;
    setup.cpu.threads = request_.threads;
    setup.cpu.seed = request_.seed;
    setup.cpu.keep_results = false;
    return setup;
  }

  void measure(std::size_t number) {
    CalibrationPart part;
    const RunSetup setup = load_in_job(job_, "calibrate", [&] { return set_up(number, part); });
    if (number == 0 && job_.reports()) {
      output_.line(fmt::format("{} in as many processes, {}, {}", counted(file_.places.count(), "rank"),
                               file_.device, file_.instruction_set));
    }
    const ProcessRun run = job_.execute(setup);
    if (!job_.reports()) return;
    file_.threads = run.threads;
    file_.clock_error_ns = std::max(file_.clock_error_ns, run.result.timeline.clock_error_ns);
    file_.models.push_back(
        {models_[number], job_.attention_kernel(models_[number]), read_samples(part, run.result.timeline)});
  }

  const SamplesOptions& options_;
  ProcessJob& job_;
  const Output& output_;
  const Pacing pace_;
  SamplesRequest request_;
  std::vector<ModelShape> models_;
  SamplesFile file_;
};

int calibrate_in_job(const SamplesOptions& options, Output& output) {
  constexpr std::int32_t kFewest = 2;  // processes that show an exchange
  const std::unique_ptr<ProcessJob> job = join_job(
      options.run, {fmt::format("calibrate -o {} --executor {}", options.output, options.run.executor),
                    [] { return kFewest; }});
  SamplesFile file;
  const int code = in_job(*job, [&] {
    JobCalibration calibration(options, *job, output);
    calibration.run();
    file = calibration.take();
  });
  if (code != 0 || !job->reports()) return code;
  output.line(fmt::format("{} per process; clocks agree within {}", counted(file.threads, "thread"),
                          human(Duration{file.clock_error_ns})));
  report(options, std::move(file), output);
  return 0;
}

}  // namespace

int calibrate_samples(const SamplesOptions& options, Output& output) {
  return options.run.executor == "cuda" ? calibrate_cuda(options, output) : calibrate_in_job(options, output);
}

}  // namespace strata::tools
