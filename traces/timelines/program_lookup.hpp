// SPDX-License-Identifier: Apache-2.0
// From an event of a timeline to the instruction it is about. A timeline and programs come from different
// files, so whether they belong together is checked here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/program/rank_program.hpp"
#include "core/program/timeline.hpp"

namespace strata {

/// [wave][rank]
using WavePrograms = std::span<const std::vector<RankProgram>>;

/// InputError naming `timeline.source` when the programs have no such wave, rank or instruction.
const RankProgram& program_of(const Timeline& timeline, const TimelineEvent& event, WavePrograms programs);
const Instruction& instruction_of(const Timeline& timeline, const TimelineEvent& event,
                                  WavePrograms programs);

}  // namespace strata
