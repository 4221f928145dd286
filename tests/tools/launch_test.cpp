// SPDX-License-Identifier: Apache-2.0
// How a process was started, told from environments written out here: each launcher alone, one inside
// another, batch scripts and interactive shells that look like a launch and are none, and broken values.
#include "tools/job/launch.hpp"

#include <gtest/gtest.h>

#include <map>

#include "core/base/check.hpp"

namespace strata::tools {
namespace {

using Variables = std::map<std::string, std::string>;
using Kind = Launch::Kind;

Launch read(const Variables& variables, bool without_mpi = false) {
  return read_launch(
      [&](const char* name) {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      },
      without_mpi);
}

std::string refusal(const Variables& variables) {
  try {
    read(variables);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

void expect_launch(const Launch& launch, Kind kind, std::int32_t process, std::int32_t processes,
                   std::int32_t local_process, const std::string& job) {
  EXPECT_EQ(launch.kind, kind);
  EXPECT_EQ(launch.process, process);
  EXPECT_EQ(launch.processes, processes);
  EXPECT_EQ(launch.local_process, local_process);
  EXPECT_EQ(launch.job, job);
}

Variables together(Variables a, const Variables& b) {
  a.insert(b.begin(), b.end());
  return a;
}

const Variables& mpirun() {
  static const Variables kVariables{{"OMPI_COMM_WORLD_RANK", "5"},
                                    {"OMPI_COMM_WORLD_SIZE", "8"},
                                    {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                    {"PMIX_RANK", "5"}};
  return kVariables;
}
const Variables& srun() {
  static const Variables kVariables{{"SLURM_PROCID", "9"},
                                    {"SLURM_NTASKS", "16"},
                                    {"SLURM_LOCALID", "1"},
                                    {"SLURM_JOB_ID", "77"},
                                    {"SLURM_STEP_ID", "2"}};
  return kVariables;
}
const Variables& torchrun() {
  static const Variables kVariables{{"RANK", "3"},
                                    {"WORLD_SIZE", "4"},
                                    {"LOCAL_RANK", "1"},
                                    {"TORCHELASTIC_RUN_ID", "night"},
                                    {"TORCHELASTIC_RESTART_COUNT", "2"}};
  return kVariables;
}

TEST(Launch, IsNoneWithoutALauncher) { expect_launch(read({}), Kind::none, 0, 1, 0, ""); }

TEST(Launch, ReadsEachLauncher) {
  expect_launch(read(mpirun()), Kind::mpi, 5, 8, 1, "");
  expect_launch(read(together({{"PMIX_RANK", "9"}}, srun())), Kind::mpi, 9, 16, 1, "");
  expect_launch(read({{"PMIX_RANK", "9"}}), Kind::mpi, 9, 0, -1, "");
  expect_launch(read(torchrun()), Kind::files, 3, 4, 1, "torchrun.night");
  expect_launch(read(srun()), Kind::files, 9, 16, 1, "slurm.77.2");
}

TEST(Launch, TakesTheInnermostOfSeveralLaunchers) {
  // mpirun starts its daemons with srun, whose variables count daemons; srun starts torchrun on every
  // machine.
  expect_launch(read(together(mpirun(), srun())), Kind::mpi, 5, 8, 1, "");
  expect_launch(read(together(torchrun(), srun())), Kind::files, 3, 4, 1, "torchrun.night");
  expect_launch(read(together(torchrun(), together({{"PMIX_RANK", "0"}}, srun()))), Kind::files, 3, 4, 1,
                "torchrun.night");
  expect_launch(read(together(mpirun(), torchrun())), Kind::mpi, 5, 8, 1, "");
}

TEST(Launch, FindsTheOthersByFilesUnderPmixWhenAskedTo) {
  expect_launch(read(together({{"PMIX_RANK", "9"}}, srun()), true), Kind::files, 9, 16, 1, "slurm.77.2");
  expect_launch(read(together(mpirun(), srun()), true), Kind::none, 0, 1, 0, "");
}

TEST(Launch, IsNoneInBatchScriptsAndInteractiveShells) {
  Variables script = srun();
  script["SLURM_PROCID"] = "0";
  script.erase("SLURM_STEP_ID");
  EXPECT_EQ(read(script).kind, Kind::none);
  for (const char* step : {"4294967291", "4294967290", "4294967292"}) {
    script["SLURM_STEP_ID"] = step;
    EXPECT_EQ(read(script).kind, Kind::none) << step;
  }
  Variables shell = srun();
  shell["SLURM_PROCID"] = shell["SLURM_LOCALID"] = "0";
  shell["SLURM_NTASKS"] = "1";
  EXPECT_EQ(read(shell).kind, Kind::none);
}

TEST(Launch, CountsTheTasksOfTheStepNotOfTheAllocation) {
  Variables step = srun();
  step["SLURM_STEP_NUM_TASKS"] = "12";
  EXPECT_EQ(read(step).processes, 12);
  step["SLURM_STEP_NUM_TASKS"] = "1";
  step["SLURM_PROCID"] = "0";
  step["SLURM_LOCALID"] = "0";
  EXPECT_EQ(read(step).kind, Kind::none);
}

TEST(Launch, TellsJobsApartByWhatTheirLauncherGives) {
  EXPECT_EQ(read(together(torchrun(), {{"MASTER_PORT", "29500"}})).job, "torchrun.night.29500");
  const Variables by_hand{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "29500"}};
  expect_launch(read(by_hand), Kind::files, 0, 2, -1, "torchrun.29500");
  EXPECT_EQ(read(together(by_hand, srun())).job, "slurm.77.2.29500");
  EXPECT_EQ(read({{"RANK", "0"}}).kind, Kind::none);  // somebody else's variable
}

TEST(Launch, ARestartByTorchrunIsOneJobThoughOnlyTheMachineThatFailedCountsIt) {
  Variables other = torchrun();
  other["TORCHELASTIC_RESTART_COUNT"] = "0";
  EXPECT_EQ(read(torchrun()).job, read(other).job);
}

TEST(Launch, RefusesValuesThatAreNoNumbersOrOutOfRange) {
  const auto changed = [](Variables variables, const std::string& name, const std::string& value) {
    variables[name] = value;
    return refusal(variables);
  };
  EXPECT_EQ(changed(torchrun(), "WORLD_SIZE", "four"),
            "environment variable WORLD_SIZE: found 'four', expected a number from 1");
  EXPECT_EQ(changed(torchrun(), "RANK", "4"),
            "environment variable RANK: found '4', expected a number below WORLD_SIZE = 4");
  EXPECT_EQ(changed(torchrun(), "LOCAL_RANK", ""),
            "environment variable LOCAL_RANK: found '', expected a number below WORLD_SIZE = 4");
  EXPECT_EQ(changed(mpirun(), "OMPI_COMM_WORLD_RANK", "-1"),
            "environment variable OMPI_COMM_WORLD_RANK: found '-1', expected a number below "
            "OMPI_COMM_WORLD_SIZE = 8");
  EXPECT_EQ(changed(srun(), "SLURM_PROCID", "9x"),
            "environment variable SLURM_PROCID: found '9x', expected a number below SLURM_NTASKS = 16");
  EXPECT_EQ(changed(srun(), "SLURM_STEP_ID", "batch"),
            "environment variable SLURM_STEP_ID: found 'batch', expected a step's number");
  Variables without_number = srun();
  without_number.erase("SLURM_PROCID");
  EXPECT_EQ(refusal(without_number),
            "environment variable SLURM_PROCID: found nothing, expected a number below SLURM_NTASKS = 16");
}

}  // namespace
}  // namespace strata::tools
