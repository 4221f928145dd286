// SPDX-License-Identifier: Apache-2.0
// One rank and one device in each process of a job, with threads for processes, devices made of queues and a
// wire between them: the bits of all ranks on one device, one timeline on one clock, and errors that name
// rank, instruction and peers when a process lacks memory, stands still or loses its network.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/check.hpp"
#include "executor/check.hpp"
#include "executor/device/device_executor.hpp"
#include "executor/device/network_probe.hpp"
#include "executor/job/agreement.hpp"
#include "tests/executor/hand_programs.hpp"
#include "tests/executor/strategy_runs.hpp"
#include "tests/executor/thread_job.hpp"
#include "tests/support/host_network.hpp"
#include "tests/support/test_scale.hpp"

namespace strata {
namespace {

using testing::HostAccelerator;
using testing::HostAcceleratorOptions;
using testing::HostNetwork;
using testing::HostWire;
using testing::poisoned;
using testing::two_rank_execution;

constexpr Duration kLong{60'000'000'000};
constexpr Duration kShort{1'000'000'000};

/// What a test changes about one process before it runs.
struct Process {
  HostAcceleratorOptions device;
  std::int64_t network_fails_at = -1;
};

struct JobRun {
  ProcessRun run;                   ///< process 0's
  std::vector<std::string> thrown;  ///< by process
};

JobRun run_job(const Execution& execution, const DeviceOptions& options, Duration deadline,
               const std::function<Process(std::int32_t)>& process_of) {
  JobRun job;
  HostWire wire;
  const auto ranks = static_cast<std::int32_t>(execution.waves.front().programs.size());
  job.thrown = testing::run_job_of_threads(ranks, deadline, [&](testing::ThreadControl& control) {
    const Process own = process_of(control.process());
    HostAccelerator device(own.device);
    HostNetwork network(wire, device, control.process());
    network.fails_at = own.network_fails_at;
    network.healthy = 1;  // the probe's
    ProcessRun run = run_on_devices(execution, options, device, control, network);
    if (control.process() == 0) job.run = std::move(run);
  });
  return job;
}

Process seeded(std::uint64_t seed, std::int32_t process) {
  return {{.seed = seed * 31 + static_cast<std::uint64_t>(process)}};
}

RunResult run_well(const Execution& execution, const DeviceOptions& options, std::uint64_t seed) {
  JobRun job =
      run_job(execution, options, kLong, [&](std::int32_t process) { return seeded(seed, process); });
  for (const std::string& text : job.thrown) EXPECT_EQ(text, "");
  return std::move(job.run.result);
}

Execution two_waves() {
  Execution execution = two_rank_execution(ElementType::bf16);
  execution.waves.push_back(testing::two_rank_wave(
      execution.model, {.first_rows = 70, .second_rows = 31, .document = 1, .unsent_rows = 0}));
  return execution;
}

TEST(DeviceJob, EveryStrategyComputesWhatOneDeviceWouldInAnyOrderOfTheStreams) {
  std::uint64_t runs = 0;
  const auto run = [&](const Execution& execution, const DeviceOptions& options, std::uint64_t) {
    return run_well(execution, options, runs++);
  };
  testing::expect_random_batches(small_scale() ? 6 : 40, 500'000, run);
}

TEST(DeviceJob, GivesTheBitsOfAllRanksOnOneDevice) {
  DeviceOptions options = poisoned(5);
  options.layers = 3;
  options.repeats = 2;
  const Execution execution = two_waves();
  HostAccelerator device({.seed = 9});
  const RunResult one = run_on_device(execution, options, device);
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const RunResult job = run_well(execution, options, seed);
    EXPECT_EQ(job.results, one.results);
    EXPECT_EQ(job.sent, one.sent);
    EXPECT_EQ(job.arena, one.arena);
    EXPECT_EQ(job.wall.size(), 2U);
    EXPECT_TRUE(job.timeline.events.empty());
  }
}

TEST(DeviceJob, ItsTimelineHasEveryInstructionOnOneClockWaveAfterWave) {
  DeviceOptions options = poisoned(5);
  options.layers = 2;
  options.repeats = 2;
  options.record_timeline = true;
  options.source = "wire";
  const Execution execution = two_waves();
  const RunResult result = run_well(execution, options, 1);
  const Timeline& timeline = result.timeline;
  EXPECT_EQ(timeline.source, "wire");
  EXPECT_EQ(timeline.rank_count, 2);
  EXPECT_EQ(timeline.device_count, 2);
  EXPECT_GT(timeline.clock_error_ns, 0);
  std::size_t instructions = 0;
  for (const ExecutableWave& wave : execution.waves) {
    for (const RankProgram& program : wave.programs) {
      instructions += program.forward.size() + program.backward.size();
    }
  }
  EXPECT_EQ(timeline.events.size(), instructions * 2 * 2);
  EXPECT_TRUE(std::is_sorted(timeline.events.begin(), timeline.events.end(), key_less));
  std::vector<std::vector<std::int64_t>> begin(2, {INT64_MAX, INT64_MAX}), end(2, {0, 0});
  for (const TimelineEvent& event : timeline.events) {
    EXPECT_LE(0, event.posted_ns);
    EXPECT_LE(event.posted_ns, event.matched_ns);
    EXPECT_LE(event.matched_ns, event.end_ns);
    const auto repeat = static_cast<std::size_t>(event.repeat), wave = static_cast<std::size_t>(event.wave);
    begin[repeat][wave] = std::min(begin[repeat][wave], event.posted_ns);
    end[repeat][wave] = std::max(end[repeat][wave], event.end_ns);
    EXPECT_LE(event.end_ns, result.wall[repeat].ns + timeline.clock_error_ns);
  }
  for (std::size_t repeat = 0; repeat < 2; ++repeat) {
    EXPECT_LE(end[repeat][0], begin[repeat][1] + timeline.clock_error_ns) << "repeat " << repeat;
  }
}

TEST(DeviceJob, AnExchangeIsMatchedWhenTheLastOfItsRanksHasPosted) {
  DeviceOptions options = poisoned(5);
  options.record_timeline = true;
  const Execution execution = two_rank_execution(ElementType::f32);
  const RunResult result = run_well(execution, options, 3);
  std::vector<const TimelineEvent*> sends;
  for (const TimelineEvent& event : result.timeline.events) {
    const auto& program = execution.waves[0].programs[static_cast<std::size_t>(event.rank)];
    const auto& op = program.instructions(event.pass)[static_cast<std::size_t>(event.instruction)].op;
    if (event.pass == Pass::forward && exchange_of(op) != nullptr) sends.push_back(&event);
  }
  ASSERT_EQ(sends.size(), 2U);
  const std::int64_t met = std::max(sends[0]->posted_ns, sends[1]->posted_ns);
  for (const TimelineEvent* event : sends) {
    // The devices' clocks run unevenly; what that makes impossible must be within the stated error.
    EXPECT_EQ(event->matched_ns, std::min(met, event->end_ns));
    EXPECT_LE(met - event->end_ns, result.timeline.clock_error_ns);
  }
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(DeviceJob, AProcessWithoutMemoryEndsAllOfThemWithTheSameWords) {
  const JobRun job =
      run_job(two_rank_execution(ElementType::f32), poisoned(1), kLong, [&](std::int32_t process) {
        Process own = seeded(1, process);
        if (process == 1) own.device.memory = 1000;
        return own;
      });
  EXPECT_EQ(job.thrown[0], job.thrown[1]);
  EXPECT_TRUE(has(job.thrown[0], "rank 1: host device: found 1000 bytes free, expected at least "))
      << job.thrown[0];
  EXPECT_TRUE(has(job.thrown[0], " for the arena of rank 1")) << job.thrown[0];
}

/// Notes whom each exchange meets.
class NotingNetwork : public HostNetwork {
 public:
  using HostNetwork::HostNetwork;
  using Ways = std::set<std::tuple<std::int32_t, std::int32_t, bool>>;  ///< lane, peer, whether it sends
  void exchange(std::int32_t stream, std::int32_t lane, std::span<const NetworkPart> parts) override {
    Ways& ways = noted.emplace_back();
    for (const NetworkPart& part : parts) ways.emplace(lane, part.peer, part.sends);
    HostNetwork::exchange(stream, lane, parts);
  }
  std::vector<Ways> noted;  ///< [exchange]
};

TEST(DeviceJob, RanksThatExchangeMeetOnceBeforeAnythingIsTimed) {
  HostWire wire;
  const auto thrown = testing::run_job_of_threads(2, kLong, [&](testing::ThreadControl& control) {
    HostAccelerator device({.seed = 1});
    NotingNetwork network(wire, device, control.process());
    run_on_devices(two_waves(), poisoned(1), device, control, network);
    const std::int32_t peer = 1 - control.process();
    ASSERT_GT(network.noted.size(), 4U);
    EXPECT_EQ(network.noted.front(), (NotingNetwork::Ways{{0, peer, true}, {0, peer, false}}));
    EXPECT_EQ(network.noted[1].size(), 1U);  // the first of the program, which goes one way
  });
  EXPECT_EQ(thrown, std::vector<std::string>(2));
}

TEST(DeviceJob, ARankThatStandsStillIsMissedByTheRankThatWaitsForIt) {
  const JobRun job =
      run_job(two_rank_execution(ElementType::f32), poisoned(1), kShort, [&](std::int32_t process) {
        Process own = seeded(2, process);
        if (process == 0) own.device.hang_at = 0;
        return own;
      });
  EXPECT_TRUE(has(job.thrown[0], "rank 0: forward instruction ")) << job.thrown[0];
  EXPECT_TRUE(has(job.thrown[0], "has not ended: nothing has moved for 1 s")) << job.thrown[0];
  EXPECT_TRUE(has(job.thrown[1], "rank 1: backward instruction ")) << job.thrown[1];
  EXPECT_TRUE(
      has(job.thrown[1], "(Exchange) of wave 0, layer 0, with rank 0 has not ended: nothing has moved"))
      << job.thrown[1];
}

TEST(DeviceJob, ANetworkThatFailsWhileARankWaitsEndsItsRun) {
  const JobRun job =
      run_job(two_rank_execution(ElementType::f32), poisoned(1), kShort, [&](std::int32_t process) {
        Process own = seeded(2, process);
        own.network_fails_at = process == 1 ? 3 : -1;
        if (process == 0) own.device.hang_at = 0;  // or rank 1 would not have to wait
        return own;
      });
  EXPECT_TRUE(has(job.thrown[1],
                  "rank 1: forward instruction 0 (Exchange) of wave 0, layer 0, with rank 0: "
                  "the wire is cut") ||
              has(job.thrown[1],
                  "rank 1: backward instruction 0 (Exchange) of wave 0, layer 0, with rank 0: "
                  "the wire is cut"))
      << job.thrown[1];
  EXPECT_TRUE(has(job.thrown[0], "rank 0: ")) << job.thrown[0];
}

/// Finds out, while it issues an exchange, that another process has ended the job.
class NetworkOfAnEndedJob : public HostNetwork {
 public:
  using HostNetwork::HostNetwork;
  void exchange(std::int32_t stream, std::int32_t lane, std::span<const NetworkPart> parts) override {
    if (exchanges() > 0) throw JobEnded("rank 1 has ended the job with code 2", 2);
    HostNetwork::exchange(stream, lane, parts);
  }
};

TEST(DeviceJob, TheEndOfTheJobIsNoErrorOfTheExchangeThatNoticesIt) {
  HostWire wire;
  std::vector<int> codes(2, -1);
  testing::run_job_of_threads(2, kShort, [&](testing::ThreadControl& control) {
    HostAccelerator device({.seed = 1});
    NetworkOfAnEndedJob network(wire, device, control.process());
    try {
      run_on_devices(two_rank_execution(ElementType::f32), poisoned(1), device, control, network);
    } catch (const JobEnded& error) {
      codes[static_cast<std::size_t>(control.process())] = error.code();
    }
  });
  EXPECT_EQ(codes, std::vector<int>(2, 2));
}

/// What each of `processes` says of a network of two lanes that garbles what arrives at `garbled`.
std::vector<std::string> probe(std::int32_t processes, std::int32_t garbled, std::int32_t absent) {
  HostWire wire;
  return testing::run_job_of_threads(processes, kShort, [&](testing::ThreadControl& control) {
    HostAccelerator device({.seed = static_cast<std::uint64_t>(control.process())});
    HostNetwork network(wire, device, control.process());
    network.garbles = control.process() == garbled;
    if (control.process() != absent) probe_network(device, control, network, 2);
  });
}

TEST(NetworkProbe, PassesOnANetworkOfOneOrSeveral) {
  for (const std::int32_t processes : {1, 2, 5}) {
    EXPECT_EQ(probe(processes, -1, -1), std::vector<std::string>(static_cast<std::size_t>(processes)));
  }
}

TEST(NetworkProbe, OfAnExecutionNamesEveryRankThatNothingCameFrom) {
  Execution execution = two_rank_execution(ElementType::f32);
  ExecutableWave& wave = execution.waves.front();
  for (RankProgram& program : wave.programs) program.forward.clear();
  wave.programs.push_back(wave.programs.front());
  wave.programs[2].rank = 2;
  for (RankProgram& program : wave.programs) {
    Exchange exchange{0, 1, {}, {}};
    for (std::int32_t peer = 0; peer < 3; ++peer) {
      if (peer == program.rank) continue;
      exchange.sends.push_back({peer, 0, 0, 1});
      exchange.receives.push_back({peer, 0, 0, 1});
    }
    program.backward = {{exchange, lane_stream(1), {}}};
  }
  for (const std::int32_t absent : {-1, 1}) {
    HostWire wire;
    const auto thrown = testing::run_job_of_threads(3, kShort, [&](testing::ThreadControl& control) {
      HostAccelerator device({.seed = static_cast<std::uint64_t>(control.process())});
      HostNetwork network(wire, device, control.process());
      if (control.process() != absent) probe_peers(device, control, network, execution);
    });
    EXPECT_EQ(thrown[0], absent < 0 ? "" : "rank 0: testing lane 1: nothing from ranks 1, 2 for 1 s");
    EXPECT_EQ(thrown[1], "");
  }
}

TEST(NetworkProbe, NamesWhoGotOtherBytesAndWhoGotNone) {
  const auto garbled = probe(3, 1, -1);
  EXPECT_EQ(garbled[1], "rank 1: testing lane 0: found other bytes than rank 0 sent");
  EXPECT_EQ(probe(3, -1, 2)[0], "rank 0: testing lane 0: nothing from rank 2 for 1 s");
}

TEST(DeviceJob, ProgramsThatOnlyMeetWhenLanesRunBesideEachOtherAreRefused) {
  // Rank 0 issues lane 0 first, rank 1 lane 1: on one queue of each device neither could begin.
  Execution execution = two_rank_execution(ElementType::f32);
  EXPECT_EQ(run_well(execution, poisoned(1), 1).results.size(), 1U);
  for (RankProgram& program : execution.waves[0].programs) {
    program.lane_count = 2;
    std::vector<Instruction>& list = program.forward;
    const auto found = std::find_if(list.begin(), list.end(),
                                    [](const Instruction& each) { return exchange_of(each.op) != nullptr; });
    ASSERT_NE(found, list.end());
    Exchange second = *exchange_of(found->op);
    second.lane = 1;
    second.step += 1;
    Instruction twin = *found;
    twin.op = second;
    twin.stream = lane_stream(1);
    const auto at = program.rank == 0 ? found + 1 : found;
    // Later instructions wait for earlier ones by number; both exchanges now stand at the first one's place.
    const auto number = static_cast<std::int32_t>(found - list.begin());
    for (Instruction& each : list) {
      for (std::int32_t& before : each.wait_for) before += before >= number ? 1 : 0;
    }
    list.insert(at, twin);
  }
  const JobRun job =
      run_job(execution, poisoned(1), kShort, [&](std::int32_t process) { return seeded(1, process); });
  for (const std::string& text : job.thrown) EXPECT_TRUE(has(text, "can never end")) << text;
}

}  // namespace
}  // namespace strata
