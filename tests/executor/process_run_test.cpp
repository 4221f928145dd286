// SPDX-License-Identifier: Apache-2.0
// Runs of several processes, with threads in their place: results bitwise those of one process however the
// ranks are divided, one timeline on one clock, and errors that name ranks when processes disagree, fail or
// never meet.
#include "executor/job/process_run.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

#include "core/lowering/lower.hpp"
#include "executor/job/agreement.hpp"
#include "executor/job/clock_alignment.hpp"
#include "executor/job/process_results.hpp"
#include "planner/strategies/strategy_table.hpp"
#include "tests/executor/hand_programs.hpp"
#include "tests/executor/random_batches.hpp"
#include "tests/executor/thread_job.hpp"

namespace strata {
namespace {

using testing::run_job_of_threads;
using testing::ThreadControl;
using testing::two_rank_execution;

constexpr Duration kLong{60'000'000'000};
constexpr Duration kShort{1'000'000'000};

CpuOptions poisoned() {
  CpuOptions options;
  options.threads = 1;
  options.poison = true;
  options.seed = 7;
  return options;
}

/// Process 0's result; fails the test when a process throws.
RunResult run_divided(const Execution& execution, const CpuOptions& options, std::int32_t processes) {
  RunResult result;
  const auto thrown = run_job_of_threads(processes, kLong, [&](ThreadControl& control) {
    ProcessRun run = run_in_processes(execution, options, control, control.transports(), "threads");
    if (control.process() == 0) result = std::move(run.result);
  });
  for (const std::string& text : thrown) EXPECT_EQ(text, "");
  return result;
}

Execution planned(const std::string& strategy, std::uint64_t number) {
  Execution execution;
  const PlanOptions options = testing::random_options(number, 1);
  testing::RandomBatch batch = testing::random_batch(number, testing::BatchSize::small);
  batch.request.rank_count = 6;
  batch.request.model.kv_heads = 2;
  batch.request.model.query_heads = 6;
  batch.request.model.hidden = 6 * batch.request.model.head_dim;
  batch.request.exchange = options.exchange;
  execution.model = batch.request.model;
  for (const Strategy& each : all_strategies()) {
    if (each.name != strategy) continue;
    const Wave wave = make_wave(each, batch.request, options);
    execution.waves.push_back({lower_wave(wave, batch.request.model), wave.placement});
  }
  return execution;
}

TEST(ProcessRun, GivesTheBitsOfOneProcessHoweverTheRanksAreDivided) {
  std::uint64_t number = 1;
  for (const char* strategy : {"ring", "per_document", "allgather", "ulysses"}) {
    const Execution execution = planned(strategy, number++);
    CpuOptions options = poisoned();
    options.layers = 2;
    const RunResult one = run_on_cpu(execution, options);
    for (const std::int32_t processes : {1, 2, 4, 6, 7}) {
      const RunResult divided = run_divided(execution, options, processes);
      EXPECT_EQ(divided.results, one.results) << strategy << " in " << processes;
      EXPECT_EQ(divided.sent, one.sent) << strategy << " in " << processes;
      EXPECT_EQ(divided.arena, one.arena);
    }
  }
}

TEST(ProcessRun, TellsOneTimelineOfAllRanks) {
  const Execution execution = planned("ring", 3);
  CpuOptions options = poisoned();
  options.layers = 2;
  options.repeats = 2;
  const RunResult one = run_on_cpu(execution, options);
  const RunResult divided = run_divided(execution, options, 3);
  const Timeline& timeline = divided.timeline;
  EXPECT_EQ(timeline.source, "threads");
  EXPECT_EQ(timeline.device_count, 1);
  EXPECT_EQ(divided.wall.size(), 2U);
  EXPECT_GT(timeline.clock_error_ns, 0);
  ASSERT_EQ(timeline.events.size(), one.timeline.events.size());
  for (std::size_t i = 0; i < timeline.events.size(); ++i) {
    const TimelineEvent& event = timeline.events[i];
    EXPECT_FALSE(key_less(event, one.timeline.events[i]) || key_less(one.timeline.events[i], event)) << i;
    EXPECT_EQ(event.bytes, one.timeline.events[i].bytes) << i;
    EXPECT_LE(0, event.posted_ns);
    EXPECT_LE(event.posted_ns, event.matched_ns);
    EXPECT_LE(event.matched_ns, event.end_ns);
  }
}

TEST(ProcessRun, MatchesAnExchangeWhenItsLastParticipantHasPosted) {
  const Execution execution = two_rank_execution(ElementType::f32);
  CpuOptions options;
  options.threads = 1;
  const RunResult result = run_on_cpu(execution, options);
  std::vector<TimelineEvent> events = result.timeline.events;
  for (TimelineEvent& event : events) event.matched_ns = event.posted_ns;
  EXPECT_EQ(match_exchanges(execution, events), 0);
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].matched_ns, result.timeline.events[i].matched_ns) << i;
  }
  // A clock that is behind shows: its exchange ended before the other side began it.
  for (TimelineEvent& event : events) {
    if (event.rank == 0) event.posted_ns += 1'000'000'000, event.end_ns += 1'000'000'000;
  }
  EXPECT_GT(match_exchanges(execution, events), 900'000'000);
}

TEST(ProcessRun, NamesRankInstructionAndPeerWhenTheOtherSideNeverPosts) {
  const Execution execution = two_rank_execution(ElementType::f32);
  const auto thrown = run_job_of_threads(2, kShort, [&](ThreadControl& control) {
    if (control.process() == 0) {
      run_in_processes(execution, poisoned(), control, control.transports(), "threads");
      return;
    }
    // Takes part until the repeat starts and then does nothing, as a process that hangs would.
    control.all_gather("here", "finding machines");
    agree_on_success(control, "", "preparing the run");
    measure_clock(control);
    control.barrier("starting a repeat");
  });
  EXPECT_EQ(
      thrown[0],
      "rank 0: forward instruction 0 (Exchange) of wave 0, layer 0 cannot end, waits for rank 1: nothing "
      "has moved for 1 s");
}

TEST(Agreement, NamesTheRanksThatHoldSomethingElse) {
  const Execution execution = planned("ring", 1);
  Execution other = execution;
  other.plan_digest = "another";
  const auto thrown = run_job_of_threads(3, kLong, [&](ThreadControl& control) {
    agree(control, identify_run(control.process() == 1 ? other : execution, poisoned()), "");
  });
  for (const std::string& text : thrown) EXPECT_EQ(text, "ranks 2-3: plan another, the others have plan ");
}

TEST(Agreement, SeesProgramsExchangesAndOptions) {
  const Execution execution = planned("ring", 1);
  Execution reordered = execution;
  const RunIdentity identity = identify_run(execution, poisoned());
  for (RankProgram& program : reordered.waves.front().programs) {
    for (Instruction& instruction : program.forward) {
      auto* exchange = std::get_if<Exchange>(&instruction.op);
      if (exchange != nullptr) std::swap(exchange->sends, exchange->receives);
    }
  }
  const RunIdentity changed = identify_run(reordered, poisoned());
  std::vector<std::string> differing;
  for (std::size_t i = 0; i < identity.items.size(); ++i) {
    if (identity.items[i] != changed.items[i]) differing.push_back(identity.items[i].first);
  }
  EXPECT_EQ(differing, (std::vector<std::string>{"programs", "order of exchanges"}));
  CpuOptions more = poisoned();
  more.layers = 2;
  EXPECT_NE(identify_run(execution, more).items.back(), identity.items.back());
}

TEST(Agreement, NamesTheRanksThatFailed) {
  const Execution execution = planned("ring", 1);
  const auto thrown = run_job_of_threads(3, kLong, [&](ThreadControl& control) {
    if (control.process() == 2) return agree(control, std::nullopt, "p.json: found nothing");
    agree(control, identify_run(execution, poisoned()), "");
  });
  for (const std::string& text : thrown) EXPECT_EQ(text, "ranks 4-5: p.json: found nothing");
}

TEST(Agreement, SaysOnceWhatAllRanksFailedAt) {
  const auto thrown = run_job_of_threads(
      3, kLong, [&](ThreadControl& control) { agree(control, std::nullopt, "p.json: found nothing"); });
  for (const std::string& text : thrown) EXPECT_EQ(text, "all ranks: p.json: found nothing");
}

TEST(Control, GivesEveryRankToOneProcess) {
  testing::Mailboxes boxes;
  for (const std::int32_t processes : {1, 2, 3, 4, 7, 16}) {
    const ThreadControl control(boxes, 0, processes, kLong);
    for (const std::int32_t ranks : {1, 2, 5, 8, 16, 1000}) {
      std::int32_t next = 0;
      for (std::int32_t process = 0; process < processes; ++process) {
        const RankBlock block = control.block(process, ranks);
        EXPECT_EQ(block.begin, next);
        for (std::int32_t rank = block.begin; rank < block.end; ++rank) {
          EXPECT_EQ(std::int64_t{rank} * processes / ranks, process) << rank << " of " << ranks;
        }
        next = block.end;
      }
      EXPECT_EQ(next, ranks);
    }
  }
}

TEST(Control, TellsWhichMachinesServeTheRanksUnlessTheySplitThemEvenly) {
  testing::Mailboxes boxes;
  const auto machines = [&](const std::vector<std::string>& names, std::int32_t ranks) {
    const ThreadControl control(boxes, 0, static_cast<std::int32_t>(names.size()), kLong);
    return machines_of_ranks(control, names, ranks);
  };
  using Numbers = std::vector<std::int32_t>;
  EXPECT_EQ(machines({"a"}, 4), Numbers());
  EXPECT_EQ(machines({"b", "b", "a", "a"}, 8), Numbers());
  EXPECT_EQ(machines({"a", "a", "a", "b"}, 4), (Numbers{0, 0, 0, 1}));
  EXPECT_EQ(machines({"b", "a", "b", "a"}, 4), (Numbers{0, 1, 0, 1}));
  EXPECT_EQ(machines({"a", "b", "b"}, 6), (Numbers{0, 0, 1, 1, 1, 1}));
}

TEST(Control, NumbersTheProcessesOfAMachine) {
  std::vector<std::int32_t> numbers(3, -1);
  run_job_of_threads(3, kLong, [&](ThreadControl& control) {
    numbers[static_cast<std::size_t>(control.process())] = number_on_machine(control);
  });
  EXPECT_EQ(numbers, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(Control, NamesTheProcessThatDoesNotAnswer) {
  const auto thrown = run_job_of_threads(3, kShort, [&](ThreadControl& control) {
    control.set_rank_count(3);
    if (control.process() != 1) control.barrier("waiting");
  });
  EXPECT_EQ(thrown[0], "rank 0: waiting: no word from rank 1 for 1 s");
}

TEST(Clock, IsTheOneOfProcessZero) {
  std::mutex mutex;
  std::vector<ClockSample> samples(3);
  run_job_of_threads(3, kLong, [&](ThreadControl& control) {
    const ClockSample sample = measure_clock(control);
    const std::lock_guard lock(mutex);
    samples[static_cast<std::size_t>(control.process())] = sample;
  });
  EXPECT_EQ(samples[0].offset_ns, 0);
  for (const ClockSample& sample : samples) {  // threads have one clock, so the offset is all error
    EXPECT_LE(std::abs(sample.offset_ns), sample.error_ns);
  }
}

TEST(Clock, DriftsLinearlyBetweenItsSamples) {
  const ClockMap map{{1'000, 50, 3}, {2'000, 70, 5}};
  EXPECT_EQ(map.to_reference(1'000), 1'050);
  EXPECT_EQ(map.to_reference(1'500), 1'560);
  EXPECT_EQ(map.to_reference(2'000), 2'070);
  EXPECT_EQ(map.error_ns(), 5);
}

TEST(Patience, CountsAGapAsOneSecondAtMost) {
  Patience patience(Duration{3'000'000'000});
  EXPECT_FALSE(patience.exhausted(1));
  EXPECT_FALSE(patience.exhausted(100'000'000'000));  // stopped for 100 s
  for (std::int64_t second = 101; second <= 102; ++second) {
    EXPECT_FALSE(patience.exhausted(second * 1'000'000'000));
  }
  EXPECT_TRUE(patience.exhausted(103'000'000'001));
}

}  // namespace
}  // namespace strata
