// SPDX-License-Identifier: Apache-2.0
// Megatron's index cache: the shuffled document order, the cuts into samples and the serving order of a real
// training run. Together with the .idx they rebuild every packed batch of that run without any token. Written
// by Megatron's GPTDataset as three .npy arrays:
//   document index [E]      sequence of the .idx at each place, repeated per epoch
//   sample index   [S+1, 2] (place in the document index, token offset) where each sample begins
//   shuffle index  [S]      which sample is served first, second, ...
// A sample runs to the begin of the next one; the token found there is only the last label.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <istream>
#include <string>
#include <vector>

#include "core/problem/batch.hpp"
#include "traces/lengths/megatron_index.hpp"

namespace strata {

struct IndexCache {
  std::string name;  ///< for messages
  std::vector<std::int64_t> document_index;
  std::vector<std::int64_t> sample_index;  ///< pairs: place, offset
  std::vector<std::int64_t> shuffle_index;
};

/// Reads the triple whose file names begin with `prefix`. They are `<prefix>-document_index.npy` and so on,
/// or the older `<prefix>_doc_idx.npy`, `_sample_idx.npy`, `_shuffle_idx.npy`. `prefix` may also be one of
/// the three files. InputError when a file is missing or malformed, or when the shapes do not belong
/// together.
IndexCache read_index_cache(const std::filesystem::path& prefix);
/// The same from streams of the document, sample and shuffle index; `names` stand for the files in messages.
IndexCache read_index_cache(const std::array<std::istream*, 3>& arrays,
                            const std::array<std::string, 3>& names);

/// One packed sample. `pieces[i]` tokens come from sequence `sequences[i]` of the .idx.
struct RecordedPack {
  std::int64_t batch = 0;   ///< position in serving order
  std::int64_t sample = 0;  ///< number before shuffling
  std::vector<std::int64_t> pieces;
  std::vector<std::int64_t> sequences;
  bool first_is_partial = false;  ///< begins inside its first sequence
  bool last_is_partial = false;   ///< ends inside its last sequence
  bool operator==(const RecordedPack&) const = default;
};

/// Visits every sample in serving order. InputError when an entry points outside `index`, samples do not
/// follow one another, differ in length, or the shuffle index is no permutation. Returns the tokens of each
/// sample.
std::int64_t scan_packs(const MegatronIndex& index, const IndexCache& cache,
                        const std::function<void(const RecordedPack&)>& visit);

/// All samples as steps of one fixed pack, numbered by serving position.
std::vector<Batch> read_recorded_batches(const std::filesystem::path& index_file,
                                         const std::filesystem::path& cache_prefix);

}  // namespace strata
