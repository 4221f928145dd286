// SPDX-License-Identifier: Apache-2.0
// The artefact between planner and runner: self-contained (inputs with digests and contents), canonical
// (equal inputs give byte-equal files), verified again by whoever reads it. docs/plan-format.md describes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/problem/batch.hpp"
#include "core/problem/model_shape.hpp"
#include "core/problem/topology.hpp"
#include "core/schedule/wave.hpp"

namespace strata {

inline constexpr std::int32_t kPlanFormatVersion = 2;

/// What a rank holds of the logits, in f32. `full`: those of all its tokens; `chunked`: never more than a
/// small piece, because the loss is computed piece by piece.
enum class Logits : std::uint8_t { full, chunked };

/// What the user asked for besides batch, topology and model. Part of the plan's inputs.
struct PlanOptions {
  Bytes memory_cap;  ///< per rank; 0: none was given
  /// Without a memory_cap: the ranks of a device fit its memory, where it is stated.
  bool device_cap = false;
  Recompute recompute = Recompute::none;
  bool offload_activations = false;  ///< layer inputs wait in host memory; only with Recompute::full
  Logits logits = Logits::full;
  std::int32_t state_shards = 0;  ///< ranks that share one copy of the state; 0: all ranks of the plan
  double state_bytes_per_parameter = 16;  ///< bf16 weight and gradient, f32 master weight and two moments
  ExchangeMode exchange = ExchangeMode::needed;
  BackwardKeep kv = BackwardKeep::refetch;
  GradientReturn gradient_return = GradientReturn::owner;
  std::vector<std::string> strategies;  ///< names asked for, in order; empty: auto
  std::uint64_t seed = 0;
  bool operator==(const PlanOptions&) const = default;
};

struct LevelBytes {
  Bytes device, node, network;
  bool operator==(const LevelBytes&) const = default;
  Bytes total() const { return device + node + network; }
  Bytes& at(LinkLevel level) {
    return level == LinkLevel::device ? device : level == LinkLevel::node ? node : network;
  }
};

/// What one rank holds at the fullest moment of a step, term by term. An empty term is left out, because an
/// input does not say it or because it does not arise.
struct MemoryTerms {
  Bytes state;                  ///< weights, gradients and optimiser state
  Bytes activations;            ///< of a rank's own tokens: what layers keep, and a layer computed again
  Bytes attention;              ///< received rows, workspace, and own rows that `activations` leaves out
  std::optional<Bytes> logits;  ///< needs the vocabulary
  std::optional<Bytes> communicators;  ///< buffers of the communication library; of GPUs
  bool operator==(const MemoryTerms&) const = default;

  /// kUncountable when it does not fit in 63 bits.
  Bytes total() const;
};

/// What the simulator says; times in integer ns, whole training step unless said otherwise.
struct Prediction {
  Duration step_time, forward, backward;
  double imbalance = 0;          ///< max / mean over ranks of allowed pairs x heads
  Bytes peak_memory;             ///< of the largest rank: the sum of `memory`
  MemoryTerms memory;            ///< of the largest rank, in the wave in which it holds most
  std::int32_t memory_rank = 0;  ///< the largest rank; the first among equals
  Bytes arena;                   ///< of the largest rank: what `run` allocates and verifies
  Bytes kv_bytes;                ///< forward, one layer, tensor kv
  LevelBytes bytes_by_level;
  double extrapolated_share = 0;  ///< of all device work: costs from outside the tables of the profile
  bool settled = true;            ///< false: layers were left out before all ranks kept one rhythm
  bool operator==(const Prediction&) const = default;
};

/// Largest / mean of what ranks have to do; 1 when none has anything. The verifier counts it by itself.
double imbalance(const std::vector<std::int64_t>& loads);

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

/// A strategy that was considered, with one of three: its time, the reason against it, or how long its step
/// takes at least.
struct Candidate {
  std::string strategy;
  std::optional<Duration> step_time;
  std::optional<std::string> rejected;  ///< the reason
  bool settled = true;                  ///< of its time, as Prediction::settled; true without one
  /// The step takes longer than this, and another candidate's does not. The simulation was ended here.
  std::optional<Duration> slower_than = {};
  bool operator==(const Candidate&) const = default;
};

/// The profile as a plan records it: digest always, content (canonical JSON) when it is at most 256 KiB.
struct EmbeddedProfile {
  std::string digest;
  std::string content;
  bool operator==(const EmbeddedProfile&) const = default;
};

/// What a plan file says the digests of its input contents are. A plan that was just made has none: the
/// writer then fills in those of the contents. Lint compares them with `input_digests`
/// (core/plan/plan_json.hpp).
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

/// How the options cap memory: "none", "device" or "size".
std::string_view memory_cap_kind(const PlanOptions& options);

}  // namespace strata
