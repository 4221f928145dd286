// SPDX-License-Identifier: Apache-2.0
// The machines that executed a plan, as its timeline records them: a plan made for two hosts may have run
// with all ranks on one, and is then predicted as such.
#pragma once

#include <string>
#include <vector>

#include "core/problem/topology.hpp"
#include "core/program/rank_program.hpp"
#include "core/program/timeline.hpp"

namespace strata::tools {

/// Where a timeline is predicted, and what to tell the reader about it, in a line.
struct ExecutionTopology {
  Topology topology;
  std::string description;
};

/// All ranks of the timeline on one device with its cores.
Topology one_device_topology(const Timeline& timeline);

/// One device: the above. Several: the plan's topology, whose links the prediction then takes; with the
/// cores of the run where its devices served the ranks of the plan's devices, as the plan states them where
/// each served the ranks of a whole node. The ranks must be as many as the plan's. Throws InputError naming
/// `where` when the header is inconsistent or neither is the case.
ExecutionTopology execution_topology(const Timeline& timeline, const Topology& planned,
                                     const std::string& where);

/// Throws InputError naming `where` unless the timeline is one of these programs ([wave][rank]): as many
/// ranks, every event one of their instructions, and exactly the layers and repeats that its head states.
void check_measured(const Timeline& timeline, const std::vector<std::vector<RankProgram>>& programs,
                    const std::string& where);

}  // namespace strata::tools
