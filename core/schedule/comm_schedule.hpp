// SPDX-License-Identifier: Apache-2.0
// The schedule of one wave seen from above, for one layer: which slices move in which step, and which rank
// computes which attention. Steps order issue, they are not barriers. What a transfer of step s brings is
// usable from step `ready` (at least s + 1). docs/plan-format.md states every rule; verify_schedule checks
// them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/problem/collective_kind.hpp"
#include "core/problem/token_span.hpp"

namespace strata {

/// What a transfer carries, per token and head. Heads count KV heads for kv and dkv, query heads otherwise.
/// Wire format, E = the model's element type:
///   q        [k_dim] E            kv      [k_dim + v_dim] E
///   o        [v_dim] E + f32 LSE: the finished output of the rows
///   o_part   [v_dim] E + f32 LSE: the merge of what the source computed for the rows
///   d_o      [v_dim] E + f32 final LSE + f32 delta        (backward)
///   dq       [k_dim] f32          dkv     [k_dim + v_dim] f32
/// dq and dkv occur in backward only, in Reductions only; they are sums, hence f32.
enum class TensorKind : std::uint8_t { q, kv, o, o_part, d_o, dq, dkv };
std::string_view to_string(TensorKind tensor);
constexpr bool counts_kv_heads(TensorKind tensor) {
  return tensor == TensorKind::kv || tensor == TensorKind::dkv;
}

/// One slice from one rank to one or more others. `targets` are sorted, disjoint, not adjacent, and do not
/// contain `source`.
struct Transfer {
  std::int32_t source = 0;
  std::vector<RankRange> targets;
  TensorKind tensor = TensorKind::kv;
  TokenSpan span;
  HeadRange heads;
  std::int32_t lane = 0;
  std::int32_t ready = 0;  ///< absolute index of the first step that may use the data
  auto operator<=>(const Transfer&) const = default;
};

/// The mirror image of a multicast, in backward only: every rank of `sources` sends its accumulated dq or dkv
/// of the slice to `target`, which adds them in (step, source rank) order. It is one record because a
/// multicast to n ranks comes home as n slices. `sources` are sorted, disjoint, not adjacent, and do not
/// contain `target`.
struct Reduction {
  std::int32_t target = 0;
  std::vector<RankRange> sources;
  TensorKind tensor = TensorKind::dkv;  ///< dq or dkv
  TokenSpan span;
  HeadRange heads;
  std::int32_t lane = 0;
  std::int32_t ready = 0;  ///< absolute index of the first step in which the target's sum contains it
  auto operator<=>(const Reduction&) const = default;
};

/// `rank` computes the allowed pairs of `query` x `key` (same document) for query heads `heads`.
struct AttentionTask {
  std::int32_t rank = 0;
  TokenSpan query;
  TokenSpan key;
  HeadRange heads;
  auto operator<=>(const AttentionTask&) const = default;
};

struct ScheduleStep {
  CollectiveKind collective = CollectiveKind::none;
  std::vector<Transfer> transfers;   ///< sorted by (tensor, span, heads, source, targets, lane, ready)
  std::vector<AttentionTask> tasks;  ///< sorted by (rank, query, key, heads)
  /// Backward only; sorted by (tensor, span, heads, target, sources, ...).
  std::vector<Reduction> reductions;
  bool operator==(const ScheduleStep&) const = default;
};

/// `needed`: every received row is used or forwarded, which lint enforces. `full`: the published behaviour of
/// a strategy, which sends rows that the mask does not need.
enum class ExchangeMode : std::uint8_t { needed, full };

struct CommSchedule {
  ExchangeMode exchange = ExchangeMode::needed;
  std::vector<ScheduleStep> steps;
  bool operator==(const CommSchedule&) const = default;
};

/// Whether q and kv that were received in forward are kept for backward or sent again.
enum class BackwardKeep : std::uint8_t { retain, refetch };
/// The way dK and dV go home. owner: straight to the owner after the last use. reverse_tree: back along the
/// forward transfers, summed at every hop. explicit_steps: as written in BackwardPolicy::steps.
enum class GradientReturn : std::uint8_t { owner, reverse_tree, explicit_steps };

struct BackwardPolicy {
  BackwardKeep kv = BackwardKeep::refetch;
  GradientReturn gradient_return = GradientReturn::owner;
  std::vector<ScheduleStep> steps;  ///< only with explicit_steps
  bool operator==(const BackwardPolicy&) const = default;
};

/// Sorts steps into canonical order and merges nothing: strategies must not emit mergeable pieces twice.
void sort_canonically(ScheduleStep& step);
/// The order in which transfers of a step are listed, issued and matched on both ends.
bool canonical_less(const Transfer& a, const Transfer& b);
bool canonical_less(const Reduction& a, const Reduction& b);
bool canonical_less(const AttentionTask& a, const AttentionTask& b);
std::int64_t target_count(const Transfer& transfer);
/// Sorted, merged ranges of `ranks` (any order, no duplicates).
std::vector<RankRange> rank_ranges(std::vector<std::int32_t> ranks);

}  // namespace strata
