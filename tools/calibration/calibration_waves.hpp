// SPDX-License-Identifier: Apache-2.0
// The programs of one wave of a calibration, written instruction by instruction for all ranks.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "executor/run.hpp"

namespace strata::tools {

/// Writes the programs of a wave. Every pass begins with a barrier: all ranks tell rank 0, and rank 0 tells
/// all. What is added to a rank's compute stream and lane runs after the barrier.
class WaveWriter {
 public:
  WaveWriter(const ModelShape& model, std::int32_t ranks);

  /// Adds a buffer whose rows hold the model's heads for its role, in the role's width.
  std::int32_t add_buffer(std::int32_t rank, BufferRole role, ElementType type, std::int64_t rows,
                          bool persistent = false);
  /// Adds a buffer of plain bytes; `bytes` is a multiple of kMessageRow.
  std::int32_t add_bytes(std::int32_t rank, Bytes bytes, bool persistent);
  /// Adds an instruction and returns its number.
  std::int32_t add(std::int32_t rank, Pass pass, Operation op);
  /// The rank's inputs: q, kv and d_o are seeded before the wave.
  void set_inputs(std::int32_t rank, const LocalBuffers& local, std::int64_t rows);
  const RankProgram& program(std::int32_t rank) const { return programs_[static_cast<std::size_t>(rank)]; }
  ExecutableWave finish();

  static constexpr std::int64_t kMessageRow = 256;  ///< bytes

 private:
  void add_barrier();
  RankProgram& at(std::int32_t rank) { return programs_[static_cast<std::size_t>(rank)]; }

  const ModelShape& model_;
  std::vector<RankProgram> programs_;
  SequenceLayout placement_;
};

/// Instructions that a case is measured by.
struct WrittenCase {
  Pass pass = Pass::forward;
  std::int32_t instruction = 0;
};

/// Attention of `queries` over `keys` rows, one launch forward and one backward, on `rank`; the keys are
/// copies of seeded ones. Causal: the last query sees the last key.
std::pair<WrittenCase, WrittenCase> write_attention(WaveWriter& wave, const ModelShape& model,
                                                    std::int32_t rank, std::int64_t queries,
                                                    std::int64_t keys, bool causal);

struct WrittenRows {
  WrittenCase zero, cast, copy, add, merge, delta;
};
/// One of every operation on `rows` rows of the model's tensors.
WrittenRows write_rows(WaveWriter& wave, const ModelShape& model, std::int32_t rank, std::int64_t rows);

/// Sends `message` from every rank of `ranks` to every other.
WrittenCase write_all_to_all(WaveWriter& wave, const std::vector<std::int32_t>& ranks, Bytes message);
/// Sends `message` from the first to the second in the forward pass, and both ways at once in the backward
/// pass.
std::pair<WrittenCase, WrittenCase> write_pair(WaveWriter& wave, std::int32_t first, std::int32_t second,
                                               Bytes message);

}  // namespace strata::tools
