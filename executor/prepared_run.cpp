// SPDX-License-Identifier: Apache-2.0
#include "executor/prepared_run.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <new>

#include "core/base/check.hpp"
#include "executor/kernel_arguments.hpp"

namespace strata {

namespace {

constexpr std::align_val_t kPage{4096};

/// Arenas that take more than this together do not stay in the caches from one use to the next.
constexpr std::int64_t kCachedBytes = std::int64_t{64} << 20;

ArenaMemory allocate_arena(Bytes bytes, bool poison) {
  const auto size = static_cast<std::size_t>(std::max<std::int64_t>(bytes.count, kArenaAlignment));
  ArenaMemory memory(static_cast<std::byte*>(::operator new(size, kPage)));
  std::memset(memory.get(), poison ? kPoisonByte : 0, size);
  return memory;
}

/// Successors and dependency counts from wait_for and from the order of every stream.
void connect(const std::vector<Instruction>& instructions, std::vector<PreparedInstruction>& prepared) {
  std::map<std::int32_t, std::int32_t> last_of_stream;
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    std::vector<std::int32_t> earlier = instructions[i].wait_for;
    const auto number = static_cast<std::int32_t>(i);
    const auto [last, first_on_stream] = last_of_stream.try_emplace(instructions[i].stream, number);
    if (!first_on_stream) {
      earlier.push_back(last->second);
      last->second = number;
    }
    std::sort(earlier.begin(), earlier.end());
    earlier.erase(std::unique(earlier.begin(), earlier.end()), earlier.end());
    for (const std::int32_t before : earlier) {
      STRATA_CHECK(before >= 0 && before < number, "instruction {} waits for instruction {}", number, before);
      prepared[static_cast<std::size_t>(before)].successors.push_back(number);
    }
    prepared[i].dependencies = static_cast<std::int32_t>(earlier.size());
  }
}

std::vector<std::int32_t> written_scratch(const RankProgram& program, const Operation& op) {
  std::vector<Access> accesses;
  append_accesses(program, op, accesses);
  std::vector<std::int32_t> buffers;
  for (const Access& access : accesses) {
    const bool scratch = !program.buffers[static_cast<std::size_t>(access.buffer)].persistent;
    if (access.write && scratch) buffers.push_back(access.buffer);
  }
  std::sort(buffers.begin(), buffers.end());
  buffers.erase(std::unique(buffers.begin(), buffers.end()), buffers.end());
  return buffers;
}

std::vector<PreparedInstruction> prepare_rank(const RankProgram& program, Pass pass, const ModelShape& model,
                                              bool poison, std::byte* arena, bool stream) {
  const std::vector<Instruction>& instructions = program.instructions(pass);
  std::vector<PreparedInstruction> prepared(instructions.size());
  for (std::size_t i = 0; i < instructions.size(); ++i) {
    prepared[i].operation = prepare_operation(program, instructions[i].op, model, arena, stream);
    prepared[i].flops = operation_flops(program, instructions[i].op).count;
    if (poison) prepared[i].writes = written_scratch(program, instructions[i].op);
  }
  connect(instructions, prepared);
  return prepared;
}

PreparedOperation prepare_store(const RankProgram& program, const std::byte* arena, LocalResults& results) {
  const std::array<std::int32_t, 4> buffers{program.local.o, program.local.lse, program.local.dq,
                                            program.local.dkv};
  const std::array<std::vector<std::byte>*, 4> vectors{&results.o, &results.lse, &results.dq, &results.dkv};
  std::array<std::byte*, 4> targets{};
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i] < 0) continue;
    const Buffer& buffer = program.buffers.at(static_cast<std::size_t>(buffers[i]));
    vectors[i]->resize(static_cast<std::size_t>(buffer.bytes().count));
    targets[i] = vectors[i]->data();
  }
  return prepare_copy_out(program, buffers, targets, arena);
}

PreparedWave prepare_wave(const Execution& execution, const ExecutableWave& wave, const CpuOptions& options,
                          RankBlock local, std::span<std::byte* const> arenas, bool stream,
                          std::vector<LocalResults>& results) {
  PreparedWave prepared;
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    PreparedPass& target = prepared.passes[static_cast<std::size_t>(pass)];
    target.ranks.resize(wave.programs.size());
    for (auto r = static_cast<std::size_t>(local.begin); r < static_cast<std::size_t>(local.end); ++r) {
      target.ranks[r] =
          prepare_rank(wave.programs[r], pass, execution.model, options.poison, arenas[r], stream);
    }
    target.links = link_exchanges(wave.programs, pass, arenas, local);
  }
  prepared.load.resize(wave.programs.size());
  prepared.store.resize(wave.programs.size());
  for (auto r = static_cast<std::size_t>(local.begin); r < static_cast<std::size_t>(local.end); ++r) {
    const RankProgram& program = wave.programs[r];
    prepared.load[r] =
        prepare_inputs(program, wave.placement.spans.at(r), execution.model, options.seed, arenas[r]);
    if (options.keep_results) prepared.store[r] = prepare_store(program, arenas[r], results[r]);
  }
  return prepared;
}

std::size_t scratch_bytes(const PreparedWave& wave) {
  std::size_t bytes = 1;
  for (const PreparedOperation& load : wave.load) bytes = std::max(bytes, load.scratch_bytes());
  for (const PreparedPass& pass : wave.passes) {
    for (const auto& rank : pass.ranks) {
      for (const auto& instruction : rank) bytes = std::max(bytes, instruction.operation.scratch_bytes());
    }
  }
  return bytes;
}

}  // namespace

void FreeArena::operator()(std::byte* data) const { ::operator delete(data, kPage); }

PreparedRun prepare_run(const Execution& execution, const CpuOptions& options, RankBlock local) {
  STRATA_CHECK(!execution.waves.empty(), "an execution without waves");
  const std::size_t ranks = execution.waves.front().programs.size();
  STRATA_CHECK(0 <= local.begin && local.begin <= local.end && local.end <= static_cast<std::int32_t>(ranks),
               "ranks {} to {} of {}", local.begin, local.end, ranks);
  PreparedRun run;
  run.local = local;
  run.arena_bytes.resize(ranks);
  for (const ExecutableWave& wave : execution.waves) {
    STRATA_CHECK(wave.programs.size() == ranks, "waves of {} and {} ranks", ranks, wave.programs.size());
    for (std::size_t r = 0; r < ranks; ++r) {
      STRATA_CHECK(wave.programs[r].rank == static_cast<std::int32_t>(r), "program {} is rank {}'s", r,
                   wave.programs[r].rank);
      check_arena(wave.programs[r]);
      run.arena_bytes[r] = std::max(run.arena_bytes[r], wave.programs[r].arena);
    }
  }
  std::vector<std::byte*> arenas(ranks);
  run.arenas.resize(ranks);
  std::int64_t all_bytes = 0;
  for (auto r = static_cast<std::size_t>(local.begin); r < static_cast<std::size_t>(local.end); ++r) {
    run.arenas[r] = allocate_arena(run.arena_bytes[r], options.poison);
    arenas[r] = run.arenas[r].get();
    all_bytes += run.arena_bytes[r].count;
  }
  run.stream = all_bytes > kCachedBytes;
  if (options.keep_results) run.results.resize(execution.waves.size());
  std::vector<LocalResults> none(ranks);
  for (std::size_t w = 0; w < execution.waves.size(); ++w) {
    if (options.keep_results) run.results[w].resize(ranks);
    std::vector<LocalResults>& results = options.keep_results ? run.results[w] : none;
    run.waves.push_back(
        prepare_wave(execution, execution.waves[w], options, local, arenas, run.stream, results));
    run.scratch_bytes = std::max(run.scratch_bytes, scratch_bytes(run.waves.back()));
  }
  return run;
}

std::int64_t attention_items(const PreparedRun& run) {
  std::int64_t items = 0;
  for (const PreparedWave& wave : run.waves) {
    for (const PreparedPass& pass : wave.passes) {
      for (const auto& instructions : pass.ranks) {
        for (const PreparedInstruction& each : instructions) {
          if (each.operation.is_attention()) items += each.operation.item_count();
        }
      }
    }
  }
  return items;
}

}  // namespace strata
