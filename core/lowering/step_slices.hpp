// SPDX-License-Identifier: Apache-2.0
// What one rank sends and receives in one step, slice by slice. Inside of lowering.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/lowering/wire_form.hpp"
#include "core/schedule/comm_schedule.hpp"
#include "core/schedule/rank_set.hpp"

namespace strata::detail {

/// The same rows of a few buffers, each in one piece.
struct Slice {
  BufferList buffers;
  std::int64_t row = 0;
};

/// What both ends of a transfer or reduction know of a slice.
struct SliceShape {
  std::int32_t lane = 0;
  TensorKind tensor = TensorKind::kv;
  std::int32_t position = 0;  ///< in the step's transfers or reductions
  HeadRange heads;
  std::int64_t row_count = 0;

  static SliceShape of(const Transfer& transfer, std::int32_t position) {
    return {transfer.lane, transfer.tensor, position, transfer.heads, transfer.span.length()};
  }
  static SliceShape of(const Reduction& reduction, std::int32_t position) {
    return {reduction.lane, reduction.tensor, position, reduction.heads, reduction.span.length()};
  }
};

/// The next rows of a slice, up to the place where the buffers that hold it change.
struct SlicePiece {
  Slice place;
  std::int64_t row_count = 0;
};

/// A slice that leaves. Its buffers hold its heads, and may hold others.
struct SentSlice {
  SliceShape shape;
  std::span<const RankRange> targets;  ///< empty: there is one, `target`
  std::int32_t target = -1;
  std::size_t first_piece = 0, end_piece = 0;  ///< of SentSlices::pieces, in row order

  template <typename Visit>
  void each_target(Visit visit) const {
    if (target >= 0) visit(target);
    each_rank(targets, visit);
  }
};

struct SentSlices {
  std::vector<SentSlice> slices;
  std::vector<SlicePiece> pieces;
};

/// A slice that arrives, and where it lands: in buffers with its heads.
struct ReceivedSlice {
  SliceShape shape;
  std::int32_t source = 0;
  std::int32_t arrival = -1;  ///< of SliceReceiver; -1: none
  Slice place;
};

}  // namespace strata::detail
