// SPDX-License-Identifier: Apache-2.0
// What in-process ranks cost: four ranks against one rank that does all the work, same documents, same cores,
// forward and backward of one layer at head dimension 128. `ratio` is the fastest step of four ranks over the
// fastest of one, the two run in turn; the goal is at most 1.10. `processor_ratio` is the median ratio of the
// processor time of their steps, inputs included: the one to read on a machine that others use. Also the rate
// at which inputs are made, and what recording a timeline costs: the same plan with and without, in turn, by
// processor time and, where the machine counts them, by instructions; the goal is below 1 %.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <limits>

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/lowering/lower.hpp"
#include "executor/cpu/cpu_executor.hpp"
#include "executor/seeded_tensors.hpp"
#include "planner/search/plan_batch.hpp"
#include "planner/strategies/strategy_table.hpp"

namespace strata {
namespace {

/// The first documents of a recorded pack (traces/samples/codeparrot_32k.jsonl, first line): 15,086 tokens.
const std::vector<std::int64_t> kDocuments{5130, 3812, 1525, 1126, 1291, 1546, 656};

Execution planned(std::string_view strategy, std::int32_t ranks, std::int64_t divisor = 1) {
  WaveRequest request;
  for (std::size_t i = 0; i < kDocuments.size(); ++i) {
    request.documents.push_back(static_cast<std::int32_t>(i));
    request.lengths.push_back(kDocuments[i] / divisor);
  }
  request.rank_count = ranks;
  request.model.query_heads = 4;
  request.model.kv_heads = 2;
  request.model.head_dim = request.model.value_head_dim = 128;
  request.model.hidden = 512;
  request.model.ffn = 2048;
  request.model.element_type = ElementType::f32;
  const Wave wave = make_wave(strategy_named(strategy), request, {});
  Execution execution;
  execution.model = request.model;
  execution.waves.push_back({lower_wave(wave, request.model), wave.placement});
  return execution;
}

/// Of all threads of this process.
double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double attention_flops(const Execution& execution) {
  double flops = 0;
  for (const RankProgram& program : execution.waves.front().programs) {
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      for (const Instruction& instruction : program.instructions(pass)) {
        if (attention_pairs(instruction.op) > 0) flops += operation_flops(program, instruction.op).count;
      }
    }
  }
  return flops;
}

/// Fastest step and processor time of the steps of one execution.
struct Steps {
  double seconds = std::numeric_limits<double>::max();
  double processor = 0;
};

/// A run of one step, then one of kSteps + 1: what the second takes more of the processors is what kSteps
/// steps take, making their inputs included, set-up not.
Steps run_steps(const Execution& execution) {
  constexpr int kSteps = 2;
  CpuOptions options;
  options.keep_results = false;
  options.record_timeline = false;
  Steps steps;
  for (const std::int32_t repeats : {1, kSteps + 1}) {
    options.repeats = repeats;
    const double begin = processor_seconds();
    const auto wall = run_on_cpu(execution, options).wall;
    steps.processor = (processor_seconds() - begin - steps.processor);
    for (const Duration step : wall)
      steps.seconds = std::min(steps.seconds, static_cast<double>(step.ns) * 1e-9);
  }
  steps.processor /= kSteps;
  return steps;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void four_ranks_against_one(benchmark::State& state, const char* strategy) {
  const Execution one = planned("whole_document", 1);
  const Execution four = planned(strategy, 4);
  double best_one = std::numeric_limits<double>::max(), best_four = best_one;
  std::vector<double> processor_ratios;
  for ([[maybe_unused]] const auto _ : state) {
    const Steps of_one = run_steps(one);
    const Steps of_four = run_steps(four);
    best_one = std::min(best_one, of_one.seconds);
    best_four = std::min(best_four, of_four.seconds);
    processor_ratios.push_back(of_four.processor / of_one.processor);
    state.SetIterationTime(of_four.seconds);
  }
  state.counters["ratio"] = best_four / best_one;
  state.counters["processor_ratio"] = median(processor_ratios);
  state.counters["one_rank_gflops"] = attention_flops(one) / best_one * 1e-9;
  state.counters["four_ranks_gflops"] = attention_flops(four) / best_four * 1e-9;
}

/// User instructions of this thread from here on; 0 where the processor or the kernel do not count them.
class InstructionCounter {
 public:
  InstructionCounter() {
    perf_event_attr settings{};
    settings.size = sizeof settings;
    settings.type = PERF_TYPE_HARDWARE;
    settings.config = PERF_COUNT_HW_INSTRUCTIONS;
    settings.exclude_kernel = 1;
    settings.exclude_hv = 1;
    file_ = static_cast<int>(syscall(SYS_perf_event_open, &settings, 0, -1, -1, 0));
  }
  ~InstructionCounter() {
    if (file_ >= 0) close(file_);
  }
  InstructionCounter(const InstructionCounter&) = delete;
  InstructionCounter& operator=(const InstructionCounter&) = delete;
  double count() const {
    std::uint64_t value = 0;
    return file_ >= 0 && read(file_, &value, sizeof value) == sizeof value ? static_cast<double>(value) : 0;
  }

 private:
  int file_ = -1;
};

/// What one run takes, set-up included.
struct RunCost {
  double processor = 0, instructions = 0;
  std::size_t events = 0;
};

RunCost run_once(const Execution& execution, std::int32_t layers, bool record) {
  CpuOptions options;
  options.threads = 1;  // a worker that has to wait would spin for as long as the others need
  options.layers = layers;
  options.keep_results = false;
  options.record_timeline = record;
  const InstructionCounter counter;
  const double begin = processor_seconds();
  const RunResult result = run_on_cpu(execution, options);
  return {processor_seconds() - begin, counter.count(), result.timeline.events.size()};
}

/// `ratio`: median processor time with recording over without.
void recording(benchmark::State& state, const char* strategy, std::int64_t divisor, std::int32_t layers) {
  const Execution execution = planned(strategy, 8, divisor);
  std::vector<double> ratios;
  double instructions[2] = {};
  std::size_t events = 0;
  for ([[maybe_unused]] const auto _ : state) {
    // Each kind first as often as second: a drift of the machine's speed weighs on both.
    RunCost costs[2];
    for (const bool record : {false, true, true, false}) {
      const RunCost cost = run_once(execution, layers, record);
      costs[record].processor += cost.processor;
      instructions[record] += cost.instructions;
      events = std::max(events, cost.events);
    }
    ratios.push_back(costs[1].processor / costs[0].processor);
    state.SetIterationTime(costs[1].processor / 2);
  }
  state.counters["events"] = static_cast<double>(events);
  state.counters["ratio"] = median(ratios);
  if (instructions[0] > 0) state.counters["instruction_ratio"] = instructions[1] / instructions[0];
}
// The recorded lengths, and a 64th of them: hardly any work between the events.
BENCHMARK_CAPTURE(recording, ring_15k_tokens, "ring", 1, 1)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(5);
BENCHMARK_CAPTURE(recording, ring_233_tokens, "ring", 64, 200)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(15);

void seeded_inputs(benchmark::State& state) {
  std::vector<std::byte> rows(std::size_t{1024} * 8 * 64 * 4);
  std::vector<float> scratch(512);
  for ([[maybe_unused]] const auto _ : state) {
    fill_rows(1, InputTensor::q, {0, 0, 1024}, {8, 64}, ElementType::f32, rows.data(), scratch);
    benchmark::DoNotOptimize(rows.data());
  }
  state.SetItemsProcessed(state.iterations() * 1024 * 8 * 64);
}
BENCHMARK(seeded_inputs);

void settings(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(3);
}
BENCHMARK_CAPTURE(four_ranks_against_one, ring, "ring")->Apply(settings);
BENCHMARK_CAPTURE(four_ranks_against_one, zigzag_ring, "zigzag_ring")->Apply(settings);
BENCHMARK_CAPTURE(four_ranks_against_one, per_document, "per_document")->Apply(settings);
BENCHMARK_CAPTURE(four_ranks_against_one, allgather, "allgather")->Apply(settings);
BENCHMARK_CAPTURE(four_ranks_against_one, ulysses, "ulysses")->Apply(settings);

}  // namespace
}  // namespace strata
