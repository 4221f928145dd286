// SPDX-License-Identifier: Apache-2.0
#include "executor/device/device_operation.hpp"

#include <algorithm>
#include <limits>

#include "core/base/check.hpp"
#include "core/base/overloaded.hpp"
#include "core/program/messages.hpp"
#include "executor/kernel_arguments.hpp"
#include "kernels/cuda/attention_lists.hpp"
#include "kernels/functors/add_lists.hpp"

namespace strata {

namespace {

/// What one team of lanes copies of a contiguous piece: short enough to spread a piece over the whole device.
constexpr std::int64_t kCopyRowBytes = 4096;

using Launches = std::vector<DeviceLaunch>;

template <typename Functor>
RowsLaunch<Functor> lay_out(std::vector<typename Functor::Range>& ranges, DeviceLists& lists) {
  STRATA_CHECK(ranges.size() <= std::numeric_limits<std::int32_t>::max(), "{} ranges in one launch",
               ranges.size());
  RowsLaunch<Functor> launch;
  launch.tiles = kernels::lay_out_ranges<Functor>(ranges.data(), static_cast<std::int32_t>(ranges.size()));
  launch.ranges = lists.add<typename Functor::Range>(ranges);
  return launch;
}

template <typename Functor>
Launches single(std::vector<typename Functor::Range> ranges, DeviceLists& lists) {
  if (ranges.empty()) return {};
  return {lay_out<Functor>(ranges, lists)};
}

Launches copies(const RankProgram& program, const CopyRows& op, std::byte* arena, DeviceLists& lists) {
  std::vector<kernels::CopyRange> ranges;
  for (const RowCopy& copy : op.copies) {
    check_copy(program, copy);
    const CopyBytes bytes = copy_bytes(program, copy);
    kernels::CopyRange& range = ranges.emplace_back();
    range.target = slice_data(program, copy.target, copy.target_row, copy.heads, arena);
    range.source = slice_data(program, copy.source, copy.source_row, copy.heads, arena);
    range.target_stride = bytes.target_stride;
    range.source_stride = bytes.source_stride;
    range.row_bytes = bytes.row_bytes;
    range.rows = copy.row_count;
  }
  return single<kernels::CopyFunctor>(std::move(ranges), lists);
}

Launches sums(const RankProgram& program, const AccumulateGradient& op, std::byte* arena,
              DeviceLists& lists) {
  std::vector<kernels::AddTarget> targets(program.buffers.size());
  std::vector<kernels::Addition> additions;
  for (const RowCopy& copy : op.additions) {
    check_copy(program, copy);
    const Buffer& target = buffer_of(program, copy.target);
    const Buffer& source = buffer_of(program, copy.source);
    STRATA_CHECK(target.type == ElementType::f32 && contains(target.heads, copy.heads),
                 "rank {}: sum into b{}, which is not f32 or lacks heads", program.rank, copy.target);
    targets[static_cast<std::size_t>(copy.target)] = {
        reinterpret_cast<float*>(buffer_data(program, copy.target, arena)), target.row_bytes()};
    kernels::Addition& addition = additions.emplace_back();
    addition.array = copy.target;
    addition.row = copy.target_row;
    addition.rows = copy.row_count;
    addition.column = std::int64_t{copy.heads.begin - target.heads.begin} * target.width;
    addition.columns = std::int64_t{copy.heads.count()} * target.width;
    addition.part = {slice_data(program, copy.source, copy.source_row, copy.heads, arena), source.row_bytes(),
                     kernels::Element::f32};
  }
  kernels::AddList list = kernels::compile_additions(additions, targets);
  if (list.ranges.empty()) return {};
  AddLaunch launch;
  launch.rows = lay_out<kernels::AddFunctor>(list.ranges, lists);
  launch.parts = lists.add<kernels::AddPart>(list.parts);
  return {launch};
}

Launches merges(const RankProgram& program, const MergePartials& op, std::byte* arena, DeviceLists& lists) {
  const Buffer& out = buffer_of(program, op.out);
  const Buffer& lse = buffer_of(program, op.lse);
  std::vector<kernels::MergeRange> ranges;
  std::vector<kernels::MergePart> parts;
  const auto floats = [&](std::int32_t buffer, std::int64_t row, HeadRange heads) {
    return reinterpret_cast<float*>(slice_data(program, buffer, row, heads, arena));
  };
  for (const MergeRange& each : op.ranges) {
    check_rows(program, op.out, each.row, each.row_count);
    check_rows(program, op.lse, each.row, each.row_count);
    kernels::MergeRange& range = ranges.emplace_back();
    range.out = slice_data(program, op.out, each.row, each.heads, arena);
    range.lse = floats(op.lse, each.row, each.heads);
    range.out_stride = out.row_bytes();
    range.lse_stride = lse.row_bytes();
    range.rows = each.row_count;
    range.dim = out.width;
    range.part_begin = std::ssize(parts);
    range.part_count = static_cast<std::int32_t>(each.parts.size());
    range.heads = each.heads.count();
    range.element = kernel_element(out.type);
    for (const MergeRange::Part& source : each.parts) {
      check_rows(program, source.out, source.row, each.row_count);
      check_rows(program, source.lse, source.row, each.row_count);
      const Buffer& buffer = buffer_of(program, source.out);
      STRATA_CHECK(buffer.width == out.width, "rank {}: merge of b{} into b{}", program.rank, source.out,
                   op.out);
      kernels::MergePart& part = parts.emplace_back();
      part.out = slice_data(program, source.out, source.row, each.heads, arena);
      part.lse = floats(source.lse, source.row, each.heads);
      part.out_stride = buffer.row_bytes();
      part.lse_stride = buffer_of(program, source.lse).row_bytes();
      part.element = kernel_element(buffer.type);
    }
  }
  if (ranges.empty()) return {};
  MergeLaunch launch;
  launch.rows = lay_out<kernels::MergeFunctor>(ranges, lists);
  launch.parts = lists.add<kernels::MergePart>(parts);
  return {launch};
}

/// An attention instruction in the kernels' words.
struct AttentionCall {
  kernels::AttentionShape shape;
  kernels::OutputMode mode = kernels::OutputMode::write;
  std::vector<kernels::AttentionBlock> blocks;
  std::vector<kernels::QueryRows> queries;
  std::vector<kernels::KeyRows> keys;
};

/// `op` is an Attention or an AttentionBackward.
template <typename AttentionOperation>
AttentionCall attention_call(const RankProgram& program, const AttentionOperation& op,
                             const ModelShape& model, kernels::OutputMode mode, std::byte* arena) {
  check_blocks(program, op);
  AttentionCall call;
  call.shape = kernel_shape(model);
  call.mode = mode;
  call.blocks = kernel_blocks(op.blocks);
  for (const QueryBuffers& query : op.queries) call.queries.push_back(query_rows(program, query, arena));
  for (const KeyBuffers& key : op.keys) call.keys.push_back(key_rows(program, key, arena));
  return call;
}

DeviceLaunch plain(AttentionCall call, bool backward, DeviceLists& lists) {
  ReferenceLaunch launch;
  launch.shape = call.shape;
  launch.mode = call.mode;
  launch.backward = backward;
  launch.blocks = lists.add<kernels::AttentionBlock>(call.blocks);
  launch.queries = lists.add<kernels::QueryRows>(call.queries);
  launch.keys = lists.add<kernels::KeyRows>(call.keys);
  launch.host_queries = std::move(call.queries);
  launch.host_keys = std::move(call.keys);
  return launch;
}

DeviceLaunch tiled(const AttentionCall& call, kernels::WorkKind kind, std::int32_t rows, DeviceLists& lists) {
  const kernels::AttentionLists built = kernels::build_attention_lists(call.shape, call.blocks, kind, rows);
  constexpr kernels::AttentionTickets kNoTickets;
  TiledLaunch launch;
  launch.kind = kind;
  launch.shape = call.shape;
  launch.mode = call.mode;
  launch.tiles = lists.add<kernels::DeviceTile>(built.tiles);
  launch.segments = lists.add<kernels::DeviceSegment>(built.segments);
  launch.queries = lists.add<kernels::QueryRows>(call.queries);
  launch.keys = lists.add<kernels::KeyRows>(call.keys);
  launch.tickets = lists.add<kernels::AttentionTickets>(std::span(&kNoTickets, 1));
  return launch;
}

Launches forward(const RankProgram& program, const Attention& op, const ModelShape& model,
                 const TileRows& tiles, std::byte* arena, DeviceLists& lists) {
  if (op.blocks.empty()) return {};
  const auto mode = op.merge ? kernels::OutputMode::merge : kernels::OutputMode::write;
  AttentionCall call = attention_call(program, op, model, mode, arena);
  if (tiles.forward > 0) return {tiled(call, kernels::WorkKind::forward, tiles.forward, lists)};
  return {plain(std::move(call), false, lists)};
}

Launches backward(const RankProgram& program, const AttentionBackward& op, const ModelShape& model,
                  const TileRows& tiles, std::byte* arena, DeviceLists& lists) {
  if (op.blocks.empty()) return {};
  AttentionCall call = attention_call(program, op, model, kernels::OutputMode::merge, arena);
  if (tiles.grad_q == 0 || tiles.grad_kv == 0) return {plain(std::move(call), true, lists)};
  return {tiled(call, kernels::WorkKind::grad_kv, tiles.grad_kv, lists),
          tiled(call, kernels::WorkKind::grad_q, tiles.grad_q, lists)};
}

/// Buffers whose rows and heads correspond one to one.
void check_alike(const RankProgram& program, std::int32_t a, std::int32_t b) {
  STRATA_CHECK(buffer_of(program, a).rows == buffer_of(program, b).rows &&
                   buffer_of(program, a).heads == buffer_of(program, b).heads,
               "rank {}: b{} and b{} differ in rows or heads", program.rank, a, b);
}

Launches token_work(const RankProgram& program, const TokenWork& work, std::byte* arena, DeviceLists& lists) {
  if (work.kind == TokenWorkKind::linear) return {};
  const Buffer& target = buffer_of(program, work.target);
  if (target.rows == 0) return {};
  std::byte* const data = buffer_data(program, work.target, arena);
  if (work.kind == TokenWorkKind::zero) {
    STRATA_CHECK(target.type == ElementType::f32, "rank {}: b{} to be zeroed is not f32", program.rank,
                 work.target);
    kernels::FillRange range;
    range.target = reinterpret_cast<float*>(data);
    range.count = target.bytes().count / 4;
    range.value = target.role == BufferRole::lse_acc ? -std::numeric_limits<float>::infinity() : 0.0F;
    return single<kernels::FillFunctor>({range}, lists);
  }
  check_alike(program, work.target, work.source);
  const Buffer& source = buffer_of(program, work.source);
  const std::byte* const from = buffer_data(program, work.source, arena);
  if (work.kind == TokenWorkKind::cast) {
    kernels::CastRange range;
    range.target = data;
    range.source = from;
    range.target_stride = target.row_bytes();
    range.source_stride = source.row_bytes();
    range.columns = std::int64_t{target.heads.count()} * target.width;
    range.rows = target.rows;
    range.target_element = kernel_element(target.type);
    range.source_element = kernel_element(source.type);
    return single<kernels::CastFunctor>({range}, lists);
  }
  STRATA_CHECK(work.kind == TokenWorkKind::delta, "rank {}: token work that rows cannot express",
               program.rank);
  check_alike(program, work.target, work.other);
  const Buffer& other = buffer_of(program, work.other);
  kernels::DeltaRange range;
  range.delta = reinterpret_cast<float*>(data);
  range.grad_out = from;
  range.out = buffer_data(program, work.other, arena);
  range.delta_stride = target.row_bytes();
  range.grad_out_stride = source.row_bytes();
  range.out_stride = other.row_bytes();
  range.rows = target.rows;
  range.dim = source.width;
  range.heads = source.heads.count();
  range.grad_out_element = kernel_element(source.type);
  range.out_element = kernel_element(other.type);
  return single<kernels::DeltaFunctor>({range}, lists);
}

/// Full rows of kCopyRowBytes, then the rest as a row of its own.
void append_piece(std::byte* target, const std::byte* source, std::int64_t bytes,
                  std::vector<kernels::CopyRange>& ranges) {
  kernels::CopyRange range;
  range.target = target;
  range.source = source;
  range.target_stride = range.source_stride = range.row_bytes = kCopyRowBytes;
  range.rows = bytes / kCopyRowBytes;
  if (range.rows > 0) ranges.push_back(range);
  const std::int64_t done = range.rows * kCopyRowBytes;
  if (done == bytes) return;
  range.target = target + done;
  range.source = source + done;
  range.row_bytes = bytes - done;
  range.rows = 1;
  ranges.push_back(range);
}

}  // namespace

std::vector<DeviceLaunch> compile_operation(const RankProgram& program, const Operation& op,
                                            const ModelShape& model, const TileRows& tiles, std::byte* arena,
                                            DeviceLists& lists) {
  return std::visit(
      Overloaded{
          [](const Exchange&) { return Launches{}; },
          [](const Collective&) { return Launches{}; },
          [&](const CopyRows& copy) { return copies(program, copy, arena, lists); },
          [&](const Attention& each) { return forward(program, each, model, tiles, arena, lists); },
          [&](const AttentionBackward& each) { return backward(program, each, model, tiles, arena, lists); },
          [&](const MergePartials& merge) { return merges(program, merge, arena, lists); },
          [&](const AccumulateGradient& sum) { return sums(program, sum, arena, lists); },
          [&](const TokenWork& work) { return token_work(program, work, arena, lists); },
      },
      op);
}

std::vector<DeviceLaunch> compile_link(std::span<const CopyChunk> chunks, DeviceLists& lists) {
  std::vector<kernels::CopyRange> ranges;
  for (std::size_t begin = 0; begin < chunks.size();) {
    std::int64_t bytes = chunks[begin].bytes;
    std::size_t end = begin + 1;
    while (end < chunks.size() && chunks[end].target == chunks[begin].target + bytes &&
           chunks[end].source == chunks[begin].source + bytes) {
      bytes += chunks[end++].bytes;
    }
    append_piece(chunks[begin].target, chunks[begin].source, bytes, ranges);
    begin = end;
  }
  return single<kernels::CopyFunctor>(std::move(ranges), lists);
}

}  // namespace strata
