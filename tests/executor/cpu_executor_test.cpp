// SPDX-License-Identifier: Apache-2.0
// The CPU executor on programs written by hand: right numbers, bitwise the same whatever the threads and
// delays, arenas of exactly the declared size, bytes as declared, and errors instead of wrong answers or
// hangs.
#include "executor/cpu/cpu_executor.hpp"
#include "executor/device_error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/base/check.hpp"
#include "executor/check.hpp"
#include "tests/executor/hand_programs.hpp"

namespace strata {
namespace {

using testing::two_rank_execution;
using testing::two_rank_wave;

CpuOptions poisoned(std::int32_t threads) {
  CpuOptions options;
  options.threads = threads;
  options.poison = true;
  options.seed = 7;
  return options;
}

CheckReport check_all(const Execution& execution, const RunResult& result) {
  CheckOptions options;
  options.threads = 1;
  options.seed = 7;
  return check_results(execution, result.results, options);
}

std::string message_of(const Execution& execution, const CpuOptions& options, int* rank = nullptr) {
  try {
    run_on_cpu(execution, options);
  } catch (const DeviceError& error) {
    if (rank != nullptr) *rank = error.rank();
    return error.what();
  }
  return "no DeviceError";
}

bool any_nan(const std::vector<std::byte>& floats) {
  for (std::size_t i = 0; i + 4 <= floats.size(); i += 4) {
    float value = 0;
    std::memcpy(&value, floats.data() + i, 4);
    if (std::isnan(value)) return true;
  }
  return false;
}

TEST(CpuExecutor, RunsAHandWrittenProgramOfTwoRanksToWhatOneDeviceWouldCompute) {
  for (const ElementType type : {ElementType::f32, ElementType::bf16, ElementType::f16}) {
    for (const std::int32_t threads : {1, 2, 3}) {
      const Execution execution = two_rank_execution(type);
      const RunResult result = run_on_cpu(execution, poisoned(threads));
      const CheckReport report = check_all(execution, result);
      EXPECT_TRUE(report.passed()) << report.to_text();
      EXPECT_GT(report.max_relative_l2(), 0);
    }
  }
}

TEST(CpuExecutor, RunsSeveralLayersRepeatsAndWaves) {
  Execution execution = two_rank_execution(ElementType::f32);
  execution.waves.push_back(
      two_rank_wave(execution.model, {.first_rows = 33, .second_rows = 150, .document = 1}));
  CpuOptions options = poisoned(2);
  options.layers = 3;
  options.repeats = 2;
  const RunResult result = run_on_cpu(execution, options);
  EXPECT_EQ(result.wall.size(), 2U);
  const CheckReport report = check_all(execution, result);
  EXPECT_TRUE(report.passed()) << report.to_text();
}

TEST(CpuExecutor, GivesBitwiseEqualResultsOverThreadsAndRandomDelays) {
  const Execution execution = two_rank_execution(ElementType::bf16);
  const RunResult expected = run_on_cpu(execution, poisoned(1));
  for (std::uint64_t run = 0; run < 20; ++run) {
    CpuOptions options = poisoned(std::array{1, 2, 4}[run % 3]);
    options.random_delay = {200'000};
    options.delay_seed = run;
    EXPECT_EQ(run_on_cpu(execution, options).results, expected.results) << "run " << run;
  }
}

TEST(CpuExecutor, RecordsOneEventPerInstructionInOrderOfItsKey) {
  const Execution execution = two_rank_execution(ElementType::f32);
  CpuOptions options = poisoned(2);
  options.layers = 2;
  options.repeats = 3;
  const RunResult result = run_on_cpu(execution, options);
  const std::vector<TimelineEvent>& events = result.timeline.events;
  const auto& programs = execution.waves.front().programs;
  std::size_t per_layer = 0;
  for (const RankProgram& program : programs) per_layer += program.forward.size() + program.backward.size();
  EXPECT_EQ(events.size(), per_layer * 2 * 3);
  EXPECT_TRUE(std::is_sorted(events.begin(), events.end(), key_less));
  EXPECT_EQ(std::adjacent_find(events.begin(), events.end(),
                               [](const auto& a, const auto& b) { return !key_less(a, b); }),
            events.end());
  Bytes sent;
  for (const TimelineEvent& event : events) {
    const RankProgram& program = programs[static_cast<std::size_t>(event.rank)];
    const Operation& op = program.instructions(event.pass)[static_cast<std::size_t>(event.instruction)].op;
    EXPECT_LE(0, event.posted_ns);
    EXPECT_LE(event.posted_ns, event.matched_ns);
    EXPECT_LE(event.matched_ns, event.end_ns);
    EXPECT_EQ(event.bytes, sent_bytes(program, op).count);
    EXPECT_EQ(event.flops, operation_flops(program, op).count);
    if (kind_name(op) == "TokenWork.linear") {
      EXPECT_EQ(event.posted_ns, event.end_ns);
    }
    if (event.repeat == 0) sent.count += event.bytes;
  }
  EXPECT_FALSE(result.timeline.linear_included);
  EXPECT_EQ(result.sent, sent);
  EXPECT_GT(sent.count, 0);
}

TEST(CpuExecutor, StartsNoInstructionBeforeWhatItWaitsFor) {
  const Execution execution = two_rank_execution(ElementType::f32);
  CpuOptions options = poisoned(4);
  options.random_delay = {100'000};
  const RunResult result = run_on_cpu(execution, options);
  const auto find = [&](std::int32_t rank, Pass pass, std::int32_t instruction) {
    return *std::find_if(
        result.timeline.events.begin(), result.timeline.events.end(), [&](const auto& event) {
          return event.rank == rank && event.pass == pass && event.instruction == instruction;
        });
  };
  for (const RankProgram& program : execution.waves.front().programs) {
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      const auto& instructions = program.instructions(pass);
      for (std::int32_t i = 0; i < std::ssize(instructions); ++i) {
        for (const std::int32_t before : instructions[static_cast<std::size_t>(i)].wait_for) {
          EXPECT_LE(find(program.rank, pass, before).end_ns, find(program.rank, pass, i).posted_ns);
        }
      }
    }
  }
  // Both ends of an exchange learn of their meeting at the same time.
  EXPECT_EQ(find(0, Pass::forward, 0).matched_ns, find(1, Pass::forward, 0).matched_ns);
}

TEST(CpuExecutor, AllocatesExactlyTheArenaThatTheProgramDeclares) {
  Execution execution = two_rank_execution(ElementType::f32);
  for (RankProgram& program : execution.waves.front().programs) {
    // Buffers that no instruction names take no room, so the last one used ends the arena.
    program.buffers.resize(14);
  }
  const RunResult result = run_on_cpu(execution, poisoned(1));
  for (std::size_t rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(result.arena[rank], execution.waves.front().programs[rank].arena);
  }
  execution.waves.front().programs[1].arena.count += kArenaAlignment;
  EXPECT_THROW(run_on_cpu(execution, poisoned(1)), InternalError);
}

TEST(CpuExecutor, PoisonShowsARowThatIsReadButNeverWritten) {
  const Execution execution = two_rank_execution(ElementType::f32, {.unsent_rows = 1});
  const RunResult result = run_on_cpu(execution, poisoned(1));
  EXPECT_TRUE(any_nan(result.results[0][1].o));
  EXPECT_FALSE(check_all(execution, result).passed());
  EXPECT_TRUE(std::isnan(check_all(execution, result).max_relative_l2()));
}

TEST(CpuExecutor, PoisonComesBackInEveryLayer) {
  // The first layer's rows would hide that a later layer never receives its own, were they not poisoned
  // again.
  Execution execution = two_rank_execution(ElementType::f32, {.unsent_rows = 1});
  CpuOptions options = poisoned(2);
  options.layers = 2;
  const RunResult result = run_on_cpu(execution, options);
  EXPECT_TRUE(any_nan(result.results[0][1].dq));
}

TEST(CpuExecutor, NamesRankAndInstructionWhenTwoRanksWaitForEachOther) {
  const Execution execution = testing::execution_that_waits_in_a_circle();
  for (const std::int32_t threads : {1, 2, 4}) {
    int rank = -1;
    const std::string message = message_of(execution, poisoned(threads), &rank);
    EXPECT_EQ(rank, 0);
    EXPECT_NE(message.find(
                  "rank 0: forward instruction 0 (Exchange) of wave 0, layer 0 cannot end, waits for rank 1"),
              std::string::npos)
        << message;
    EXPECT_NE(message.find("rank 1: forward instruction 0"), std::string::npos) << message;
  }
}

TEST(CpuExecutor, NamesTheSendThatNobodyReceives) {
  Execution execution = two_rank_execution(ElementType::f32);
  RankProgram& program = execution.waves.front().programs[1];
  program.backward.push_back({Exchange{2, 0, {{0, 3, 0, 1}}, {}}, lane_stream(0), {}});
  int rank = -1;
  const std::string message = message_of(execution, poisoned(2), &rank);
  EXPECT_EQ(rank, 1);
  EXPECT_NE(message.find("backward instruction 9 (Exchange)"), std::string::npos) << message;
}

TEST(CpuExecutor, StopsARunThatPassesItsDeadline) {
  CpuOptions options = poisoned(2);
  options.random_delay = {20'000'000};
  options.deadline = {1'000'000};
  const std::string message = message_of(two_rank_execution(ElementType::f32), options);
  EXPECT_NE(message.find("the deadline has passed"), std::string::npos) << message;
}

TEST(CpuExecutor, RefusesRowsOutsideTheirBuffer) {
  Execution execution = two_rank_execution(ElementType::f32);
  auto& exchange = std::get<Exchange>(execution.waves.front().programs[0].forward[0].op);
  exchange.sends[0].row = 1;
  EXPECT_THROW(run_on_cpu(execution, poisoned(1)), InternalError);
}

TEST(CpuExecutor, RunsRanksWithoutAnyToken) {
  Execution execution = two_rank_execution(ElementType::f32);
  ExecutableWave& wave = execution.waves.front();
  for (std::int32_t rank = 2; rank < 5; ++rank) {
    RankProgram idle;
    idle.rank = rank;
    wave.programs.push_back(idle);
    wave.placement.spans.emplace_back();
  }
  const RunResult result = run_on_cpu(execution, poisoned(2));
  EXPECT_TRUE(check_all(execution, result).passed());
}

TEST(CpuExecutor, RunsAMillionLayersOfRanksWithNothingToDo) {
  Execution execution = two_rank_execution(ElementType::f32);
  ExecutableWave& wave = execution.waves.front();
  for (RankProgram& program : wave.programs) {
    const std::int32_t rank = program.rank;
    program = {};
    program.rank = rank;
  }
  for (auto& spans : wave.placement.spans) spans.clear();
  CpuOptions options;
  options.threads = 1;
  options.layers = 1'000'000;
  EXPECT_EQ(run_on_cpu(execution, options).sent, Bytes{});
}

}  // namespace
}  // namespace strata
