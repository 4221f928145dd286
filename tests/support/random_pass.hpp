// SPDX-License-Identifier: Apache-2.0
// One pass of a random schedule, right by construction. It is given who computes what in which step. It
// brings every row and head there in time, by way of other ranks now and then, and takes the results home. It
// decides row by row and head by head. Only in the end it joins what happens to travel alike into slices. So
// a slice may come from several origins, be cut otherwise than what it belongs to, and go by any lane.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/plan.hpp"
#include "tests/support/dice.hpp"

namespace strata::test {

/// How a wave likes to move things. Numbers are chances: one in so many.
struct ScheduleStyle {
  std::int32_t lanes = 1;
  /// A row comes from a rank that received it, or by way of one that only passes it on.
  std::int32_t relay = 3;
  std::int32_t late = 4;   ///< `ready` later than the next step
  std::int32_t slack = 4;  ///< earlier than the last possible step, or a result later than the first
  std::int32_t cut = 8;    ///< what could travel as one slice is two
  bool hub = false;        ///< one rank hands on what it owns and what it received, as far as it can
  std::int32_t waste = 0;  ///< rows that nobody asked for; 0: never
};

/// One number for every (rank, row, head); rows count over all documents of a wave.
class RowGrid {
 public:
  RowGrid() = default;
  RowGrid(std::int32_t ranks, std::int64_t rows, std::int32_t heads, std::int32_t value)
      : rows_(rows), heads_(heads), values_(static_cast<std::size_t>(ranks * rows * heads), value) {}
  std::int32_t& at(std::int32_t rank, std::int64_t row, std::int32_t head) {
    return values_.at(static_cast<std::size_t>((rank * rows_ + row) * heads_ + head));
  }
  std::int32_t heads() const { return heads_; }

 private:
  std::int64_t rows_ = 0;
  std::int32_t heads_ = 0;
  std::vector<std::int32_t> values_;
};

class RandomPass {
 public:
  /// `wave` has its documents, lengths and placement. Draws from `seed` only.
  RandomPass(const Wave& wave, const ModelShape& model, const ScheduleStyle& style, std::uint64_t seed);

  /// A task that needs rows of others takes place in step 1 or later.
  void add_task(const AttentionTask& task, std::int32_t step);
  /// Whether the rank of `task` owns all rows that it reads.
  bool is_local(const AttentionTask& task) const;
  /// The q and kv that `forward` received are there from the start.
  void keep_inputs(const RandomPass& forward);

  /// The whole pass, in canonical order. Once.
  std::vector<ScheduleStep> forward_steps();
  std::vector<ScheduleStep> backward_steps();

 private:
  static constexpr std::int32_t kNever = 1 << 30;

  /// One row and head between a `single` end (a transfer's source, a reduction's target) and a peer.
  struct Unit {
    TensorKind tensor = TensorKind::kv;
    std::int32_t step = 0, lane = 0, ready = 0;
    std::int32_t single = 0, peer = 0;
    std::size_t document = 0;
    std::int64_t begin = 0, end = 0;
    HeadRange heads;
  };
  /// What is the same for rows and heads of one block, so that they travel alike if they can.
  struct Choice {
    std::int32_t source = 0;  ///< to take the row from, if it has it in time
    bool relay = false;
    std::int32_t relay_rank = 0;
    std::int32_t slack = 0, late = 0, lane = 0;
    bool finished = false;
  };
  struct Cell {
    std::size_t document = 0;
    std::int64_t row = 0;  ///< over all documents
    std::int32_t head = 0;
    std::int64_t row_block = 0, head_block = 0;
  };

  Choice choice(TensorKind tensor, const Cell& cell, std::int32_t rank) const;
  template <typename Visit>
  void each_cell(TensorKind tensor, std::int32_t heads, Visit visit);
  RowGrid owned(std::int32_t heads) const;

  void deliver(TensorKind tensor, RowGrid& held, RowGrid& need);
  void bring(TensorKind tensor, const Cell& cell, std::int32_t rank, std::int32_t by, RowGrid& held,
             RowGrid& need);
  void send(TensorKind tensor, const Cell& cell, std::int32_t source, std::int32_t target, std::int32_t by,
            const Choice& how, RowGrid& held);
  void waste(TensorKind tensor, RowGrid& held);
  void return_outputs();
  void return_query_gradients();
  void return_key_gradients();
  void return_key_gradient(const Cell& cell);
  void add_unit(TensorKind tensor, const Cell& cell, std::int32_t step, std::int32_t single,
                std::int32_t peer, const Choice& how, std::int32_t ready);
  void join_units();
  std::vector<ScheduleStep> steps();

  const Wave& wave_;
  const ModelShape& model_;
  ScheduleStyle style_;
  std::uint64_t seed_;
  std::int32_t ranks_;
  std::vector<std::int64_t> first_row_;            ///< [document of the wave]
  std::vector<std::int32_t> owner_;                ///< [row]
  RowGrid query_need_, key_need_;                  ///< first step in which a task reads the row
  RowGrid query_last_, key_last_;                  ///< the last one; -1: none
  RowGrid pairs_;                                  ///< pairs that the rank computes for the query
  RowGrid queries_, keys_, gradients_;             ///< first step in which the rank has the row
  std::vector<std::vector<AttentionTask>> tasks_;  ///< [step]
  std::vector<Unit> units_;
};

}  // namespace strata::test
