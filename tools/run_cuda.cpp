// SPDX-License-Identifier: Apache-2.0
#include "tools/run_cuda.hpp"

#include <fmt/format.h>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"
#include "executor/device/cuda_accelerator.hpp"
#include "executor/device/device_executor.hpp"
#include "executor/device_error.hpp"
#include "executor/kernel_arguments.hpp"
#include "tools/error_report.hpp"

namespace strata::tools {

namespace {

constexpr std::int64_t kDefaultDeadlineS = 60;

}  // namespace

DeviceOptions device_options(const RunOptions& options, const CpuOptions& cpu) {
  DeviceOptions device;
  device.layers = cpu.layers;
  device.repeats = cpu.repeats;
  device.seed = cpu.seed;
  device.record_timeline = cpu.record_timeline;
  device.keep_results = cpu.keep_results;
  device.poison = cpu.poison;
  device.serial = options.serial;
  device.plain_attention = options.kernels == "plain";
  device.deadline = Duration{options.deadline_s.value_or(kDefaultDeadlineS) * 1'000'000'000};
  device.threads = cpu.threads;
  return device;
}

std::string attention_name(const DeviceOptions& options, const ModelShape& model, Accelerator& gpu) {
  const bool plain = options.plain_attention ||
                     gpu.prepare_attention(kernels::WorkKind::forward, kernel_shape(model), 0) == 0;
  return plain ? "plain fp32 attention" : "tensor-core attention";
}

CudaOutcome run_with_cuda(const RunOptions& options, const Output& output) {
  expect_built_with("cuda");
  CudaOutcome outcome;
  outcome.setup = set_up_run(options, output);
  const Plan& plan = outcome.setup.loaded.plan;
  const DeviceOptions device = device_options(options, outcome.setup.cpu);
  try {
    const std::unique_ptr<Accelerator> gpu = open_gpu(static_cast<std::int32_t>(options.device.value_or(0)));
    output.line(fmt::format(
        "{}: {} on {}, {}, {}{}", plan.strategy, counted(plan.topology.rank_count(), "rank"),
        gpu->description(), attention_name(device, plan.model, *gpu),
        counted(outcome.setup.cpu.layers, "layer"), device.serial ? ", one instruction at a time" : ""));
    outcome.result = run_on_device(outcome.setup.execution, device, *gpu);
  } catch (const DeviceError&) {
    exit_for_device();
  }
  return outcome;
}

}  // namespace strata::tools
