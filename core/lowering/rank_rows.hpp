// SPDX-License-Identifier: Apache-2.0
// The rows that one rank holds while its program is written, and where they lie. Every part of lowering reads
// and extends it. Inside of lowering.
#pragma once

#include <cstdint>
#include <vector>

#include "core/lowering/held_rows.hpp"
#include "core/lowering/program_builder.hpp"
#include "core/lowering/wire_form.hpp"
#include "core/program/rank_program.hpp"
#include "core/schedule/wave.hpp"

namespace strata::detail {

class RankRows {
 public:
  RankRows(const Wave& wave, const ModelShape& model, std::int32_t rank, std::int32_t lane_count);
  RankRows(const RankRows&) = delete;
  RankRows& operator=(const RankRows&) = delete;

  /// The rank's own tensors, and with `accumulate` f32 running values of its outputs.
  void begin_forward(bool accumulate);
  /// Buffers of the rank's own gradients. What was received in forward stays only where the wave retains it.
  void begin_backward();
  /// Rows that arrived in a step are held from the next step on.
  void end_step();
  RankProgram finish();

  const Wave& wave() const { return wave_; }
  const ModelShape& model() const { return model_; }
  std::int32_t rank() const { return program_.rank; }
  std::int32_t lane_count() const { return program_.lane_count; }
  const LocalBuffers& local() const { return program_.local; }
  std::int64_t local_rows() const { return local_rows_; }
  bool accumulates() const { return accumulate_; }
  bool in_backward() const { return in_backward_; }
  bool retains_inputs() const { return !in_backward_ && wave_.backward.kv == BackwardKeep::retain; }
  HeadRange query_heads() const { return {0, model_.query_heads}; }
  HeadRange kv_heads() const { return {0, model_.kv_heads}; }
  ProgramBuilder& builder() { return builder_; }
  const Buffer& buffer(std::int32_t index) const { return builder_.buffer(index); }

  /// Groups of buffers with the same rows and heads; group 0 is the rank's own.
  const QueryBuffers& query_group(std::int32_t group) const {
    return query_groups_[static_cast<std::size_t>(group)];
  }
  const KeyBuffers& key_group(std::int32_t group) const {
    return key_groups_[static_cast<std::size_t>(group)];
  }
  std::size_t query_group_count() const { return query_groups_.size(); }
  std::size_t key_group_count() const { return key_groups_.size(); }
  /// A new group of received buffers; they have the form in which `tensor` travels.
  std::int32_t add_group(TensorKind tensor, const BufferList& buffers);
  /// The buffers of a group that carry `tensor`; -1 for those that do not exist.
  BufferList buffers_of(TensorKind tensor, std::int32_t group) const;
  /// New buffers in the form in which `tensor` travels.
  BufferList add_wire_buffers(TensorKind tensor, std::int64_t rows, HeadRange heads, bool persistent);

  const HeldRows& queries() const { return queries_; }
  const HeldRows& keys() const { return keys_; }
  /// Where the rank's own rows lie in its own tensors.
  const HeldRows& own() const { return own_; }
  /// The held rows that `tensor` is sent from.
  const HeldRows& held(TensorKind tensor) const;
  /// `tensor` is q, kv or d_o; its group has the rows of `run`.
  void hold_from_next_step(TensorKind tensor, HeadRange heads, const HeldRun& run);

  /// Output and lse of queries that the rank computes with; those that it only passes on have none.
  void create_query_results(std::int32_t group);
  /// The same for d_o, lse, delta and dq of queries, and for dkv of keys.
  void create_query_gradient(std::int32_t group);
  void create_key_gradient(std::int32_t group);
  void emit_zero(std::int32_t buffer);

 private:
  /// Rows of q, kv or d_o that came in the current step.
  struct PlacedRows {
    TensorKind tensor = TensorKind::kv;
    HeadRange heads;
    HeldRun run;
  };

  std::int32_t add_scratch(BufferRole role, ElementType type, const Buffer& like, std::int32_t width);

  const Wave& wave_;
  const ModelShape& model_;
  std::int64_t local_rows_ = 0;
  bool accumulate_ = false;
  bool in_backward_ = false;
  RankProgram program_;
  ProgramBuilder builder_;
  HeldRows queries_, keys_, own_;
  HeldRows output_gradients_;  ///< d_o, with lse and delta
  std::vector<PlacedRows> arrived_;
  std::vector<QueryBuffers> query_groups_;
  std::vector<KeyBuffers> key_groups_;
};

}  // namespace strata::detail
