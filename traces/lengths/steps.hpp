// SPDX-License-Identifier: Apache-2.0
// From lengths to training steps: documents into packs, packs or documents into steps. The same options mean
// the same in inspect, plan and compare.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/problem/batch.hpp"
#include "traces/lengths/length_source.hpp"

namespace strata {

struct StepOptions {
  std::optional<std::int64_t> pack_tokens;  ///< makes packs of free documents
  bool cut_documents = false;               ///< packs are full, and documents cut where a pack ends
  /// At most one of these. A step has so many packs, or at most so many tokens or documents (but at least
  /// one).
  std::optional<std::int64_t> packs_per_step, tokens_per_step, documents_per_step;
};
/// InputError naming the option that is out of range or does not go with another.
void validate(const StepOptions& options);

/// A file may not become more packs than this, so that a small one cannot ask for all memory.
inline constexpr std::int64_t kMostPacks = std::int64_t{1} << 24;
/// The most packs that make_packs cuts.
std::int64_t cut_pack_count(std::span<const std::int64_t> lengths, std::int64_t pack_tokens);

struct Packs {
  std::vector<std::vector<std::int64_t>> packs;  ///< tokens of every document or piece of one, in order
  std::int64_t cut_documents = 0;                ///< that lie in more than one pack
  std::int64_t long_documents = 0;               ///< longer than a pack and alone in one (when none is cut)
  std::int64_t short_tokens = 0;  ///< of a last pack that could not be filled (when documents are cut)
};
/// Keeps the order. Whole documents go into the open pack while they fit and open the next one otherwise; a
/// document longer than a pack has one of its own. Cut, documents follow one another and a pack ends after
/// `pack_tokens` tokens, as in Megatron's sample index; only the last one may be short.
Packs make_packs(std::span<const std::int64_t> lengths, std::int64_t pack_tokens, bool cut_documents);

struct Steps {
  std::vector<Batch> steps;        ///< at least one
  std::vector<std::string> notes;  ///< what was done to get them, a sentence each
};
/// Makes steps of what a file holds:
/// - Free documents with `pack_tokens` become packs. Each pack is a step, unless packs_per_step or
///   tokens_per_step joins packs. documents_per_step first takes its documents and then packs them.
/// - Free documents without `pack_tokens` become steps of free documents, by tokens_per_step or
///   documents_per_step. Without these the whole file is one step, which a note says.
/// - Packs, a row each, become a step each, or are joined. They are never packed again.
/// - Whole steps stay as they are. Those of free documents may be packed. packs_per_step must be what they
///   have.
///
/// Throws InputError naming `name` and the option that contradicts what the file holds.
Steps form_steps(const LengthSource& source, const StepOptions& options, const std::string& name);

}  // namespace strata
