// SPDX-License-Identifier: Apache-2.0
#include "traces/timelines/program_lookup.hpp"

#include <fmt/format.h>

#include "core/base/check.hpp"
#include "core/base/counts.hpp"

namespace strata {

const RankProgram& program_of(const Timeline& timeline, const TimelineEvent& event, WavePrograms programs) {
  const auto waves = std::ssize(programs);
  if (event.wave < 0 || event.wave >= waves) {
    throw InputError(fmt::format("timeline \"{}\"", timeline.source),
                     fmt::format("an event of wave {}", event.wave),
                     "the plan's " + plain_count(waves, "wave"));
  }
  const std::vector<RankProgram>& ranks = programs[static_cast<std::size_t>(event.wave)];
  if (event.rank < 0 || event.rank >= std::ssize(ranks)) {
    throw InputError(fmt::format("timeline \"{}\"", timeline.source),
                     fmt::format("an event of rank {}", event.rank),
                     "the plan's " + plain_count(ranks.size(), "rank"));
  }
  return ranks[static_cast<std::size_t>(event.rank)];
}

const Instruction& instruction_of(const Timeline& timeline, const TimelineEvent& event,
                                  WavePrograms programs) {
  const auto& instructions = program_of(timeline, event, programs).instructions(event.pass);
  if (event.instruction < 0 || event.instruction >= std::ssize(instructions)) {
    throw InputError(fmt::format("timeline \"{}\"", timeline.source),
                     fmt::format("instruction {} of wave {}, {}, rank {}", event.instruction, event.wave,
                                 to_string(event.pass), event.rank),
                     "the program's " + plain_count(instructions.size(), "instruction"));
  }
  return instructions[static_cast<std::size_t>(event.instruction)];
}

}  // namespace strata
