// SPDX-License-Identifier: Apache-2.0
// What strata run is asked for, and what it makes of it before anything runs, for every executor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "executor/cpu/cpu_executor.hpp"
#include "tools/output.hpp"
#include "tools/plan_programs.hpp"
#include "tools/plan_report.hpp"

namespace strata::tools {

struct RunOptions {
  std::string plan, executor = "cpu", check = "none", timeline, trace;
  std::string kernels = "auto";  ///< cuda, nccl
  std::string rendezvous;        ///< nccl: a folder that all processes see
  std::int64_t layers = 0, repeats = 1, threads = 0;
  std::optional<std::int64_t> device;  ///< cuda [0], nccl [the process's number on its machine]
  std::optional<std::int64_t> deadline_s;
  std::optional<std::int64_t> spare_sms;  ///< nccl
  bool poison = false;
  bool serial = false;  ///< cuda
};

/// Throws InputError for values that make no sense, whatever the plan says.
void check_run_options(const RunOptions& options);
/// Throws InputError when this build lacks the executor, and names those that it has.
void expect_built_with(std::string_view executor);

/// A plan that is ready to run.
struct RunSetup {
  LoadedPlan loaded;
  Execution execution;
  CpuOptions cpu;
  LevelBytes bytes;  ///< payload by level of the plan's topology, all waves, both passes, all layers
};
RunSetup set_up_run(const RunOptions& options, const Output& output);

/// Lanes that some rank has, at least 1.
std::int32_t lane_count(const Execution& execution);

}  // namespace strata::tools
