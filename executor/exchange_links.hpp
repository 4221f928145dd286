// SPDX-License-Identifier: Apache-2.0
// Pairs the exchanges of ranks: what one rank sends to another in one exchange, and where it lands. Between
// ranks of this process a link is plain copies between two arenas, made when both ends have posted. Otherwise
// it is the memory of the local end, which a transport carries (transport.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/program/rank_program.hpp"
#include "executor/run.hpp"

namespace strata {

/// Bytes that a link copies. A remote link's chunk is a whole part, with a null pointer for the end in the
/// other process.
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
  std::int32_t lane = 0;
  bool remote = false;  ///< one end is another process's rank
  std::int64_t chunk_begin = 0, chunk_end = 0;
  std::int64_t bytes = 0;
};

/// The number of a link in the wave and pass that both its ends are in.
struct LinkNumber {
  std::int32_t wave = 0;
  Pass pass = Pass::forward;
  std::int32_t link = 0;
};

struct ExchangeLinks {
  std::vector<ExchangeLink> links;
  std::vector<CopyChunk> chunks;
  /// [rank][instruction] -> links that the instruction is an end of; a link from a rank to itself appears
  /// twice.
  std::vector<std::vector<std::vector<std::int32_t>>> of_instruction;
};

/// Matches, per source, target and lane, the k-th exchange that sends with the k-th that receives, where at
/// least one of both ranks is in `local`. `arenas[rank]` is where a local rank's buffers lie. Throws
/// InternalError when two matched ends differ in bytes.
ExchangeLinks link_exchanges(std::span<const RankProgram> programs, Pass pass,
                             std::span<std::byte* const> arenas, RankBlock local);

/// The two ends of every link among all ranks, without the memory; ends that match nothing are left out.
struct ExchangePair {
  std::int32_t source = 0, source_instruction = 0;
  std::int32_t target = 0, target_instruction = 0;
};
std::vector<ExchangePair> pair_exchanges(std::span<const RankProgram> programs, Pass pass);

}  // namespace strata
