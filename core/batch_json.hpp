// SPDX-License-Identifier: Apache-2.0
// Batches on disk: JSON lines, one training step per line ({"step": 0, "packs": [[..], ..]} or {"step": 0,
// "documents": [..]}), and recorded rows ({"batch": 0, "seqlens": [..], ...}), several of which may form a
// step.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "core/batch.hpp"

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

/// The step that starts at `line` (1-based) of a JSON lines file. `packs_per_step` > 1 joins that many
/// recorded rows, or as many as are left. Throws InputError naming file, line and JSON path.
Batch read_batch(const std::string& path, std::int64_t line, std::int64_t packs_per_step = 1);
/// The first `max_batches` steps of the file, all when it is negative. Blank lines are skipped.
std::vector<Batch> read_batches(const std::string& path, std::int64_t max_batches,
                                std::int64_t packs_per_step = 1);
/// The same from a stream; `name` stands for the file in messages.
std::vector<Batch> read_batches(std::istream& in, const std::string& name, std::int64_t max_batches,
                                std::int64_t packs_per_step = 1);

/// A step in its own form (not a recorded row), as plans hold it.
Batch read_batch(const JsonValue& value);
/// One line in canonical form, without the line end.
std::string to_json(const Batch& batch);

}  // namespace strata
