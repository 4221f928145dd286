// SPDX-License-Identifier: Apache-2.0
// The machines that executed a plan, as its timeline records them. They may be other machines than the plan
// was made for: a plan for two hosts may have run with all its ranks on one. `validate` predicts the run on
// the machines that executed it.
#pragma once

#include <string>
#include <vector>

#include "core/problem/topology.hpp"
#include "core/program/rank_program.hpp"
#include "core/program/timeline.hpp"

namespace strata::tools {

/// The topology that a measured timeline is compared on, and a line that tells the reader which it is.
struct ExecutionTopology {
  Topology topology;
  std::string description;
};

/// One device that holds all ranks of the timeline and has as many cores as the timeline's head states.
Topology one_device_topology(const Timeline& timeline);

/// The topology on which `timeline` is predicted. `planned` is the plan's; both must have equally many ranks.
/// - The run used one device: one_device_topology.
/// - The devices of the run held the ranks that the devices of the plan hold: `planned`, with the run's
///   cores.
/// - The devices of the run each held the ranks of a whole node of the plan: `planned`, as it is.
/// Links are always the plan's: a timeline does not state any. Throws InputError naming `where` in every
/// other case, and when the timeline's head contradicts itself.
ExecutionTopology execution_topology(const Timeline& timeline, const Topology& planned,
                                     const std::string& where);

/// Throws InputError naming `where` unless the timeline is a run of `programs` ([wave][rank]). A run has the
/// programs' number of ranks. Every event of it is one of their instructions. It has exactly the layers and
/// repeats that its head states.
void check_measured(const Timeline& timeline, const std::vector<std::vector<RankProgram>>& programs,
                    const std::string& where);

}  // namespace strata::tools
