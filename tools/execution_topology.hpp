// SPDX-License-Identifier: Apache-2.0
// The machine that executed a plan, as its timeline records it: a plan made for two hosts may have run with
// all ranks on one, and is then predicted as such.
#pragma once

#include <string>
#include <vector>

#include "core/rank_program.hpp"
#include "core/timeline.hpp"
#include "core/topology.hpp"

namespace strata::tools {

/// Throws InputError naming `where` when the header is inconsistent.
Topology execution_topology(const Timeline& timeline, const std::string& where);

/// Throws InputError naming `where` unless the timeline is one of these programs ([wave][rank]): as many
/// ranks, every event one of their instructions, and exactly the layers and repeats that its head states.
void check_measured(const Timeline& timeline, const std::vector<std::vector<RankProgram>>& programs,
                    const std::string& where);

}  // namespace strata::tools
