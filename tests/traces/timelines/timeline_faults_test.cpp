// SPDX-License-Identifier: Apache-2.0
// A timeline is the programs' whole work or says what it lacks.
#include "traces/timelines/timeline_faults.hpp"

#include <gtest/gtest.h>

#include <variant>

#include "tests/core/json/bad_input.hpp"
#include "tests/traces/timelines/small_run.hpp"

namespace strata {
namespace {

/// small_programs with the buffers whose width its FLOPs follow.
std::vector<std::vector<RankProgram>> whole_programs() {
  auto programs = test::small_programs();
  for (RankProgram& program : programs.front()) {
    for (Instruction& instruction : program.forward) {
      if (auto* op = std::get_if<Attention>(&instruction.op)) op->queries.front().out = 2;
    }
    for (Instruction& instruction : program.backward) {
      std::get<AttentionBackward>(instruction.op).queries.front().d_o = 2;
    }
  }
  return programs;
}

/// With the work of whole_programs.
Timeline whole_timeline() {
  Timeline timeline = test::small_timeline();
  const auto programs = whole_programs();
  for (TimelineEvent& event : timeline.events) {
    const Operation& op = instruction_of(timeline, event, programs).op;
    const RankProgram& program = program_of(timeline, event, programs);
    event.bytes = sent_bytes(program, op).count;
    event.flops = operation_flops(program, op).count;
  }
  return timeline;
}

TEST(TimelineFaults, AWholeRunHasNone) {
  EXPECT_EQ(timeline_faults(whole_timeline(), whole_programs()), (TimelineFaults{8, 0, 0, ""}));
}

TEST(TimelineFaults, EveryRepeatHasEveryInstruction) {
  Timeline timeline = whole_timeline();
  const std::vector<TimelineEvent> once = timeline.events;
  timeline.repeats = 2;
  for (TimelineEvent event : once) {
    event.repeat = 1;
    timeline.events.push_back(event);
  }
  timeline.events.pop_back();
  EXPECT_EQ(timeline_faults(timeline, whole_programs()), (TimelineFaults{16, 1, 0, ""}));
}

TEST(TimelineFaults, CountsEventsOfOtherWorkAndNamesTheFirst) {
  Timeline timeline = whole_timeline();
  timeline.events[2].flops += 1;
  timeline.events[3].bytes += 1;
  const TimelineFaults faults = timeline_faults(timeline, whole_programs());
  EXPECT_EQ(faults.differing, 2);
  EXPECT_EQ(faults.first_differing.rfind("events[2]: ", 0), 0U) << faults.first_differing;
  EXPECT_NE(faults.first_differing.find(" FLOPs, but the program has "), std::string::npos);
}

TEST(TimelineFaults, RefusesEventsOfNoProgram) {
  Timeline timeline = whole_timeline();
  timeline.events[0].instruction = 99;
  EXPECT_NE(test::input_error([&] { timeline_faults(timeline, whole_programs()); }), "");
}

}  // namespace
}  // namespace strata
