// SPDX-License-Identifier: Apache-2.0
// Messages in the IR: buffers of bytes in which rows of several buffers travel to one peer. What copies into
// and out of them touch, and what they carry.
#pragma once

#include <cstdint>

#include "core/program/rank_program.hpp"

namespace strata {

/// A copy in bytes, whichever side is a message.
struct CopyBytes {
  std::int64_t row_bytes = 0;      ///< bytes that one row copies
  std::int64_t source_stride = 0;  ///< from row to row
  std::int64_t target_stride = 0;
};
CopyBytes copy_bytes(const RankProgram& program, const RowCopy& copy);

/// Rows of `buffer`, its source or target, that the copy touches. Rows of a message are bytes. A buffer that
/// does not exist counts as one with rows.
std::int64_t rows_touched(const RankProgram& program, const RowCopy& copy, std::int32_t buffer);

/// Payload of tensor kv that the forward pass sends: kv buffers, and what of them was copied into messages.
Bytes sent_kv_bytes(const RankProgram& program);

}  // namespace strata
