// SPDX-License-Identifier: Apache-2.0
#include "executor/kernel_arguments.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/check.hpp"
#include "core/program/messages.hpp"

namespace strata {

namespace {

template <typename AttentionOperation>
void check_all_blocks(const RankProgram& program, const AttentionOperation& op) {
  for (const AttentionBlock& block : op.blocks) {
    const auto& query = op.queries.at(static_cast<std::size_t>(block.query_source));
    const auto& key = op.keys.at(static_cast<std::size_t>(block.key_source));
    const Buffer& q = buffer_of(program, query.q);
    const Buffer& kv = buffer_of(program, key.kv);
    STRATA_CHECK(block.query_begin >= 0 && block.query_begin + block.query_count <= q.rows &&
                     contains(q.heads, block.heads),
                 "rank {}: query rows {}+{} of a buffer of {}", program.rank, block.query_begin,
                 block.query_count, q.rows);
    STRATA_CHECK(block.key_begin >= 0 && block.key_begin + block.key_count <= kv.rows,
                 "rank {}: key rows {}+{} of a buffer of {}", program.rank, block.key_begin, block.key_count,
                 kv.rows);
  }
}

}  // namespace

kernels::Element kernel_element(ElementType type) {
  switch (type) {
    case ElementType::f32:
      return kernels::Element::f32;
    case ElementType::bf16:
      return kernels::Element::bf16;
    case ElementType::f16:
      return kernels::Element::f16;
  }
  STRATA_CHECK(false, "element type {} does not exist", static_cast<int>(type));
}

kernels::AttentionShape kernel_shape(const ModelShape& model) {
  kernels::AttentionShape shape;
  shape.element = kernel_element(model.element_type);
  shape.query_heads = model.query_heads;
  shape.kv_heads = model.kv_heads;
  shape.k_dim = model.head_dim;
  shape.v_dim = model.value_head_dim;
  shape.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(model.head_dim)));
  return shape;
}

std::vector<kernels::AttentionBlock> kernel_blocks(const std::vector<AttentionBlock>& blocks) {
  std::vector<kernels::AttentionBlock> result;
  result.reserve(blocks.size());
  for (const AttentionBlock& block : blocks) {
    kernels::AttentionBlock& out = result.emplace_back();
    out.query_source = block.query_source;
    out.key_source = block.key_source;
    out.query_begin = block.query_begin;
    out.query_count = block.query_count;
    out.key_begin = block.key_begin;
    out.key_count = block.key_count;
    out.head_begin = block.heads.begin;
    out.head_end = block.heads.end;
    out.lo = block.lo;
    out.hi = block.hi;
    out.key_stride = block.key_stride;
  }
  return result;
}

const Buffer& buffer_of(const RankProgram& program, std::int32_t index) {
  return program.buffers.at(static_cast<std::size_t>(index));
}

std::byte* buffer_data(const RankProgram& program, std::int32_t buffer, std::byte* arena) {
  return buffer < 0 ? nullptr : arena + buffer_of(program, buffer).arena_offset;
}

std::byte* slice_data(const RankProgram& program, std::int32_t index, std::int64_t row, HeadRange heads,
                      std::byte* arena) {
  const Buffer& buffer = buffer_of(program, index);
  if (buffer.is_message()) return arena + buffer.arena_offset + row;
  STRATA_CHECK(contains(buffer.heads, heads), "rank {}: heads {}..{} of b{} with {}..{}", program.rank,
               heads.begin, heads.end, index, buffer.heads.begin, buffer.heads.end);
  return arena + buffer.arena_offset + row * buffer.row_bytes() +
         (heads.begin - buffer.heads.begin) * buffer.width * element_bytes(buffer.type);
}

kernels::QueryRows query_rows(const RankProgram& program, const QueryBuffers& query, std::byte* arena) {
  const auto floats = [&](std::int32_t buffer) {
    return reinterpret_cast<float*>(buffer_data(program, buffer, arena));
  };
  const Buffer& q = buffer_of(program, query.q);
  kernels::QueryRows rows;
  rows.q = buffer_data(program, query.q, arena);
  rows.out = buffer_data(program, query.out, arena);
  rows.lse = floats(query.lse);
  rows.grad_out = buffer_data(program, query.d_o, arena);
  rows.delta = floats(query.delta);
  rows.grad_q = floats(query.dq);
  rows.rows = q.rows;
  rows.head_begin = q.heads.begin;
  rows.head_count = q.heads.count();
  return rows;
}

kernels::KeyRows key_rows(const RankProgram& program, const KeyBuffers& key, std::byte* arena) {
  const Buffer& kv = buffer_of(program, key.kv);
  kernels::KeyRows rows;
  rows.kv = buffer_data(program, key.kv, arena);
  rows.grad_kv = reinterpret_cast<float*>(buffer_data(program, key.dkv, arena));
  rows.rows = kv.rows;
  rows.head_begin = kv.heads.begin;
  rows.head_count = kv.heads.count();
  return rows;
}

void check_rows(const RankProgram& program, std::int32_t index, std::int64_t row, std::int64_t count) {
  const Buffer& buffer = buffer_of(program, index);
  STRATA_CHECK(row >= 0 && count >= 0 && row + count <= buffer.rows, "rank {}: rows {}+{} of b{} with {}",
               program.rank, row, count, index, buffer.rows);
}

void check_copy(const RankProgram& program, const RowCopy& copy) {
  const Buffer& source = buffer_of(program, copy.source);
  const Buffer& target = buffer_of(program, copy.target);
  const bool alike = source.is_message() || target.is_message()
                         ? source.is_message() != target.is_message()
                         : source.type == target.type && source.width == target.width;
  STRATA_CHECK(alike, "rank {}: copy between unlike buffers b{} and b{}", program.rank, copy.source,
               copy.target);
  check_rows(program, copy.source, copy.source_row, rows_touched(program, copy, copy.source));
  check_rows(program, copy.target, copy.target_row, rows_touched(program, copy, copy.target));
}

void check_blocks(const RankProgram& program, const Attention& op) { check_all_blocks(program, op); }
void check_blocks(const RankProgram& program, const AttentionBackward& op) { check_all_blocks(program, op); }

void check_arena(const RankProgram& program) {
  std::vector<Access> accesses;
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const Instruction& instruction : program.instructions(pass)) {
      append_accesses(program, instruction.op, accesses);
    }
  }
  std::vector<bool> used(program.buffers.size());
  for (const Access& access : accesses) {
    STRATA_CHECK(access.buffer >= 0 && access.buffer < std::ssize(program.buffers), "rank {}: no buffer b{}",
                 program.rank, access.buffer);
    used[static_cast<std::size_t>(access.buffer)] = true;
  }
  std::int64_t extent = 0;
  for (std::size_t b = 0; b < program.buffers.size(); ++b) {
    const Buffer& buffer = program.buffers[b];
    if (!used[b] && !buffer.persistent) continue;
    STRATA_CHECK(buffer.arena_offset >= 0 && buffer.arena_offset % kArenaAlignment == 0,
                 "rank {}: b{} lies at byte {}", program.rank, b, buffer.arena_offset);
    extent = std::max(extent, arena_aligned(buffer.arena_offset + buffer.bytes().count));
  }
  STRATA_CHECK(extent == program.arena.count, "rank {}: buffers take {} bytes, the program says {}",
               program.rank, extent, program.arena.count);
}

}  // namespace strata
