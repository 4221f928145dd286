// SPDX-License-Identifier: Apache-2.0
#include "tools/job/join_nccl.hpp"

#include <fmt/format.h>

#include "executor/device/cuda_accelerator.hpp"
#include "executor/device/device_executor.hpp"
#include "executor/device/network_probe.hpp"
#include "executor/device_error.hpp"
#include "executor/job/agreement.hpp"
#include "executor/job/file_control.hpp"
#include "executor/nccl/nccl_network.hpp"
#include "tools/calibration/calibration_runs.hpp"
#include "tools/job/join_mpi.hpp"
#include "tools/job/launch.hpp"
#include "tools/run_cuda.hpp"

namespace strata::tools {

namespace {

/// What NCCL's sends and receives take: a few channels for each peer that a rank exchanges with at a time,
/// one block each. Attention's own blocks stay until all its tiles are done, so these must not find every
/// multiprocessor taken.
constexpr std::int64_t kSpareMultiprocessors = 8;

/// A job of one process, which tells nobody anything.
class LoneControl : public Control {
 public:
  explicit LoneControl(Duration deadline) : Control(0, 1, deadline) {}
  void send(std::int32_t, std::span<const std::byte>, std::string_view what) override { nobody(what); }
  std::vector<std::byte> receive(std::int32_t, std::string_view what) override { nobody(what); }
  void finish() override {}

 protected:
  void end_job(int) override {}

 private:
  [[noreturn]] static void nobody(std::string_view what) {
    throw InternalError(fmt::format("{}: a message in a job of one process", what));
  }
};

class NcclProcessJob : public ProcessJob {
 public:
  NcclProcessJob(const RunOptions& options, std::int32_t local_process, std::unique_ptr<Control> control)
      : options_(options), local_process_(local_process), control_(std::move(control)) {}

  Control& control() override { return *control_; }
  bool shares_processes() const override { return false; }
  std::string device() const override {
    return fmt::format("{}, NCCL {}", gpu_->description(), nccl_version());
  }

  std::string attention_kernel(const ModelShape& model) override {
    return tools::attention_kernel(model, *gpu_);
  }

  void open() override {
    if (gpu_ != nullptr) return;
    const std::int32_t number = number_on_machine(*control_);
    if (local_process_ < 0) local_process_ = number;
    std::string failure;
    try {
      const std::int64_t device = options_.device.value_or(local_process_ % gpu_count());
      gpu_ = open_gpu(static_cast<std::int32_t>(device));
      network_ = open_nccl(*control_, *gpu_);
    } catch (const DeviceError& error) {
      failure = error.what();
    }
    agree_on_success(*control_, failure, "opening the GPUs");
  }

  ProcessRun execute(const RunSetup& setup) override {
    const std::int32_t lanes = lane_count(setup.execution);
    if (lanes > lanes_) {
      network_->connect(lanes);
      probe_network(*gpu_, *control_, *network_, lanes);
      lanes_ = lanes;
    }
    DeviceOptions options = device_options(options_, setup.cpu);
    options.source = "nccl";
    // Alone a rank needs none: what it sends to itself is a copy.
    const std::int64_t spare = control_->processes() == 1 ? 0 : kSpareMultiprocessors;
    options.spare_multiprocessors = static_cast<std::int32_t>(options_.spare_sms.value_or(spare));
    return run_on_devices(setup.execution, options, *gpu_, *control_, *network_);
  }

  void close() override { network_.reset(); }
  void abandon() noexcept override {
    if (network_ != nullptr) network_->abort();
    network_.reset();
  }

 private:
  RunOptions options_;
  std::int32_t local_process_;  ///< among those of this machine; -1: not yet known
  std::unique_ptr<Control> control_;
  std::unique_ptr<Gpu> gpu_;
  std::unique_ptr<NcclNetwork> network_;
  std::int32_t lanes_ = 0;
};

std::unique_ptr<Control> control_of(const Launch& launch, const RunOptions& options, Duration deadline,
                                    const JobCommand& command) {
  if (launch.kind == Launch::Kind::mpi) return start_launched_mpi(deadline, launch);
  if (launch.kind == Launch::Kind::files) {
    if (options.rendezvous.empty()) {
      throw InputError("--executor nccl",
                       fmt::format("{} processes that do not know each other", launch.processes),
                       "--rendezvous DIR, a folder that all of them see, or mpirun");
    }
    return join_by_files(options.rendezvous, launch.job, launch.process, launch.processes, deadline);
  }
  const std::int32_t ranks = command.ranks();
  if (ranks == 1) return std::make_unique<LoneControl>(deadline);
  throw InputError("--executor nccl", "no launcher",
                   fmt::format("mpirun -np {0} strata {1}, srun -n {0} strata {1} --rendezvous DIR, or "
                               "torchrun --no-python --nproc-per-node {0} strata {1} --rendezvous DIR",
                               ranks, command.arguments));
}

}  // namespace

std::unique_ptr<ProcessJob> join_nccl_job(const RunOptions& options, Duration deadline,
                                          const JobCommand& command) {
  expect_built_with("nccl");
  const Launch launch = find_launch(!options.rendezvous.empty() || !mpi_available());
  return std::make_unique<NcclProcessJob>(options, launch.local_process,
                                          control_of(launch, options, deadline, command));
}

}  // namespace strata::tools
