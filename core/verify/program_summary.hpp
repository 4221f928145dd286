// SPDX-License-Identifier: Apache-2.0
// What verification finds in one rank's program on its own, and what it must remember of it to compare it
// with the other ranks'. With it lint lowers, digests and checks rank by rank, each program while it is still
// in the cache. Inside of verify_programs; not for use elsewhere but where a wave is lowered for lint.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/program/program_walk.hpp"
#include "core/program/rank_program.hpp"
#include "core/verify/verify_schedule.hpp"

namespace strata {

/// What one exchange sends to, or receives from, one peer: how many parts, and a running digest of the rows
/// of each in order (MessageLayouts::digest). Equal programs are not at stake but equal lists.
struct PeerFlow {
  std::int32_t step = 0, lane = 0, peer = 0;
  std::int32_t count = 0;
  std::uint64_t rows = 0;
  auto operator<=>(const PeerFlow&) const = default;
};

struct PassSummary {
  PassOutline outline;
  std::vector<PeerFlow> sends, receives;  ///< sorted
  std::int32_t unknown_peer = -1;         ///< the first exchange that names a peer that does not exist
};

struct ProgramSummary {
  std::int32_t rank = 0;
  std::array<PassSummary, 2> passes;  ///< [Pass]; empty where there are structure violations
  std::vector<Violation> structure;   ///< buffers, streams, waits, rows, messages
  std::vector<Violation> order;       ///< reads before writes, shared arena bytes

  const PassSummary& pass(Pass which) const { return passes[static_cast<std::size_t>(which)]; }
};

/// At most `limit` violations of each kind, at least 1. `place` names the wave.
ProgramSummary summarize_program(const RankProgram& program, std::size_t rank_count, const std::string& place,
                                 std::size_t limit);

/// Every rank's summary of one wave, [rank]: what each rank found, whether both ends of every exchange agree,
/// and whether the programs run to their end; at most `limit` violations, at least 1.
std::vector<Violation> verify_summaries(std::vector<ProgramSummary> summaries, const std::string& place,
                                        std::size_t limit);

/// "waves[0].programs[3].forward[7]".
Violation program_violation(std::string rule, const std::string& place, std::int32_t rank, Pass pass,
                            std::size_t instruction, std::string message);

}  // namespace strata
