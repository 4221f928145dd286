// SPDX-License-Identifier: Apache-2.0
// Everything that the ranks of one process need, built before their first instruction: arenas, compiled
// operations, dependency counts, the links between ranks and the memory that results go to. Lists are over
// all ranks; those of other processes are empty.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "executor/cpu/cpu_executor.hpp"
#include "executor/exchange_links.hpp"
#include "executor/prepared_operation.hpp"

namespace strata {

struct FreeArena {
  void operator()(std::byte* data) const;
};
/// Page aligned; every byte has been written, so that the run meets no page faults.
using ArenaMemory = std::unique_ptr<std::byte, FreeArena>;

/// The byte that poisoned memory is made of: a NaN in every element type.
inline constexpr int kPoisonByte = 0xff;

struct PreparedInstruction {
  PreparedOperation operation;
  std::vector<std::int32_t> successors;  ///< instructions that wait for this one, its stream's next included
  std::int32_t dependencies = 0;
  std::vector<std::int32_t> writes;  ///< buffers written that do not persist; only when poisoning
  double flops = 0;
};

struct PreparedPass {
  std::vector<std::vector<PreparedInstruction>> ranks;  ///< [rank][instruction]
  ExchangeLinks links;
};

struct PreparedWave {
  std::array<PreparedPass, 2> passes;    ///< [Pass]
  std::vector<PreparedOperation> load;   ///< [rank] makes the inputs
  std::vector<PreparedOperation> store;  ///< [rank] copies the results out; empty when not kept
};

struct PreparedRun {
  RankBlock local;                  ///< the ranks that this process runs
  std::vector<ArenaMemory> arenas;  ///< null for the ranks of other processes
  std::vector<Bytes> arena_bytes;   ///< of every rank
  std::vector<PreparedWave> waves;
  std::vector<std::vector<LocalResults>> results;
  std::size_t scratch_bytes = 0;
  bool stream = false;  ///< the arenas do not stay in the caches: copies and zeros go around them
};

/// Throws std::bad_alloc when the arenas of the ranks `local` do not fit.
PreparedRun prepare_run(const Execution& execution, const CpuOptions& options, RankBlock local);

/// Items of attention that one layer of all waves takes, both passes: nearly all of the work.
std::int64_t attention_items(const PreparedRun& run);

}  // namespace strata
