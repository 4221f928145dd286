// SPDX-License-Identifier: Apache-2.0
// The machine that executed a plan, as its timeline records it: a plan made for two hosts may have run with
// all ranks on one, and is then predicted as such.
#pragma once

#include "core/timeline.hpp"
#include "core/topology.hpp"

namespace strata::tools {

/// Throws InputError naming `where` when the header is inconsistent.
Topology execution_topology(const Timeline& timeline, const std::string& where);

}  // namespace strata::tools
