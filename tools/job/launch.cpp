// SPDX-License-Identifier: Apache-2.0
#include "tools/job/launch.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>

#include "core/base/check.hpp"

namespace strata::tools {

namespace {

/// From here on Slurm numbers steps that no srun of the user's started: the batch script, the shell of an
/// interactive allocation, and others.
constexpr std::int64_t kFirstReservedStep = 0xffff'fff0;

class Environment {
 public:
  explicit Environment(const EnvironmentLookup& lookup) : lookup_(lookup) {}

  bool has(const char* name) const { return lookup_(name) != nullptr; }
  std::string text(const char* name) const {
    const char* value = lookup_(name);
    return value != nullptr ? value : "";
  }
  /// At least `least` and below `end`; `range` says so.
  std::optional<std::int64_t> number(const char* name, std::int64_t least, std::int64_t end,
                                     std::string_view range) const {
    if (!has(name)) return std::nullopt;
    const std::string value = text(name);
    const char* last = value.data() + value.size();
    std::int64_t number = 0;
    const auto [stop, error] = std::from_chars(value.data(), last, number);
    if (error != std::errc() || stop != last || number < least || number >= end) {
      throw InputError(fmt::format("environment variable {}", name), fmt::format("'{}'", value),
                       std::string(range));
    }
    return number;
  }
  std::int64_t needed(const char* name, std::int64_t least, std::int64_t end, std::string_view range) const {
    if (const auto found = number(name, least, end, range)) return *found;
    throw InputError(fmt::format("environment variable {}", name), "nothing", std::string(range));
  }

 private:
  const EnvironmentLookup& lookup_;
};

/// Names of the variables with a process's number, how many there are (may be nullptr), and its number among
/// those of its machine.
struct Names {
  const char *process, *processes, *local_process;
};

void read_numbers(const Environment& environment, const Names& names, Launch& launch) {
  constexpr std::int64_t kEnd = std::numeric_limits<std::int32_t>::max();
  const auto narrow = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
  std::int64_t end = kEnd;
  std::string range = "a number from 0";
  launch.processes = 0;
  if (names.processes != nullptr) {
    end = environment.needed(names.processes, 1, kEnd, "a number from 1");
    launch.processes = narrow(end);
    range = fmt::format("a number below {} = {}", names.processes, end);
  }
  launch.process = narrow(environment.needed(names.process, 0, end, range));
  launch.local_process = narrow(environment.number(names.local_process, 0, end, range).value_or(-1));
}

const char* slurm_count(const Environment& environment) {
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    if (environment.has(name)) return name;
  }
  return nullptr;
}

std::optional<Launch> read_mpi(const Environment& environment) {
  Launch launch;
  launch.kind = Launch::Kind::mpi;
  if (environment.has("OMPI_COMM_WORLD_SIZE")) {
    read_numbers(environment, {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
                 launch);
    return launch;
  }
  // srun with PMIx may have started torchrun, whose processes would then all bear its number.
  if (!environment.has("PMIX_RANK") || environment.has("TORCHELASTIC_RUN_ID")) return std::nullopt;
  read_numbers(environment, {"PMIX_RANK", slurm_count(environment), "SLURM_LOCALID"}, launch);
  return launch;
}

/// "slurm.JOB.STEP"; empty outside of a step that srun started.
std::string slurm_job(const Environment& environment) {
  constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();
  const auto step = environment.number("SLURM_STEP_ID", 0, kEnd, "a step's number");
  if (!step || *step >= kFirstReservedStep || !environment.has("SLURM_JOB_ID")) return "";
  return fmt::format("slurm.{}.{}", environment.needed("SLURM_JOB_ID", 0, kEnd, "a job's number"), *step);
}

/// What all of its processes have in common. The run id is often the default of every run; the port is then
/// what tells runs apart. Not the number of restarts: a machine whose own processes did not fail does not
/// count one.
std::string torchrun_job(const Environment& environment) {
  std::string job = "torchrun";
  const std::string slurm = slurm_job(environment);
  if (!environment.has("TORCHELASTIC_RUN_ID") && !slurm.empty()) job = slurm;
  for (const char* name : {"TORCHELASTIC_RUN_ID", "MASTER_PORT"}) {
    if (environment.has(name)) job += '.' + environment.text(name);
  }
  return job;
}

std::optional<Launch> read_torchrun(const Environment& environment) {
  if (!environment.has("RANK") || !environment.has("WORLD_SIZE")) return std::nullopt;
  Launch launch;
  launch.kind = Launch::Kind::files;
  read_numbers(environment, {"RANK", "WORLD_SIZE", "LOCAL_RANK"}, launch);
  launch.job = torchrun_job(environment);
  return launch;
}

std::optional<Launch> read_slurm(const Environment& environment) {
  const std::string job = slurm_job(environment);
  const char* count = slurm_count(environment);
  if (job.empty() || count == nullptr) return std::nullopt;
  Launch launch;
  launch.kind = Launch::Kind::files;
  read_numbers(environment, {"SLURM_PROCID", count, "SLURM_LOCALID"}, launch);
  if (launch.processes == 1) return std::nullopt;
  launch.job = job;
  return launch;
}

}  // namespace

Launch read_launch(const EnvironmentLookup& lookup, bool without_mpi) {
  const Environment environment(lookup);
  if (!without_mpi) {
    if (const auto launch = read_mpi(environment)) return *launch;
  } else if (environment.has("OMPI_COMM_WORLD_SIZE")) {
    return {};  // Slurm's variables, if there are any, number mpirun's daemons
  }
  if (const auto launch = read_torchrun(environment)) return *launch;
  return read_slurm(environment).value_or(Launch{});
}

Launch find_launch(bool without_mpi) {
  return read_launch([](const char* name) { return std::getenv(name); }, without_mpi);
}

}  // namespace strata::tools
