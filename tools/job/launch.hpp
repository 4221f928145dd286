// SPDX-License-Identifier: Apache-2.0
// How this process was started, from its environment and nothing else: by mpirun or srun with PMIx, by
// torchrun, by srun without MPI, or alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace strata::tools {

struct Launch {
  enum class Kind {
    none,   ///< alone, or in a batch script outside of srun
    mpi,    ///< MPI knows the others
    files,  ///< several processes that have to find each other: join_by_files
  };
  Kind kind = Kind::none;
  std::int32_t process = 0;
  std::int32_t processes = 1;      ///< 0 when only MPI knows
  std::int32_t local_process = 0;  ///< among those of this machine; -1 when the launcher does not say
  std::string job;                 ///< same for all processes of a job of kind files; otherwise empty
};

/// The value of an environment variable, or nullptr.
using EnvironmentLookup = std::function<const char*(const char* name)>;

/// The first launcher that fits: mpirun (OMPI_COMM_WORLD_*), PMIx (PMIX_RANK), torchrun (RANK and
/// WORLD_SIZE), srun (a step of more than one task). With `without_mpi` the processes are to find each other
/// by files under PMIx too, and mpirun is no launcher. Throws InputError naming a variable that is no number
/// or out of range.
Launch read_launch(const EnvironmentLookup& lookup, bool without_mpi = false);
/// The launch of this process.
Launch find_launch(bool without_mpi = false);

}  // namespace strata::tools
