// SPDX-License-Identifier: Apache-2.0
// From the program's words to the kernels': element types, shapes, blocks and where a buffer's rows lie in an
// arena, for the work lists of the CPU and of the GPU alike. Kernels index arrays without checks, so whatever
// leaves its buffer is stopped here with InternalError.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "kernels/attention_types.hpp"

namespace strata {

kernels::Element kernel_element(ElementType type);
kernels::AttentionShape kernel_shape(const ModelShape& model);
std::vector<kernels::AttentionBlock> kernel_blocks(const std::vector<AttentionBlock>& blocks);

const Buffer& buffer_of(const RankProgram& program, std::int32_t index);
/// Start of a buffer, null for index -1.
std::byte* buffer_data(const RankProgram& program, std::int32_t buffer, std::byte* arena);
/// Where head `heads.begin` of row `row` starts; of a message, byte `row`.
std::byte* slice_data(const RankProgram& program, std::int32_t index, std::int64_t row, HeadRange heads,
                      std::byte* arena);
kernels::QueryRows query_rows(const RankProgram& program, const QueryBuffers& query, std::byte* arena);
kernels::KeyRows key_rows(const RankProgram& program, const KeyBuffers& key, std::byte* arena);

/// Checks that rows [row, row + count) lie in buffer `index`.
void check_rows(const RankProgram& program, std::int32_t index, std::int64_t row, std::int64_t count);
/// Checks that source and target are alike, or one of them is a message, and that both hold the rows.
void check_copy(const RankProgram& program, const RowCopy& copy);
/// Checks that every block lies in its buffers. `op` is an Attention or an AttentionBackward.
void check_blocks(const RankProgram& program, const Attention& op);
void check_blocks(const RankProgram& program, const AttentionBackward& op);
/// Checks that the bytes that the program's buffers really take are the bytes that it declares.
void check_arena(const RankProgram& program);

}  // namespace strata
