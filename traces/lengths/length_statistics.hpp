// SPDX-License-Identifier: Apache-2.0
// What a list of document lengths looks like to a planner: where the documents, the tokens and the attention
// work are. Counts and sums are exact integers, and the texts are made from them, so equal inputs print
// equally anywhere.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/problem/batch.hpp"

namespace strata {

/// Sum of squared lengths: attention work up to a constant. 2^31 documents of 2^31 tokens do not fit 64 bits.
__extension__ using SquaredTokens = unsigned __int128;

/// Documents of `from` to `to` tokens, both inclusive.
struct LengthBand {
  std::int64_t from = 0, to = 0;
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  SquaredTokens work = 0;
};

struct LengthStatistics {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  SquaredTokens work = 0;
  std::int64_t shortest = 0, longest = 0;
  std::int64_t p50 = 0, p90 = 0, p99 = 0, p999 = 0;  ///< nearest rank
  std::int64_t top_documents = 0;                    ///< the longest 1 %, rounded up
  SquaredTokens top_work = 0;                        ///< theirs
  std::vector<LengthBand> bands;    ///< to 1K, 4K, 8K, 32K, 128K tokens, and longer; empty ones too
  std::vector<LengthBand> octaves;  ///< 2^k to 2^(k+1) - 1, from the shortest to the longest document

  double mean() const { return static_cast<double>(tokens) / static_cast<double>(documents); }
  double top_work_share() const { return static_cast<double>(top_work) / static_cast<double>(work); }
};

/// There must be at least one length, each from 1 to 2^31 - 1 (STRATA_CHECK). O(n log n).
LengthStatistics length_statistics(std::span<const std::int64_t> lengths);

/// The packs that run side by side: how much more attention work the heaviest has than the mean.
struct GroupImbalance {
  std::int32_t group_packs = 0;  ///< consecutive packs per group
  std::int64_t groups = 0;       ///< whole ones
  double mean = 0, worst = 0;    ///< of heaviest / mean over the groups; 0 without a group
  bool operator==(const GroupImbalance&) const = default;
};

/// Packs as recorded, or as a greedy cut would make them.
struct PackingPreview {
  std::int64_t pack_tokens = 0;  ///< of the largest pack
  std::int64_t packs = 0;
  std::int64_t pieces = 0;
  std::int64_t cut_documents = 0;    ///< greedy cut only: documents that lie in more than one pack
  std::int64_t leftover_tokens = 0;  ///< greedy cut only: after the last whole pack, not counted in the rest
  std::int64_t fewest_pieces = 0, most_pieces = 0;                               ///< of a pack
  std::int64_t longest_piece_p50 = 0, longest_piece_p90 = 0, longest_piece = 0;  ///< over packs
  SquaredTokens lightest_work = 0, heaviest_work = 0;                            ///< of a pack
  std::vector<GroupImbalance> imbalance;                                         ///< groups of 8 and of 32
};

/// The full packs that make_packs (traces/lengths/steps.hpp) cuts; a short last one is left over unless it is
/// the only one.
PackingPreview preview_packing(std::span<const std::int64_t> lengths, std::int64_t pack_tokens);
/// The packs of all `batches` in order; at least one pack.
PackingPreview packing_of(std::span<const Batch> batches);

/// Lines of at most 100 columns, each ended.
std::string to_text(const LengthStatistics& statistics);
std::string to_text(const PackingPreview& preview);
/// One line per octave: shares and bars of documents, tokens and work.
std::string histogram_text(const LengthStatistics& statistics);

}  // namespace strata
