// SPDX-License-Identifier: Apache-2.0
// A training step as plans hold it: {"step": 0, "packs": [[..], ..]} or {"step": 0, "documents": [..]}. What
// other programs record, and files of many steps, are read by traces/lengths/length_source.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/problem/batch.hpp"

namespace strata {

class JsonValue;

/// The shorthand FILE:17, a file and a 1-based line.
struct BatchReference {
  std::string path;
  std::int64_t line = 0;  ///< 0 when the text names no line
  bool operator==(const BatchReference&) const = default;
};
/// Text after the last colon that is all digits is a line; anything else belongs to the path.
BatchReference parse_batch_reference(std::string_view text);

/// Strict: InputError naming the JSON path of an unknown, missing or mistyped field, or of a length that is
/// not 1 to 2^31 - 1.
Batch read_batch(const JsonValue& value);
/// One line in canonical form, without the line end.
std::string to_json(const Batch& batch);

}  // namespace strata
