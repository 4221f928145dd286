// SPDX-License-Identifier: Apache-2.0
// Model files: Strata's own keys, strictly, or the config.json of a Hugging Face model, of which
// core/problem/model_hugging_face.hpp says what is read.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "core/problem/model_shape.hpp"

namespace strata {

class JsonValue;

/// A shape, and what a reader of the file should know about how it was understood.
struct ModelReading {
  ModelShape shape;
  std::string source;      ///< "llama3_8b, shipped" or the file's name
  std::string model_type;  ///< of a Hugging Face configuration; empty for Strata's own keys
  /// What was assumed, and what of the file is not part of a shape.
  std::vector<std::string> notes;
  /// The note about the element type, which may be overridden; empty where there is none.
  std::string element_type_note;
  /// Keys of the file that were not used, in file order, with the way from the root.
  std::vector<std::string> unused_keys;
};

/// Throws InputError naming file and JSON path.
ModelShape read_model(const std::string& path);
ModelShape read_model(std::istream& in, const std::string& name);
ModelShape read_model(const JsonValue& value);
ModelReading read_model_and_notes(const JsonValue& value);

/// A shipped model's name, a file, or a folder with a config.json. Throws InputError; nothing is downloaded.
ModelShape load_model(const std::string& name_or_path);
ModelReading load_model_and_notes(const std::string& name_or_path);
/// The file that `load_model` reads: a folder's config.json, else the path itself.
std::string model_file(const std::string& name_or_path);

/// Canonical form, one line. Keys whose value is the default for models with plain layers are left out.
std::string to_json(const ModelShape& model);
std::string_view to_string(AttentionKind kind);
std::string_view to_string(MaskKind kind);

}  // namespace strata
