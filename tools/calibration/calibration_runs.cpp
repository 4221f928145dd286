// SPDX-License-Identifier: Apache-2.0
#include "tools/calibration/calibration_runs.hpp"

#include <algorithm>
#include <thread>

#include "core/base/check.hpp"
#include "executor/device/device_executor.hpp"
#include "executor/kernel_arguments.hpp"
#include "kernels/cpu_features.hpp"

namespace strata::tools {

Pacing pacing(Fineness fineness) {
  switch (fineness) {
    case Fineness::quick:
      return {2, 3};
    case Fineness::normal:
      return {2, 6};
    case Fineness::thorough:
      return {3, 8};
  }
  STRATA_CHECK(false, "fineness {}", static_cast<int>(fineness));
}

std::string attention_kernel(const ModelShape& model, Accelerator& device) {
  const bool plain = device.prepare_attention(kernels::WorkKind::forward, kernel_shape(model), 0) == 0;
  return plain ? "plain" : "tensor_core";
}

SamplesFile measure_on_device(const SamplesRequest& request,
                              const std::function<std::unique_ptr<Accelerator>()>& open,
                              const Output& output) {
  constexpr std::int64_t kDeadlineNs = 60'000'000'000;
  const Pacing pace = pacing(request.fineness);
  SamplesFile file;
  file.executor = "cuda";
  file.instruction_set = kernels::instruction_set();
  file.places = RankPlaces::on_one_device(kRanksOfOneDevice);
  file.threads = request.threads > 0
                     ? request.threads
                     : static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  file.repeats = pace.repeats;
  file.layers = pace.layers;
  const std::vector<ModelShape> models = calibrated_models(request.model, request.fineness);
  Progress progress(output, "calibrating", std::ssize(models));
  for (const ModelShape& model : models) {
    const std::unique_ptr<Accelerator> device = open();
    file.device = device->description();
    MeasuredModel& measured = file.models.emplace_back();
    measured.model = model;
    measured.kernel = attention_kernel(model, *device);
    const bool first = file.models.size() == 1;
    const CalibrationGrid grid =
        gpu_grid(grid_fineness(request.fineness, first), model, {device->free_bytes()}, measured.kernel);
    const CalibrationPart part =
        first ? whole_part(model, file.places, grid) : attention_part(model, file.places, grid);
    DeviceOptions options;
    options.layers = pace.layers;
    options.repeats = pace.repeats;
    options.seed = request.seed;
    options.keep_results = false;
    options.serial = true;
    options.deadline = {kDeadlineNs};
    options.threads = request.threads;
    measured.samples = read_samples(part, run_on_device(part.execution, options, *device).timeline);
    progress.advance();
  }
  return file;
}

}  // namespace strata::tools
