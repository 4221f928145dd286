// SPDX-License-Identifier: Apache-2.0
#include "tools/run_setup.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "core/base/check.hpp"
#include "core/base/closest_name.hpp"
#include "core/plan/plan_json.hpp"
#include "core/problem/route_table.hpp"
#include "executor/device/cuda_accelerator.hpp"
#include "executor/job/mpi_job.hpp"
#include "executor/nccl/nccl_network.hpp"
#include "tools/command.hpp"

namespace strata::tools {

namespace {

constexpr std::int64_t kMost = 1'000'000;

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

void expect_one_of(const char* option, const std::string& word, const std::vector<std::string_view>& known) {
  if (std::find(known.begin(), known.end(), word) != known.end()) return;
  std::string list = fmt::format("{}", fmt::join(known, ", "));
  const auto comma = list.rfind(", ");
  list.replace(comma, 2, " or ");
  throw InputError(option, "'" + word + "'", list + did_you_mean(word, known));
}

CpuOptions cpu_options(const RunOptions& options, const ModelShape& model, std::uint64_t seed) {
  CpuOptions cpu;
  cpu.layers = options.layers == 0 ? model.layers : static_cast<std::int32_t>(options.layers);
  cpu.repeats = static_cast<std::int32_t>(options.repeats);
  cpu.threads = static_cast<std::int32_t>(options.threads);
  cpu.deadline = Duration{options.deadline_s.value_or(0) * 1'000'000'000};
  cpu.seed = seed;
  cpu.poison = options.poison;
  // On the CPU it costs nothing worth an option, and the report says what the threads were.
  cpu.record_timeline = options.executor == "cpu" || !options.timeline.empty() || !options.trace.empty();
  cpu.keep_results = options.check != "none";
  return cpu;
}

}  // namespace

void check_run_options(const RunOptions& options) {
  expect_one_of("--executor", options.executor, {"cpu", "cuda", "mpi", "nccl"});
  expect_one_of("--kernels", options.kernels, {"auto", "plain"});
  const auto only_with = [&](const char* name, bool given, std::string_view executors) {
    if (!given || executors.find(options.executor) != std::string_view::npos) return;
    throw InputError(name, "--executor " + options.executor, fmt::format("--executor {}", executors));
  };
  only_with("--serial", options.serial, "cuda");
  only_with("--device", options.device.has_value(), "cuda or nccl");
  only_with("--kernels", options.kernels != "auto", "cuda or nccl");
  only_with("--spare-sms", options.spare_sms.has_value(), "nccl");
  only_with("--rendezvous", !options.rendezvous.empty(), "nccl");
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t least,
                           std::int64_t most = kMost) {
    if (value >= least && value <= most) return;
    throw InputError(name, std::to_string(value), fmt::format("{} to {}", least, most));
  };
  at_least("--layers", options.layers, options.layers == 0 ? 0 : 1);
  at_least("--repeat", options.repeats, 1);
  at_least("--threads", options.threads, 0, kMostThreads);
  at_least("--device", options.device.value_or(0), 0);
  at_least("--spare-sms", options.spare_sms.value_or(0), 0);
  at_least("--deadline-s", options.deadline_s.value_or(1), options.executor == "cpu" ? 0 : 1);
}

void expect_built_with(std::string_view executor) {
  struct Part {
    std::string_view executor, name;
    bool there;
  };
  const std::array<Part, 3> parts{{{"cuda", "CUDA", cuda_available()},
                                   {"mpi", "MPI", mpi_available()},
                                   {"nccl", "NCCL", nccl_available()}}};
  std::string others = "cpu";
  for (const Part& part : parts) {
    if (part.there) others += fmt::format(", {}", part.executor);
  }
  for (const Part& part : parts) {
    if (part.executor != executor || part.there) continue;
    if (const auto comma = others.rfind(", "); comma != std::string::npos) others.replace(comma, 2, " or ");
    throw InputError("--executor", fmt::format("'{}'", executor),
                     fmt::format("{}: this build has no {}", others, part.name));
  }
}

RunSetup set_up_run(const RunOptions& options, const Output& output) {
  RunSetup setup;
  setup.loaded = load_plan(options.plan);
  const Plan& plan = setup.loaded.plan;
  setup.cpu = cpu_options(options, plan.model, output.seed);
  setup.bytes = bytes_by_level(setup.loaded, setup.cpu.layers);
  setup.execution.model = plan.model;
  setup.execution.plan_digest = plan_digest(plan);
  for (std::size_t w = 0; w < setup.loaded.programs.size(); ++w) {
    setup.execution.waves.push_back({setup.loaded.programs[w], plan.waves[w].placement});
  }
  return setup;
}

std::int32_t lane_count(const Execution& execution) {
  std::int32_t lanes = 1;
  for (const ExecutableWave& wave : execution.waves) {
    for (const RankProgram& program : wave.programs) lanes = std::max(lanes, program.lane_count);
  }
  return lanes;
}

}  // namespace strata::tools
