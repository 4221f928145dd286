// SPDX-License-Identifier: Apache-2.0
// What slices are on the wire: the buffers that the rows of each tensor travel in. Inside of lowering.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "core/schedule/comm_schedule.hpp"

namespace strata::detail {

/// Up to three buffers whose rows travel together (d_o, lse, delta), without an allocation: a program has
/// hundreds of thousands of them.
struct BufferList {
  std::array<std::int32_t, 3> index{};
  std::uint32_t count = 0;
  const std::int32_t* begin() const { return index.data(); }
  const std::int32_t* end() const { return index.data() + count; }
};

/// One buffer of a wire form: what a row and head of a tensor becomes in it.
struct WireBuffer {
  BufferRole role = BufferRole::q;
  ElementType type = ElementType::f32;
  std::int32_t width = 0;  ///< elements
  /// Bytes of one row.
  std::int64_t row_bytes(HeadRange heads) const {
    return std::int64_t{heads.count()} * width * element_bytes(type);
  }
};
struct WireBuffers {
  std::array<WireBuffer, 3> buffers;
  std::size_t count = 0;
  const WireBuffer* begin() const { return buffers.data(); }
  const WireBuffer* end() const { return buffers.data() + count; }
};

/// The wire format of TensorKind, in the order in which its buffers are sent.
WireBuffers wire_buffers(TensorKind tensor, const ModelShape& model);

}  // namespace strata::detail
