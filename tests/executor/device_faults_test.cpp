// SPDX-License-Identifier: Apache-2.0
// What the executor of one device records, and what it says when a device or a program fails it: times that
// keep the order, too little memory, a launch that never ends or is refused, ranks that wait for each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "core/base/check.hpp"
#include "executor/check.hpp"
#include "executor/device/device_executor.hpp"
#include "executor/device_error.hpp"
#include "tests/executor/hand_programs.hpp"
#include "tests/support/host_accelerator.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using testing::HostAccelerator;
using testing::HostAcceleratorOptions;
using testing::two_rank_execution;

DeviceOptions poisoned() {
  DeviceOptions options;
  options.poison = true;
  options.threads = 1;
  return options;
}

RunResult run(const Execution& execution, const DeviceOptions& options,
              const HostAcceleratorOptions& settings = {}) {
  HostAccelerator device(settings);
  return run_on_device(execution, options, device);
}

CheckReport check_all(const Execution& execution, const RunResult& result) {
  CheckOptions options;
  options.threads = 1;
  return check_results(execution, result.results, options);
}

/// At small scale of fewer rows: the device runs on this thread alone, which a sanitizer makes slow.
Execution two_waves(ElementType type) {
  const std::int64_t part = small_scale() ? 4 : 1;
  Execution execution = two_rank_execution(type, {.first_rows = 100 / part, .second_rows = 90 / part});
  execution.waves.push_back(testing::two_rank_wave(
      execution.model, {.first_rows = 70 / part, .second_rows = 31 / part, .document = 1, .unsent_rows = 0}));
  return execution;
}

std::string message_of(const Execution& execution, const DeviceOptions& options,
                       const HostAcceleratorOptions& settings, int* rank) {
  try {
    run(execution, options, settings);
  } catch (const DeviceError& error) {
    *rank = error.rank();
    return error.what();
  }
  return "no error";
}

TEST(DeviceRun, EveryLaunchIsIssuedInTheRangesOfItsPassAndInstruction) {
  const Execution execution = two_rank_execution(ElementType::f32);
  DeviceOptions options = poisoned();
  options.layers = 2;
  HostAccelerator device({.seed = 2});
  run_on_device(execution, options, device);
  EXPECT_EQ(device.open_ranges(), 0U);
  ASSERT_FALSE(device.launch_ranges().empty());
  std::int64_t attention = 0;
  for (const std::string& names : device.launch_ranges()) {
    const bool forward = names.find("forward of layer ") == 0,
               backward = names.find("backward of layer ") == 0;
    EXPECT_TRUE(forward || backward) << names;
    EXPECT_NE(names.find(" / rank "), std::string::npos) << names;
    EXPECT_NE(names.find(forward ? " forward " : " backward ", names.find(" / ")), std::string::npos)
        << names;
    if (names.find(" Attention") != std::string::npos) ++attention;
  }
  EXPECT_GT(attention, 0);
  EXPECT_EQ(device.launch_ranges().front().find("forward of layer 0 / rank "), 0U);
  EXPECT_EQ(device.launch_ranges().back().find("backward of layer 0 / rank "), 0U);
}

TEST(DeviceRun, WavesLayersAndRepeatsGiveTheResultsOfOneDevice) {
  for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
    const Execution execution = two_waves(type);
    DeviceOptions options = poisoned();
    options.layers = 3;
    options.repeats = 2;
    const RunResult result = run(execution, options, {.seed = 3});
    const CheckReport report = check_all(execution, result);
    EXPECT_TRUE(report.passed()) << report.to_text();
    EXPECT_EQ(result.wall.size(), 2U);
    for (const bool serial : {false, true}) {
      options.serial = serial;
      options.poison = !options.poison;
      options.record_timeline = serial;
      EXPECT_TRUE(run(execution, options, {.seed = 4}).results == result.results) << "serial " << serial;
    }
  }
}

/// The programs' exchanges and sums of bytes and FLOPs, and nothing runs before what it waits for.
void expect_sound_times(const Execution& execution, const RunResult& result, const DeviceOptions& options) {
  const std::vector<TimelineEvent>& events = result.timeline.events;
  std::size_t per_layer = 0;
  for (const ExecutableWave& wave : execution.waves) {
    for (const RankProgram& program : wave.programs) {
      per_layer += program.forward.size() + program.backward.size();
    }
  }
  ASSERT_EQ(events.size(),
            per_layer * static_cast<std::size_t>(options.layers) * static_cast<std::size_t>(options.repeats));
  EXPECT_TRUE(std::is_sorted(events.begin(), events.end(), key_less));
  Bytes sent;
  for (std::size_t e = 0; e < events.size(); ++e) {
    const TimelineEvent& event = events[e];
    const RankProgram& program =
        execution.waves[static_cast<std::size_t>(event.wave)].programs[static_cast<std::size_t>(event.rank)];
    const Instruction& instruction =
        program.instructions(event.pass)[static_cast<std::size_t>(event.instruction)];
    EXPECT_LE(0, event.posted_ns);
    EXPECT_LE(event.posted_ns, event.matched_ns);
    EXPECT_LE(event.matched_ns, event.end_ns);
    EXPECT_LE(event.end_ns, result.wall[static_cast<std::size_t>(event.repeat)].ns);
    EXPECT_EQ(event.bytes, sent_bytes(program, instruction.op).count);
    EXPECT_EQ(event.flops, operation_flops(program, instruction.op).count);
    for (const std::int32_t before : instruction.wait_for) {
      const TimelineEvent& waited = events[e - static_cast<std::size_t>(event.instruction - before)];
      EXPECT_LE(waited.end_ns, event.posted_ns);
    }
    if (event.repeat == 0) sent.count += event.bytes;
  }
  EXPECT_EQ(result.sent, sent);
  EXPECT_GT(sent.count, 0);
}

TEST(DeviceRun, TimesFollowTheProgramsInAnyOrderOfTheStreams) {
  const Execution execution = two_waves(ElementType::f32);
  DeviceOptions options = poisoned();
  options.layers = 3;
  options.repeats = 2;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const RunResult result = run(execution, options, {.seed = seed});
    EXPECT_EQ(result.timeline.source, "cuda");
    expect_sound_times(execution, result, options);
  }
}

TEST(DeviceRun, SeriallyNothingRunsBesideAnythingElse) {
  const Execution execution = two_waves(ElementType::f32);
  DeviceOptions options = poisoned();
  options.layers = 2;
  options.serial = true;
  const RunResult result = run(execution, options, {.seed = 5});
  expect_sound_times(execution, result, options);
  EXPECT_EQ(result.timeline.source, "cuda-serial");
  std::vector<TimelineEvent> computed;
  for (const TimelineEvent& event : result.timeline.events) {
    if (event.flops > 0) computed.push_back(event);
  }
  std::sort(computed.begin(), computed.end(),
            [](const TimelineEvent& a, const TimelineEvent& b) { return a.posted_ns < b.posted_ns; });
  ASSERT_GT(computed.size(), 8U);
  for (std::size_t i = 1; i < computed.size(); ++i) {
    EXPECT_LE(computed[i - 1].end_ns, computed[i].posted_ns);
  }
}

TEST(DeviceRun, WithoutATimelineThereAreNoEventsAndNoTimedOnesAreNeeded) {
  DeviceOptions options = poisoned();
  options.record_timeline = false;
  const RunResult result = run(two_waves(ElementType::f32), options);
  EXPECT_TRUE(result.timeline.events.empty());
  EXPECT_GT(result.wall.front().ns, 0);
}

TEST(DeviceRun, PoisonShowsARowThatIsReadButNeverWrittenInEveryLayer) {
  const Execution execution = two_rank_execution(ElementType::f32, {.unsent_rows = 1});
  DeviceOptions options = poisoned();
  options.layers = 2;
  const RunResult result = run(execution, options);
  EXPECT_TRUE(std::isnan(check_all(execution, result).max_relative_l2()));
  options.poison = false;
  EXPECT_FALSE(check_all(execution, run(execution, options)).passed());
}

TEST(DeviceRun, RunsRanksWithoutAnyToken) {
  Execution execution = two_rank_execution(ElementType::f32);
  ExecutableWave& wave = execution.waves.front();
  for (std::int32_t rank = 2; rank < 5; ++rank) {
    RankProgram idle;
    idle.rank = rank;
    wave.programs.push_back(idle);
    wave.placement.spans.emplace_back();
  }
  for (const bool serial : {false, true}) {
    DeviceOptions options = poisoned();
    options.serial = serial;
    EXPECT_TRUE(check_all(execution, run(execution, options)).passed());
  }
}

TEST(DeviceFaults, TooLittleMemoryIsSaidBeforeAnythingRuns) {
  const Execution execution = two_rank_execution(ElementType::f32);
  std::int64_t arenas = 0;
  for (const RankProgram& program : execution.waves.front().programs) arenas += program.arena.count;
  for (const std::int64_t memory : {arenas - 1, arenas + 1}) {
    HostAcceleratorOptions settings;
    settings.memory = memory;
    HostAccelerator device(settings);
    try {
      run_on_device(execution, poisoned(), device);
      ADD_FAILURE() << "no error";
    } catch (const DeviceError& error) {
      const std::string free = std::to_string(memory < arenas ? memory : memory - arenas);
      EXPECT_EQ(
          std::string(error.what()).find("host device: found " + free + " bytes free, expected at least"), 0U)
          << error.what();
    }
    EXPECT_EQ(device.launches(), 0);
  }
}

TEST(DeviceFaults, ALaunchThatNeverEndsIsNamedAtTheDeadline) {
  const Execution execution = two_rank_execution(ElementType::f32);
  DeviceOptions options = poisoned();
  options.deadline = {20'000'000};
  for (const bool timeline : {true, false}) {
    options.record_timeline = timeline;
    HostAcceleratorOptions settings;
    for (settings.hang_at = 0; settings.hang_at < 8; ++settings.hang_at) {
      int rank = -2;
      const std::string message = message_of(execution, options, settings, &rank);
      EXPECT_TRUE(rank == 0 || rank == 1) << message;
      EXPECT_NE(message.find("has not ended: nothing has moved for 0.02 s"), std::string::npos) << message;
      EXPECT_NE(message.find(" of wave 0, layer 0"), std::string::npos) << message;
    }
  }
}

/// Both ranks cast their key gradients again and again, more often than a queue of the driver has entries.
Execution long_execution(std::size_t casts) {
  Execution execution = two_rank_execution(ElementType::f32, {.first_rows = 3, .second_rows = 2});
  for (RankProgram& program : execution.waves.front().programs) {
    program.backward.insert(program.backward.end(), casts, Instruction(program.backward.back()));
  }
  return execution;
}

TEST(DeviceFaults, ALaunchThatNeverEndsIsNamedHoweverMuchThereIsToIssueBehindIt) {
  DeviceOptions options = poisoned();
  options.deadline = {20'000'000};
  for (const std::int64_t launch : {0, 3, 9, 700}) {
    int rank = -2;
    const std::string message =
        message_of(long_execution(2000), options, {.hang_at = launch, .queue_limit = 1000}, &rank);
    EXPECT_TRUE(rank == 0 || rank == 1) << message;
    EXPECT_EQ(message.find(" instruction "), message.rfind(" instruction ")) << message;
    EXPECT_NE(message.find("has not ended: nothing has moved for 0.02 s"), std::string::npos) << message;
  }
}

TEST(DeviceFaults, LongProgramsGiveTheSameResultsInQueuesOfAnySize) {
  const Execution execution = long_execution(1000);
  DeviceOptions options = poisoned();
  options.layers = 2;
  const RunResult roomy = run(execution, options, {.seed = 1});
  EXPECT_EQ(run(execution, options, {.seed = 2, .queue_limit = 1000}).results, roomy.results);
  options.record_timeline = false;
  EXPECT_EQ(run(execution, options, {.seed = 3, .queue_limit = 1000}).results, roomy.results);
}

/// A device whose thread is stopped for longer than the deadline, once, while it waits.
class StoppedAccelerator : public HostAccelerator {
 public:
  using HostAccelerator::HostAccelerator;
  bool happened(std::int32_t event) override {
    if (++looks_ == 2) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    return looks_ > 2 && HostAccelerator::happened(event);
  }

 private:
  int looks_ = 0;
};

TEST(DeviceFaults, TimeInWhichTheProcessItselfWasStoppedIsNotHeldAgainstTheDevice) {
  DeviceOptions options = poisoned();
  options.deadline = {2'000'000'000};
  StoppedAccelerator device({.seed = 1});
  EXPECT_NO_THROW(run_on_device(two_rank_execution(ElementType::f32), options, device));
}

TEST(DeviceFaults, ARefusedLaunchNamesItsInstruction) {
  int rank = -2;
  const std::string message =
      message_of(two_rank_execution(ElementType::f32), poisoned(), {.refuse_at = 0}, &rank);
  EXPECT_EQ(rank, 0);
  EXPECT_EQ(message, "rank 0: forward instruction 1 (Attention) of wave 0, layer 0: launch refused");
}

TEST(DeviceFaults, RanksThatWaitForEachOtherAreRefusedBeforeAnythingRuns) {
  const Execution execution = testing::execution_that_waits_in_a_circle();
  HostAccelerator device({});
  try {
    run_on_device(execution, poisoned(), device);
    ADD_FAILURE() << "no error";
  } catch (const DeviceError& error) {
    EXPECT_TRUE(error.rank() == 0 || error.rank() == 1);
    EXPECT_NE(std::string(error.what()).find("forward instruction 0 (Exchange) can never end"),
              std::string::npos)
        << error.what();
  }
  EXPECT_EQ(device.launches(), 0);
}

TEST(DeviceFaults, RowsOutsideTheirBufferAndWrongArenasAreBugs) {
  const Execution execution = two_rank_execution(ElementType::f32);
  Execution rows = execution;
  std::get<Exchange>(rows.waves.front().programs[0].forward[0].op).sends[0].row = 1;
  EXPECT_THROW(run(rows, poisoned()), InternalError);
  Execution arena = execution;
  arena.waves.front().programs[1].arena.count += kArenaAlignment;
  EXPECT_THROW(run(arena, poisoned()), InternalError);
  Execution heads = execution;
  std::get<Attention>(heads.waves.front().programs[0].forward[1].op).blocks[0].heads.end += 1;
  EXPECT_THROW(run(heads, poisoned()), InternalError);
}

}  // namespace
}  // namespace strata
