// SPDX-License-Identifier: Apache-2.0
// Inside of lowering: one rank's forward and backward pass, step by step. A step issues the copies that pack
// head slices, one Exchange per lane, and the attention of the step; what the step receives becomes visible
// afterwards.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/lowering/held_rows.hpp"
#include "core/lowering/lower_detail.hpp"
#include "core/plan/plan.hpp"

namespace strata::detail {

class RankLowering {
 public:
  RankLowering(const Wave& wave, const CommSchedule& backward, const ModelShape& model, std::int32_t rank);
  RankProgram lower();

 private:
  /// Up to three buffers travel together (d_o, lse, delta); no allocation, there are hundreds of thousands.
  struct BufferList {
    std::array<std::int32_t, 3> index{};
    std::int32_t count = 0;
    const std::int32_t* begin() const { return index.data(); }
    const std::int32_t* end() const { return index.data() + count; }
  };
  /// What one row and head of a tensor is on the wire: the buffers that a slice travels in.
  struct WireBuffer {
    BufferRole role = BufferRole::q;
    ElementType type = ElementType::f32;
    std::int32_t width = 0;
  };
  struct WireForm {
    std::array<WireBuffer, 3> buffers;
    std::size_t count = 0;
  };
  /// The same rows of a few buffers, contiguous and ready to be sent.
  struct Slice {
    BufferList buffers;
    std::int64_t row = 0;
  };

  /// The transfers and reductions of one step that concern the rank, by index, in canonical order.
  struct StepShare {
    std::vector<std::int32_t> sent, received;    ///< transfers
    std::vector<std::int32_t> given, collected;  ///< reductions
    std::vector<std::int32_t> arrivals;          ///< of `received`, then of `collected`; -1: beside q
  };
  /// Sends and receives of one step, by lane, in canonical order. Both lists get their length first.
  struct LaneTraffic {
    Exchange exchange;
    std::size_t sends = 0, receives = 0;  ///< filled in so far
    void send(std::int32_t peer, std::int32_t buffer, std::int64_t row, std::int64_t rows) {
      exchange.sends[sends++] = {peer, buffer, row, rows};
    }
    void receive(std::int32_t peer, std::int32_t buffer, std::int64_t row, std::int64_t rows) {
      exchange.receives[receives++] = {peer, buffer, row, rows};
    }
  };
  struct StepTraffic {
    std::vector<LaneTraffic> lanes;
    CopyRows pack;
    LaneTraffic& lane(std::int32_t index) { return lanes[static_cast<std::size_t>(index)]; }
  };
  /// Rows that arrive with one (lane, tensor, heads) in one step share their buffers.
  struct Arrival {
    std::int32_t lane = 0;
    TensorKind tensor = TensorKind::kv;
    HeadRange heads;
    std::int64_t rows = 0;
    BufferList buffers;
    std::int32_t group = -1;
  };
  /// A finished or partial output that came home.
  struct ReceivedOutput {
    TokenSpan span;
    HeadRange heads;
    std::int32_t step = 0, source = 0;
    std::int32_t out = 0, lse = 0;
    std::int64_t row = 0;
  };
  /// Whose rows: this rank's own, or another's, so that the rank passes their sum on.
  enum class Origin : std::uint8_t { own, relayed };
  struct OriginPart {
    TokenSpan span;
    Origin origin = Origin::own;
  };
  /// Rows of one origin whose gradient arrived and waits to be added.
  struct ReceivedGradient {
    std::int32_t ready = 0, step = 0, source = 0;
    TensorKind tensor = TensorKind::dkv;
    TokenSpan span;
    HeadRange heads;
    std::int32_t buffer = 0;
    std::int64_t row = 0;
    Origin origin = Origin::own;
  };

  /// Received rows of q, kv or d_o, and where they lie.
  struct PlacedRows {
    TensorKind tensor = TensorKind::kv;
    HeadRange heads;
    HeldRun run;
  };

  // lower_exchange.cpp
  /// Finds what concerns the rank and gives the lists of every lane their length.
  StepTraffic begin_traffic(const ScheduleStep& step, std::int32_t step_index);
  void add_sends(const ScheduleStep& step, StepTraffic& traffic);
  void add_receives(const ScheduleStep& step, std::int32_t step_index, StepTraffic& traffic);
  void receive_slice(const Transfer& transfer, Arrival& arrival, StepTraffic& traffic);
  void hold_from_next_step(TensorKind tensor, HeadRange heads, const HeldRun& run);
  void plan_arrivals(const ScheduleStep& step);
  /// Buffers for the arrivals from `first` on, whose number of rows is known.
  void create_arrivals(std::size_t first);
  void create_arrival_buffers(Arrival& arrival);
  /// The index of the arrival with these properties, which gets `rows` more.
  std::int32_t add_arrival(std::int32_t lane, TensorKind tensor, HeadRange heads, std::int64_t rows);
  WireForm wire_form(TensorKind tensor) const;
  /// New buffers in the form in which `tensor` travels.
  BufferList add_wire_buffers(TensorKind tensor, std::int64_t rows, HeadRange heads, bool persistent);
  const HeldRows& held_rows(TensorKind tensor) const;
  /// The buffers of a group that carry `tensor`.
  BufferList buffers_of(TensorKind tensor, std::int32_t group) const;
  Slice slice(TensorKind tensor, const TokenSpan& span, HeadRange heads, StepTraffic& traffic);
  Slice merged_output(const TokenSpan& span, HeadRange heads);
  void emit_traffic(const ScheduleStep& step, StepTraffic& traffic);

  // lower_forward.cpp
  void create_local_buffers();
  bool needs_accumulators() const;
  void lower_forward();
  void emit_attention(const ScheduleStep& step, bool backward);
  /// Output and lse of queries that the rank computes with; those that it only passes on have none.
  void create_query_results(std::int32_t group);
  void finish_forward();
  std::vector<MergeRange> merge_ranges() const;

  // lower_backward.cpp
  void lower_backward();
  void emit_zero(std::int32_t buffer);
  void finish_backward();

  // lower_gradients.cpp
  void create_query_gradient(std::int32_t group);
  void create_key_gradient(std::int32_t group);
  /// d_o lands beside its q where that lies in one piece with the same heads, else in buffers of its own.
  void receive_output_gradients(const ScheduleStep& step, StepTraffic& traffic);
  std::optional<HeldRun> beside_queries(const Transfer& transfer);
  void receive_beside_queries(const Transfer& transfer, const HeldRun& run, StepTraffic& traffic);
  /// Copies what the task reads of d_o that arrived apart from its q to where the q is, once.
  void place_output_gradients(const AttentionTask& task, CopyRows& copies);
  void copy_beside_queries(const HeldRun& from, HeadRange heads, CopyRows& copies);
  /// Sets `origins_` to the parts of `span` by origin, in row order: the only place that tells the rank's own
  /// rows from those of others.
  void split_by_origin(const TokenSpan& span);
  void receive_reduction(const Reduction& reduction, std::int32_t step_index, Arrival& arrival,
                         StepTraffic& traffic);
  void append_by_source(std::vector<ReceivedGradient>& gradients);
  void add_ready_gradients(std::int32_t step, Origin origin);
  void add_gradient(const ReceivedGradient& gradient, AccumulateGradient& sum);
  /// Keeps rows [begin, end) of a gradient whose kv the rank does not hold until it sends them on.
  void pass_on(ReceivedGradient gradient, HeadRange heads, std::int64_t begin, std::int64_t end);
  /// The sum that a reduction takes from this rank: its own share and what it passes on.
  Slice gradient_slice(const Reduction& reduction, StepTraffic& traffic);

  /// What became visible with the step's receives is added to the held rows.
  void seal_step();
  std::int64_t local_rows() const { return local_rows_; }
  HeadRange all_query_heads() const { return {0, model_.query_heads}; }
  HeadRange all_kv_heads() const { return {0, model_.kv_heads}; }
  std::int32_t kv_width() const { return model_.head_dim + model_.value_head_dim; }

  const Wave& wave_;
  const CommSchedule& backward_;
  const ModelShape& model_;
  std::int32_t rank_ = 0;
  std::int64_t local_rows_ = 0;
  bool accumulate_ = false;
  bool in_backward_ = false;
  RankProgram program_;
  ProgramBuilder builder_;
  HeldRows queries_, keys_;
  HeldRows own_rows_;                ///< where the rank's own rows lie in its own tensors
  HeldRows output_gradients_;        ///< d_o, with lse and delta
  HeldRows incoming_queries_;        ///< of the current step only: d_o lands beside the q of the same step
  std::vector<PlacedRows> pending_;  ///< what the next step will see
  std::vector<PlacedRows> stray_output_gradients_;  ///< d_o that does not lie beside its q yet
  std::vector<QueryBuffers> query_groups_;
  std::vector<KeyBuffers> key_groups_;
  std::vector<Arrival> arrivals_;
  std::vector<ReceivedOutput> received_outputs_;
  std::vector<ReceivedGradient> received_gradients_;  ///< by (step, source), the order of sums
  std::vector<ReceivedGradient> arriving_gradients_;  ///< of the current step, in canonical order
  std::vector<ReceivedGradient> passed_gradients_;    ///< ready, of rows whose kv is not here
  std::vector<OriginPart> origins_;
  StepShare share_;
  std::int32_t o_acc_ = -1, lse_acc_ = -1, delta_ = -1, dq_acc_ = -1, dkv_acc_ = -1;
  std::vector<HeldRun> runs_;
  std::vector<HeadRange> head_parts_, kv_head_parts_;
};

}  // namespace strata::detail
