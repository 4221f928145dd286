// SPDX-License-Identifier: Apache-2.0
// What is measured on an executor: cases of attention, of operations on rows, and of exchanges by level, as
// waves of small programs that any executor runs. A case says where its time is found in the timeline.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/problem/topology.hpp"
#include "executor/run.hpp"

namespace strata::tools {

/// `attention` goes in the direction of the pass. `copy` to `delta` are one instruction on rows, named as in
/// TokenWorkKind and the IR. The last two are exchanges between ranks.
enum class CaseOperation : std::uint8_t {
  attention,
  copy,
  merge,
  add,
  cast,
  zero,
  delta,
  point_to_point,
  all_to_all
};
std::string_view to_string(CaseOperation operation);
constexpr bool is_exchange(CaseOperation operation) { return operation >= CaseOperation::point_to_point; }

/// Where the ranks are, [rank]; devices are numbered over all nodes.
struct RankPlaces {
  std::vector<std::int32_t> node, device;

  std::int32_t count() const { return static_cast<std::int32_t>(node.size()); }
  LinkLevel level(std::int32_t a, std::int32_t b) const;
  /// Gives every rank a device of its own. Equal names are one node; nodes are numbered in order of
  /// appearance.
  static RankPlaces on_hosts(const std::vector<std::string>& hosts);
  static RankPlaces on_one_device(std::int32_t ranks);
};

/// Sizes are ladders: the smallest, then `factor` times as much until a limit is passed.
struct CalibrationGrid {
  std::int64_t factor = 4;
  std::int64_t longest = 4096;  ///< tokens of queries or keys
  Flops attention{4e9};         ///< FLOPs of one forward
  Bytes rows{1 << 26};          ///< largest tensor of an operation on rows
  Bytes sent{1 << 26};          ///< bytes that one rank sends in one exchange
};
enum class Fineness : std::uint8_t { quick, normal, thorough };
/// Every model shape after the first is measured on a normal grid, where the first's is a thorough one.
constexpr Fineness grid_fineness(Fineness asked, bool first) {
  return first || asked == Fineness::quick ? asked : Fineness::normal;
}
/// The sizes that a CPU rank does in seconds (quick), in half a minute (normal), in minutes (thorough).
CalibrationGrid cpu_grid(Fineness fineness);
/// The same for a GPU with `free` bytes of memory; all waves together take less. `kernel` is what runs the
/// model's attention; "plain" runs it more slowly.
CalibrationGrid gpu_grid(Fineness fineness, const ModelShape& model, Bytes free, std::string_view kernel);

/// One operation at one size.
struct CalibrationCase {
  CaseOperation operation = CaseOperation::attention;
  std::int32_t wave = 0;
  Pass pass = Pass::forward;     ///< attention: the direction
  std::int32_t instruction = 0;  ///< on every rank of `ranks`
  /// The ranks that take part. Without exchange each works on its own, all at once.
  std::vector<std::int32_t> ranks;
  std::int64_t query_length = 0, key_length = 0;  ///< attention
  bool causal = false;    ///< attention: the last query sees the last key; otherwise all see all
  std::int64_t rows = 0;  ///< operations on rows: tokens of the tensors
  LinkLevel level = LinkLevel::device;  ///< exchanges
  bool both_ways = false;               ///< point_to_point: both ranks send
  Bytes message;                        ///< exchanges: from one rank to one other
  Bytes bytes;                          ///< rows: read and written; exchanges: sent by each rank that sends
  Flops flops;                          ///< attention, as operation_flops counts
};

/// The cases of one model shape; they differ in their waves.
struct CalibrationPart {
  Execution execution;
  std::vector<CalibrationCase> cases;
};

/// The shapes to measure: the shape itself; with quick also half of its heads; with thorough also shares of
/// its heads, as head-parallel ranks hold them, and other head dimensions.
std::vector<ModelShape> calibrated_models(const ModelShape& model, Fineness fineness);

/// Attention on the first rank of every device, all at once.
CalibrationPart attention_part(const ModelShape& model, const RankPlaces& places,
                               const CalibrationGrid& grid);
/// Attention, operations on rows (both on the first rank of every device) and, for every level that the
/// places have, one pair of ranks alone and all ranks that the level joins. Every pass begins with a barrier
/// of all ranks. The same arguments give the same part on every machine.
CalibrationPart whole_part(const ModelShape& model, const RankPlaces& places, const CalibrationGrid& grid);

}  // namespace strata::tools
