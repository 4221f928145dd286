// SPDX-License-Identifier: Apache-2.0
// What a file of batches was understood as, said the same way by every command that reads one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/problem/batch.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {
class JsonWriter;
}

namespace strata::tools {

struct ReadAsBatch {
  std::string source;       ///< the file, as it was given; empty: a batch that a plan carries
  std::string description;  ///< of its format
  std::int64_t documents = 0, tokens = 0, padding_tokens = 0;
  std::int64_t packs = 0;  ///< fixed ones; 0: documents are free
  std::int64_t steps = 0;
  std::vector<std::string> used_keys, unused_keys, notes;
};

ReadAsBatch read_as_batch(const std::string& name, const LengthSource& source, std::span<const Batch> steps);
/// The same for a step that a plan carries.
ReadAsBatch read_as_batch(const Batch& batch);

/// Lines of at most 110 columns. The first says what the file is, the others are indented.
std::vector<std::string> lines(const ReadAsBatch& read_as);
/// One object.
void write_read_as(JsonWriter& json, const ReadAsBatch& read_as);

}  // namespace strata::tools
