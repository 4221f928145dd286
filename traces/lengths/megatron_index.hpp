// SPDX-License-Identifier: Apache-2.0
// Megatron's IndexedDataset index (.idx): how many tokens every sequence of a tokenized data set has. Read as
// a stream in constant memory, because a billion sequences are a 20 GB file, and checked against itself.
//
// Layout, all little endian: "MMIDIDX\0\0", u64 version (1), u8 token type, u64 N sequences, u64 D document
// index entries, i32[N] tokens, i64[N] byte offset of each sequence in the .bin, i64[D] first sequence of
// each document followed by N, and in multimodal sets i8[N] modes (announced only by the file's size). The
// 64-bit arrays are not aligned. Source: NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

namespace strata {

/// What the whole index holds. `token_type`: "uint16", ...
struct MegatronIndexSummary {
  std::string token_type;
  std::int64_t bytes_per_token = 0;
  std::int64_t sequence_count = 0;
  std::int64_t document_count = 0;
  std::int64_t token_count = 0;
  bool has_modes = false;
  bool operator==(const MegatronIndexSummary&) const = default;
};

/// Called for every sequence in file order: its tokens, and whether it is the first of a document.
using SequenceVisitor = std::function<void(std::int64_t tokens, bool begins_document)>;

/// Whether `prefix` starts as every .idx file does.
bool is_megatron_index(std::string_view prefix);

/// Reads all of `in` (seekable, at its begin) and visits every sequence. InputError naming `name` and the
/// place when magic, version, token type or size is wrong, a sequence holds no token, the offsets do not step
/// by tokens x bytes per token from 0, or the document index does not rise from 0 to N. Sequences before the
/// fault have been visited.
MegatronIndexSummary scan_megatron_index(std::istream& in, const std::string& name,
                                         const SequenceVisitor& visit);

struct MegatronIndex {
  MegatronIndexSummary summary;
  std::vector<std::int32_t> sequence_lengths;  ///< tokens, file order
  std::vector<std::int64_t> document_lengths;  ///< tokens, sums over each document's sequences
};

MegatronIndex read_megatron_index(std::istream& in, const std::string& name);
MegatronIndex read_megatron_index(const std::filesystem::path& path);

}  // namespace strata
