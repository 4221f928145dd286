// SPDX-License-Identifier: Apache-2.0
// A summary of one rank's program: what verification finds in the program on its own, and what it must
// remember to compare the program with the other ranks'. Thanks to summaries lint lowers, digests and checks
// rank by rank, each program while it is still in the cache. Only verify_programs uses this, and the code
// that lowers a wave for lint.
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

/// The parts that one exchange sends to one peer, or receives from it. `count` says how many there are.
/// `rows` is a running digest of the rows of each part, in order (MessageLayouts::digest). It tells lists of
/// parts apart, not programs.
struct PeerFlow {
  std::int32_t step = 0, lane = 0, peer = 0;
  std::int32_t count = 0;
  std::uint64_t rows = 0;
  auto operator<=>(const PeerFlow&) const = default;
};

struct PassSummary {
  PassOutline outline;
  std::vector<PeerFlow> sends, receives;  ///< sorted
  /// The first exchange that names a peer that does not exist; -1: none.
  std::int32_t unknown_peer = -1;
};

struct ProgramSummary {
  std::int32_t rank = 0;
  std::array<PassSummary, 2> passes;  ///< [Pass]; empty where there are structure violations
  std::vector<Violation> structure;   ///< buffers, streams, waits, rows, messages
  std::vector<Violation> order;       ///< reads before writes, shared arena bytes

  const PassSummary& pass(Pass which) const { return passes[static_cast<std::size_t>(which)]; }
};

/// Checks one of `rank_count` programs on its own. `limit`, at least 1, is the most violations in each of the
/// two lists. `place` names the wave.
ProgramSummary summarize_program(const RankProgram& program, std::size_t rank_count, const std::string& place,
                                 std::size_t limit);

/// The violations of one wave, from the summaries of its programs, [rank]. They are those of each summary,
/// exchanges whose ends do not agree, and programs that do not run to their end. `limit`, at least 1, is the
/// most violations.
std::vector<Violation> verify_summaries(std::vector<ProgramSummary> summaries, const std::string& place,
                                        std::size_t limit);

/// A violation at an instruction: its place is "waves[0].programs[3].forward[7]" where `place` is "waves[0]".
Violation program_violation(std::string rule, const std::string& place, std::int32_t rank, Pass pass,
                            std::size_t instruction, std::string message);

}  // namespace strata
