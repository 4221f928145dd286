// SPDX-License-Identifier: Apache-2.0
// The artefact between planner and runner: self-contained (inputs with digests and contents), canonical
// (equal inputs give byte-equal files), verified again by whoever reads it. docs/plan-format.md describes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/batch.hpp"
#include "core/comm_schedule.hpp"
#include "core/group_layout.hpp"
#include "core/model_shape.hpp"
#include "core/sequence_layout.hpp"
#include "core/topology.hpp"

namespace strata {

inline constexpr std::int32_t kPlanFormatVersion = 1;

/// What the user asked for besides batch, topology and model. Part of the plan's inputs.
struct PlanOptions {
  Bytes memory_cap;  ///< per rank; 0: none
  ExchangeMode exchange = ExchangeMode::needed;
  BackwardKeep kv = BackwardKeep::refetch;
  GradientReturn gradient_return = GradientReturn::owner;
  std::vector<std::string> strategies;  ///< names asked for, in order; empty: auto
  std::uint64_t seed = 0;
  bool operator==(const PlanOptions&) const = default;
};

/// One micro-batch. `documents` are those of all groups, ascending; `lengths[i]` belongs to documents[i].
struct Wave {
  std::vector<std::int32_t> documents;
  std::vector<std::int64_t> lengths;
  std::vector<GroupLayout> groups;
  SequenceLayout placement;
  CommSchedule schedule;
  BackwardPolicy backward;
  bool operator==(const Wave&) const = default;
};

struct LevelBytes {
  Bytes device, node, network;
  bool operator==(const LevelBytes&) const = default;
  Bytes total() const { return device + node + network; }
};

/// What the simulator says; times in integer ns, whole training step unless said otherwise.
struct Prediction {
  Duration step_time, forward, backward;
  double imbalance = 0;  ///< max / mean over ranks of allowed pairs x heads
  Bytes peak_memory;     ///< of the largest rank, all layers
  Bytes arena;           ///< of the largest rank: what `run` allocates and verifies
  Bytes kv_bytes;        ///< forward, one layer, tensor kv
  LevelBytes bytes_by_level;
  bool operator==(const Prediction&) const = default;
};

/// Which bound binds; lower_bound.hpp (cost_models) says what each is. Every bound that exists is one of
/// these.
enum class ActiveBound : std::uint8_t { compute, chain };

struct Bounds {
  Duration lower_bound;               ///< for every schedule of the IR
  std::optional<Duration> in_family;  ///< group plans only; never certified
  double gap = 0;                     ///< step_time / lower_bound - 1
  ActiveBound active = ActiveBound::compute;
  bool operator==(const Bounds&) const = default;
};

struct Candidate {
  std::string strategy;
  std::optional<Duration> step_time;    ///< empty when rejected
  std::optional<std::string> rejected;  ///< the reason
  bool operator==(const Candidate&) const = default;
};

/// The profile as a plan records it: digest always, content (canonical JSON) when it is at most 256 KiB.
struct EmbeddedProfile {
  std::string digest;
  std::string content;
  bool operator==(const EmbeddedProfile&) const = default;
};

/// What a plan file says the digests of its input contents are. A plan that was just made has none: the
/// writer then fills in those of the contents. Lint compares them with `input_digests` (core/plan_json.hpp).
struct InputDigests {
  std::string batch, topology, model, request;
  bool operator==(const InputDigests&) const = default;
};

struct Plan {
  InputDigests digests;
  Batch batch;
  Topology topology;
  ModelShape model;
  PlanOptions options;
  EmbeddedProfile profile;
  std::int32_t lowering_version = 0;
  std::string strategy;
  std::vector<Wave> waves;
  std::vector<std::vector<std::string>> program_digests;  ///< [wave][rank]
  Prediction predicted;
  Bounds bounds;
  std::vector<Candidate> candidates;
  bool operator==(const Plan&) const = default;
};

/// Tokens of the document at `document` of a wave, -1 when the wave does not hold it.
std::int64_t document_length(const Wave& wave, std::int32_t document);

}  // namespace strata
