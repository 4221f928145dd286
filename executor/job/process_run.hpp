// SPDX-License-Identifier: Apache-2.0
// Runs the programs of all ranks in the processes of a job, each a block of neighbouring ranks, on CPU
// workers. Schedule, operations and order of sums are those of one process, so the results are the same bits.
// How messages travel is up to the control and the transport.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "executor/cpu/cpu_executor.hpp"
#include "executor/job/control.hpp"
#include "executor/transport.hpp"

namespace strata {

struct ProcessRun {
  RunResult result;           ///< on process 0; elsewhere only `arena`
  std::int32_t threads = 1;   ///< workers of this process
  std::int32_t machines = 1;  ///< machines that the processes run on
};

/// Collective. [process] the name of its machine.
std::vector<std::string> machine_names(Control& control);
/// [rank] the number of its machine, in the order of their first processes; `names` is machine_names's. Empty
/// where machines serve equal blocks of neighbouring ranks; see Timeline::rank_device.
std::vector<std::int32_t> machines_of_ranks(const Control& control, const std::vector<std::string>& names,
                                            std::int32_t ranks);
/// Collective. How many processes of lower numbers are on this one's machine.
std::int32_t number_on_machine(Control& control);
/// Collective. How many machines the processes are on.
std::int32_t machine_count(Control& control);

/// Collective. All processes must hold the same execution and options (agree() shows it); the options'
/// deadline is not used, the control's is. `source` names the executor in the timeline. Exchanges are matched
/// and all times are told on process 0's clock, within the timeline's clock_error_ns. Throws AgreedError when
/// some process lacks memory, TransportError naming rank, instruction and peer when one waits too long for
/// another, and what run_on_cpu throws.
ProcessRun run_in_processes(const Execution& execution, const CpuOptions& options, Control& control,
                            const TransportFactory& make_transport, const std::string& source);

}  // namespace strata
