// SPDX-License-Identifier: Apache-2.0
// Pairs the exchanges of in-process ranks: what one rank sends to another in one exchange, and where it
// lands, as plain copies between two arenas. A link may be copied only when both ends have posted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/rank_program.hpp"

namespace strata {

struct CopyChunk {
  std::byte* target = nullptr;
  const std::byte* source = nullptr;
  std::int64_t bytes = 0;
};

/// One direction of one pair of ranks in one exchange. An end that no program has posted anything for is -1;
/// such a link never completes, as in a real transport.
struct ExchangeLink {
  std::int32_t source = 0, source_instruction = -1;
  std::int32_t target = 0, target_instruction = -1;
  std::int64_t chunk_begin = 0, chunk_end = 0;
  std::int64_t bytes = 0;
};

struct ExchangeLinks {
  std::vector<ExchangeLink> links;
  std::vector<CopyChunk> chunks;
  /// [rank][instruction] -> links that the instruction is an end of; a link from a rank to itself appears
  /// twice.
  std::vector<std::vector<std::vector<std::int32_t>>> of_instruction;
};

/// Matches, per source, target and lane, the k-th exchange that sends with the k-th that receives.
/// `arenas[rank]` is where the rank's buffers lie. Throws InternalError when two matched ends differ in
/// bytes.
ExchangeLinks link_exchanges(std::span<const RankProgram> programs, Pass pass,
                             std::span<std::byte* const> arenas);

}  // namespace strata
