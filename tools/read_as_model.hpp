// SPDX-License-Identifier: Apache-2.0
// The model's part of "read as": everything that was derived from a model's name or file, for people and for
// scripts, so that a misreading can be seen.
#pragma once

#include <string>
#include <vector>

#include "core/problem/model_json.hpp"

namespace strata {
class JsonWriter;
}

namespace strata::tools {

/// Lines of at most 110 columns, the first at the margin: the full shape, what was assumed, and the keys of
/// the file that were not used.
std::vector<std::string> lines_of(const ModelReading& reading);

/// One object: `source`, `model_type`, `shape` (a model as docs/plan-format.md has it), `parameters`,
/// `active_parameters`, `active_ffn`, `notes`, `unused_keys`.
void write_read_as(JsonWriter& json, const ModelReading& reading);

}  // namespace strata::tools
