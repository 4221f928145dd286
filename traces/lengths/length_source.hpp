// SPDX-License-Identifier: Apache-2.0
// Any recorded list of document lengths, whatever program wrote it: text, CSV, JSON, JSON lines, .npy,
// Megatron's .idx. The format is told from the content. What was chosen is said in words, because a wrong
// guess must be seen. No field that changes what is planned is dropped in silence: see batch_keys.hpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>
#include <set>
#include <string>
#include <vector>

#include "core/problem/batch.hpp"
#include "traces/lengths/document_lists.hpp"

namespace strata {

/// What a file holds. Lengths are tokens, 1 to 2^31 - 1.
struct LengthSource {
  std::string description;            ///< "CSV with a header, ContextTokens + GeneratedTokens, 200 rows"
  std::vector<std::int64_t> lengths;  ///< every document (or recorded piece of one) in file order
  std::vector<Batch> batches;         ///< in file order; empty when the file groups nothing
  bool whole_steps = false;           ///< `batches` are steps; otherwise each is a pack, and packs form steps
  /// Tokens that the file counts beside the documents; they are never planned.
  std::int64_t padding_tokens = 0;
  std::vector<std::string> used_keys, unused_keys;
  std::set<std::string> ignored_keys;  ///< those of LengthOptions::ignored_keys that the file has
  std::vector<std::string> notes;      ///< what a user must know of the reading, a sentence each
};

struct LengthOptions {
  LengthReading reading = LengthReading::automatic;
  /// Keys that are left out although they may carry meaning; each must be in the file.
  std::vector<std::string> ignored_keys;
  std::int64_t line = 0;  ///< reading begins at this line, from 1; 0: at the begin of the file
};

/// Reads a whole file:
/// - text: one integer a line, `#` begins a comment;
/// - CSV (comma, semicolon or tab) whose header has a known column or a pair that is summed (kLengthColumns);
///   columns of copies (`count`, ...) and of step numbers are read where there are any;
/// - CSV of one column without a header;
/// - JSON: a list of integers, or one object or a list of objects with keys that batch_keys.hpp knows;
/// - JSON lines: an object a line;
/// - .npy: one-dimensional integers;
/// - .idx: Megatron's index, documents.
/// Lists are read as LengthOptions::reading says. With a line, reading begins there; the header of a CSV is
/// read first. InputError where a format has no lines. InputError naming file and line, item or JSON path for
/// any other content, for keys that carry meaning and are not understood, for lengths out of range, and for a
/// file without lengths.
LengthSource read_length_source(const std::filesystem::path& path, const LengthOptions& options = {});
/// The same from a stream; `name` stands for the file in messages. At most 1 GiB when it cannot seek.
LengthSource read_length_source(std::istream& in, const std::string& name, const LengthOptions& options = {});

}  // namespace strata
