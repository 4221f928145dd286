// SPDX-License-Identifier: Apache-2.0
// Topology files, with units in the keys (latency_ns, bandwidth_gbytes_per_s). docs/plan-format.md shows one.
#pragma once

#include <iosfwd>
#include <string>

#include "core/problem/topology.hpp"

namespace strata {

class JsonValue;

/// Throws InputError naming file and JSON path; what comes back passed `validate`.
Topology read_topology(const std::string& path);
Topology read_topology(std::istream& in, const std::string& name);
Topology read_topology(const JsonValue& value);
/// A named topology ("dgx_h100:8", "cpu:2x4") or a file.
Topology load_topology(const std::string& name_or_path);

/// Canonical form, one line. Bandwidths are written in 1e9 bytes per second so that reading gives the same
/// value.
std::string to_json(const Topology& topology);

}  // namespace strata
