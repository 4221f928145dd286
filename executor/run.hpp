// SPDX-License-Identifier: Apache-2.0
// What a run is given and what it returns, the same for every executor: programs with their placement in,
// local results and a timeline out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/units.hpp"
#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "core/program/timeline.hpp"
#include "core/schedule/sequence_layout.hpp"

namespace strata {

/// One wave's programs, [rank], and which rows their local buffers hold.
struct ExecutableWave {
  std::vector<RankProgram> programs;
  SequenceLayout placement;
};

/// A whole training step. All waves have the same ranks.
struct Execution {
  ModelShape model;
  std::vector<ExecutableWave> waves;
  std::string plan_digest;  ///< recorded in the timeline
};

/// The ranks [begin, end): what one process of a job runs.
struct RankBlock {
  std::int32_t begin = 0, end = 0;
  std::int32_t count() const { return end - begin; }
  bool contains(std::int32_t rank) const { return begin <= rank && rank < end; }
  bool operator==(const RankBlock&) const = default;
};

/// One rank's own rows of one wave, dense, in the types of its buffers (lse f32, the others the model's).
struct LocalResults {
  std::vector<std::byte> o, lse, dq, dkv;
  bool operator==(const LocalResults&) const = default;
};

struct RunResult {
  Timeline timeline;           ///< without events when none were asked for
  std::vector<Duration> wall;  ///< [repeat]
  std::vector<Bytes> arena;    ///< [rank] allocated, the largest of its waves
  Bytes sent;                  ///< payload copied between ranks in one repeat, all layers
  /// [wave][rank] of the last repeat; empty when not asked for.
  std::vector<std::vector<LocalResults>> results;
};

/// What every timeline states of its run. Its devices stay as they are; unless they are set there is one of
/// one core.
void state_run(const Execution& execution, std::string source, std::int32_t layers, std::int32_t repeats,
               Timeline& timeline);

}  // namespace strata
