// SPDX-License-Identifier: Apache-2.0
// What lowering costs for each thing that it makes: the counters are nanoseconds, read one line against the
// next. `program` lowers a few ranks, `places` derives the waits and places of finished programs anew,
// `digest` reads programs, `held_rows` looks up pieces that arrived in many steps. Where the cost is in
// proportion to the work a counter stays the same from line to line, but for caches and logarithms; `growth`
// is the ratio to the first line of the same name.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/recorded_pack.hpp"
#include "core/lowering/held_rows.hpp"
#include "core/lowering/lower.hpp"
#include "core/lowering/program_builder.hpp"
#include "core/program/program_digest.hpp"
#include "core/schedule/backward_schedule.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata {
namespace {

/// A wave with its way back.
struct Lowerable {
  ModelShape model = named_model("llama3_8b");
  Wave wave;
  CommSchedule backward;

  Lowerable(const char* strategy, std::vector<std::int64_t> lengths, std::int64_t ranks) {
    WaveRequest request;
    request.lengths = std::move(lengths);
    for (std::size_t i = 0; i < request.lengths.size(); ++i) {
      request.documents.push_back(static_cast<std::int32_t>(i));
    }
    request.rank_count = static_cast<std::int32_t>(ranks);
    request.model = model;
    wave = make_wave(strategy_named(strategy), request, {});
    backward = derive_backward(wave, model);
  }
};

/// The recorded pack on state.range(0) ranks.
Lowerable recorded(const char* strategy, const benchmark::State& state) {
  return {strategy, kRecordedPack, state.range(0)};
}

/// state.range(0) documents of 64 tokens on 8 ranks.
Lowerable many_documents(const char* strategy, const benchmark::State& state) {
  return {strategy, std::vector<std::int64_t>(static_cast<std::size_t>(state.range(0)), 64), 8};
}

using Case = Lowerable (*)(const char* strategy, const benchmark::State& state);

/// The programs of the first, a middle and the last rank.
std::vector<RankProgram> sample(const Lowerable& lowerable) {
  std::vector<RankProgram> programs;
  const WaveLowering lowering(lowerable.wave, lowerable.backward, lowerable.model);
  const std::int32_t last = lowerable.wave.placement.rank_count() - 1;
  for (const std::int32_t rank : {0, last / 2, last}) {
    programs.push_back(lowering.lower(rank));
  }
  return programs;
}

/// What the program consists of: buffers, instructions, and the parts, copies, blocks and sums that these
/// list.
std::int64_t unit_count(const RankProgram& program) {
  auto count = static_cast<std::int64_t>(program.buffers.size());
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const Instruction& instruction : program.instructions(pass)) {
      ++count;
      if (const Exchange* exchange = exchange_of(instruction.op)) {
        count += static_cast<std::int64_t>(exchange->sends.size() + exchange->receives.size());
      } else if (const auto* copy = std::get_if<CopyRows>(&instruction.op)) {
        count += static_cast<std::int64_t>(copy->copies.size());
      } else if (const auto* sum = std::get_if<AccumulateGradient>(&instruction.op)) {
        count += static_cast<std::int64_t>(sum->additions.size());
      } else if (const auto* attention = std::get_if<Attention>(&instruction.op)) {
        count += static_cast<std::int64_t>(attention->blocks.size());
      } else if (const auto* gradient = std::get_if<AttentionBackward>(&instruction.op)) {
        count += static_cast<std::int64_t>(gradient->blocks.size());
      }
    }
  }
  return count;
}

/// Repeats `work`, which makes `units` things of what `prepare` gives, and reports processor time for each.
template <typename Prepare, typename Work>
void repeat(benchmark::State& state, const char* name, std::int64_t units, const Prepare& prepare,
            const Work& work) {
  std::clock_t spent = 0;
  while (state.KeepRunning()) {
    auto material = prepare();
    const std::clock_t start = std::clock();
    work(material);
    spent += std::clock() - start;
  }
  const double ns = static_cast<double>(spent) * 1e9 / CLOCKS_PER_SEC;
  const double each = ns / static_cast<double>(units) / static_cast<double>(state.iterations());
  struct Line {
    std::int64_t size;
    double each;
  };
  static std::map<std::string, Line> first_lines;
  Line& first = first_lines.try_emplace(name, Line{state.range(0), each}).first->second;
  if (first.size == state.range(0)) first.each = each;  // of the last, longest try
  state.counters["units"] = static_cast<double>(units);
  state.counters["ns_each"] = each;
  state.counters["growth"] = each / first.each;
}

constexpr auto kNothing = [] { return 0; };

void program(benchmark::State& state, const char* name, const char* strategy, Case make) {
  const Lowerable lowerable = make(strategy, state);
  std::int64_t units = 0;
  for (const RankProgram& each : sample(lowerable)) units += unit_count(each);
  repeat(state, name, units, kNothing, [&](int) { benchmark::DoNotOptimize(sample(lowerable)); });
}

/// The operations of `program` once more, by the builder.
void build_again(RankProgram& program) {
  RankProgram again;
  again.lane_count = program.lane_count;
  again.buffers = program.buffers;
  detail::ProgramBuilder builder(again);
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    builder.begin_pass(pass);
    for (Instruction& instruction : pass == Pass::forward ? program.forward : program.backward) {
      builder.emit(std::move(instruction.op), instruction.stream);
    }
  }
  builder.assign_arena();
  benchmark::DoNotOptimize(again);
}

void places(benchmark::State& state, const char* name, const char* strategy, Case make) {
  const std::vector<RankProgram> programs = sample(make(strategy, state));
  std::int64_t units = 0;
  for (const RankProgram& each : programs) units += unit_count(each);
  repeat(
      state, name, units, [&] { return programs; },
      [](std::vector<RankProgram>& copies) {
        for (RankProgram& each : copies) build_again(each);
      });
}

void digest(benchmark::State& state, const char* name, const char* strategy, Case make) {
  const std::vector<RankProgram> programs = sample(make(strategy, state));
  std::int64_t units = 0;
  for (const RankProgram& each : programs) units += unit_count(each);
  repeat(state, name, units, kNothing, [&](int) { benchmark::DoNotOptimize(program_digests(programs)); });
}

/// Pieces of one document arrive in state.range(0) steps, each followed by four look-ups; the order is that
/// of a ring, or jumps to and fro.
void held_rows(benchmark::State& state, const char* name, bool in_order) {
  const std::int64_t steps = state.range(0);
  repeat(state, name, steps, kNothing, [&](int) {
    detail::HeldRows held;
    std::vector<detail::HeldRun> runs;
    for (std::int64_t step = 0; step < steps; ++step) {
      const std::int64_t at = in_order ? step : step * 7919 % steps;
      held.add({0, 8}, {0, 64 * at, 64 * at + 64}, static_cast<std::int32_t>(step), 0);
      held.seal();
      for (const std::int64_t row : {64 * at, 32 * at, 16 * at, 0L}) {
        runs.clear();
        held.find_held({0, row, row + 1}, {0, 8}, runs);
      }
    }
    benchmark::DoNotOptimize(runs);
  });
}

void ranks(benchmark::internal::Benchmark* what) {
  what->Arg(64)->Arg(256)->Arg(1024)->Unit(benchmark::kMillisecond);
}
void documents(benchmark::internal::Benchmark* what) {
  what->Arg(1'000)->Arg(10'000)->Arg(100'000)->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(program, ring, "program ring", "ring", recorded)->Apply(ranks);
BENCHMARK_CAPTURE(program, allgather, "program allgather", "allgather", recorded)->Apply(ranks);
BENCHMARK_CAPTURE(program, per_document, "program per_document", "per_document", recorded)->Apply(ranks);
BENCHMARK_CAPTURE(program, ulysses, "program ulysses", "ulysses", many_documents)->Apply(documents);
BENCHMARK_CAPTURE(program, per_document_many, "program per_document_many", "per_document", many_documents)
    ->Apply(documents);
BENCHMARK_CAPTURE(places, ring, "places ring", "ring", recorded)->Apply(ranks);
BENCHMARK_CAPTURE(places, allgather, "places allgather", "allgather", recorded)->Apply(ranks);
BENCHMARK_CAPTURE(places, per_document, "places per_document", "per_document", recorded)->Apply(ranks);
BENCHMARK_CAPTURE(places, ulysses, "places ulysses", "ulysses", many_documents)->Apply(documents);
BENCHMARK_CAPTURE(digest, per_document, "digest per_document", "per_document", recorded)->Apply(ranks);
BENCHMARK_CAPTURE(digest, ulysses, "digest ulysses", "ulysses", many_documents)->Apply(documents);
BENCHMARK_CAPTURE(held_rows, in_order, "held_rows in_order", true)->Apply(documents);
BENCHMARK_CAPTURE(held_rows, to_and_fro, "held_rows to_and_fro", false)->Apply(documents);

}  // namespace
}  // namespace strata
