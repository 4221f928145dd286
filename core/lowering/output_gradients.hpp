// SPDX-License-Identifier: Apache-2.0
// The place of d_o of queries that the rank does not own. It lies beside its q where the q lies in one piece
// with the same heads. Otherwise it lies in buffers of its own until a task reads it. Inside of lowering.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "core/lowering/rank_rows.hpp"
#include "core/lowering/step_slices.hpp"

namespace strata::detail {

class OutputGradients {
 public:
  explicit OutputGradients(RankRows& rows) : rows_(rows) {}

  /// Begins a step. `add_incoming` then names the queries that arrive in it: their d_o may lie beside them
  /// already.
  void begin_step() { incoming_ = {}; }
  void add_incoming(HeadRange heads, const HeldRun& run) {
    incoming_.add(heads, run.span, run.group, run.row);
  }
  void seal_incoming() { incoming_.seal(); }

  /// The rows of queries that d_o of `transfer` can lie beside.
  std::optional<HeldRun> beside_queries(const Transfer& transfer);
  /// d_o that arrived elsewhere.
  void add_stray(HeadRange heads, const HeldRun& run) { strays_[run.span.document].push_back({heads, run}); }
  /// Copies d_o that the task reads, and that arrived apart from its q, to where the q is. It is copied once.
  void place(const AttentionTask& task, CopyRows& copies);

 private:
  struct Stray {
    HeadRange heads;
    HeldRun run;
  };

  void copy_beside_queries(const HeldRun& from, HeadRange heads, CopyRows& copies);

  RankRows& rows_;
  HeldRows incoming_;
  std::map<std::int32_t, std::vector<Stray>> strays_;  ///< by document
  std::vector<HeldRun> runs_;
  std::vector<HeadRange> head_parts_;
};

}  // namespace strata::detail
