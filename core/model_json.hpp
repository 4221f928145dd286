// SPDX-License-Identifier: Apache-2.0
// Model files: Strata's own keys, strictly, or a Hugging Face config.json (recognised by
// num_attention_heads), of which only the keys that matter here are read.
#pragma once

#include <iosfwd>
#include <string>

#include "core/model_shape.hpp"

namespace strata {

class JsonValue;

/// Throws InputError naming file and JSON path.
ModelShape read_model(const std::string& path);
ModelShape read_model(std::istream& in, const std::string& name);
ModelShape read_model(const JsonValue& value);
/// A shipped model's name or a file.
ModelShape load_model(const std::string& name_or_path);

/// Canonical form, one line.
std::string to_json(const ModelShape& model);
std::string_view to_string(AttentionKind kind);
std::string_view to_string(MaskKind kind);

}  // namespace strata
