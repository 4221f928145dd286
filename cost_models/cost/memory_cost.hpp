// SPDX-License-Identifier: Apache-2.0
// Memory of a rank while a step runs, as a sum of terms that planner, lint and explain share. A wave is all
// layers forward, then all backward, so a rank holds most at the turning point. E: bytes of an element;
// T: tokens that the rank owns; L: layers. All sums stick to kUncountable (core/base/checked.hpp).
//
//   state          parameters x bytes per parameter / shards
//   activations    none: T L E (4 hidden + rows + 3 ffn), rows = q + k + v + o, the widths of a token's rows
//                  selective: T L E (hidden + rows), and T E (3 hidden + 3 ffn) once
//                  full: T L E hidden, of one layer where they are offloaded, and T E (3 hidden + 3 ffn) once
//                  The last addend is the layer that is being computed again.
//   attention      arena + (L - 1) retained - T L E rows; under full recomputation one layer's attention
//                  exists at a time, and the term is the arena
//   logits         T x vocabulary x 4, where the vocabulary is stated and the loss needs all of them
//   communicators  of a GPU: 448 MiB for every peer inside the node, 512 MiB where there are peers outside
//
// `arena` is what one layer's program needs (RankProgram::arena, both passes), `retained` what every other
// layer keeps for its backward: the persistent buffers of roles q, kv, o and lse, received rows included when
// the policy retains them. `3 ffn` is 2 ffn without a gate; with experts it is the widths of those that a
// token passes, as the mean over the layers. Not counted: norms, gradient buckets, the framework's context
// and fragmentation.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/program/rank_program.hpp"

namespace strata {

/// Bytes that a layer of this rank keeps from its forward to its backward pass, each buffer aligned as in the
/// arena.
Bytes retained_bytes(const RankProgram& program);

/// The tokens that a rank owns: the rows of its own queries.
std::int64_t owned_tokens(const RankProgram& program);

/// The terms of one rank in one wave.
MemoryTerms rank_memory(const RankProgram& program, const ModelShape& model, const PlanOptions& options,
                        const Topology& topology);

struct MemoryPrediction {
  std::vector<MemoryTerms> ranks;  ///< [rank], in the wave in which the rank holds most
  std::vector<std::int32_t> wave;  ///< [rank], that wave
  Bytes arena;                     ///< largest RankProgram::arena

  /// Takes a rank's terms in one wave into account.
  void add(std::int32_t wave_index, const RankProgram& program, const MemoryTerms& terms);
  /// The rank that holds most; the first among equals. There must be a rank.
  std::int32_t largest_rank() const;
};

/// What every rank holds. `programs` are [wave][rank].
MemoryPrediction predict_memory(const std::vector<std::vector<RankProgram>>& programs,
                                const ModelShape& model, const PlanOptions& options,
                                const Topology& topology);
/// Sets peak, terms, rank and arena.
void set_memory(const MemoryPrediction& memory, Prediction& predicted);

/// A cap that is exceeded: by one rank, or by the ranks of one device together. Each rank counts with the
/// wave in which it holds most, and these can be different waves: no barrier keeps the ranks of a device in
/// one wave, so only the sum of what each can hold is safe.
struct MemoryExcess {
  std::int32_t rank = 0;   ///< the largest rank concerned
  std::int32_t ranks = 1;  ///< how many ranks share the cap
  Bytes needed;
  Bytes allowed;
  std::string cap;  ///< "the memory cap", "the memory of device node0.gpu3"
};
/// The cap that is exceeded most, in proportion.
std::optional<MemoryExcess> memory_excess(const MemoryPrediction& memory, const PlanOptions& options,
                                          const Topology& topology);

/// The state of one rank of `rank_count`.
Bytes state_memory(const ModelShape& model, const PlanOptions& options, std::int32_t rank_count);
/// The least that `tokens` tokens of one wave add to their rank under any schedule: activations, their own
/// rows and log-sum-exps, and logits.
Bytes least_token_memory(const ModelShape& model, const PlanOptions& options, std::int64_t tokens);
/// The most tokens of one wave that fit the caps under any schedule; the largest int64 where nothing is
/// capped.
std::int64_t most_tokens(const ModelShape& model, const PlanOptions& options, const Topology& topology);

}  // namespace strata
