// SPDX-License-Identifier: Apache-2.0
// Any recorded list of document lengths, whatever program wrote it: text, CSV, JSON, JSON lines, .npy,
// Megatron's .idx. The format is told from the content; what was chosen is said in words, because a wrong
// guess must be seen.
#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>
#include <string>
#include <vector>

#include "core/batch.hpp"

namespace strata {

/// What a file holds. Lengths are tokens, 1 to 2^31 - 1.
struct LengthSource {
  std::string description;            ///< "CSV with a header, ContextTokens + GeneratedTokens, 200 rows"
  std::vector<std::int64_t> lengths;  ///< every document (or recorded piece of one) in file order
  std::vector<Batch> batches;         ///< in file order; empty when the file groups nothing
};

/// Reads a whole file:
/// - text: one integer a line, `#` begins a comment;
/// - CSV (comma, semicolon or tab) whose header has a known column: length, seq_len, seqlen, num_tokens,
/// n_tokens,
///   token_count, total_lengths, seq_lengths, or a pair that is summed: input_length + output_length,
///   ContextTokens + GeneratedTokens, num_prefill_tokens + num_decode_tokens; or one column without a header;
/// - JSON: a list of integers, or of objects with one of those names;
/// - JSON lines: objects with one of those names, `input_ids` (its size counts), lists `seq_lengths` (a pack)
/// or
///   `total_lengths` (free documents), or batches and recorded rows as core/batch_json.hpp reads them;
/// - .npy: one-dimensional integers;
/// - .idx: Megatron's index, documents.
/// InputError naming file and line, item or JSON path for anything else, for lengths out of range and for no
/// lengths.
LengthSource read_length_source(const std::filesystem::path& path);
/// The same from a stream; `name` stands for the file in messages. At most 1 GiB when it cannot seek.
LengthSource read_length_source(std::istream& in, const std::string& name);

}  // namespace strata
