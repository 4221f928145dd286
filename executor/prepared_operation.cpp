// SPDX-License-Identifier: Apache-2.0
#include "executor/prepared_operation.hpp"

#include <algorithm>

#include "core/base/overloaded.hpp"
#include "executor/kernel_arguments.hpp"
#include "executor/row_items.hpp"

namespace strata {

namespace {

/// `op` is an Attention or an AttentionBackward.
template <typename AttentionOperation>
PreparedOperation prepare_attention(const RankProgram& program, const AttentionOperation& op,
                                    const ModelShape& model, kernels::OutputMode mode, std::byte* arena) {
  if (op.blocks.empty()) return {};
  AttentionItems items;
  const std::vector<kernels::AttentionBlock> blocks = kernel_blocks(op.blocks);
  if constexpr (std::is_same_v<AttentionOperation, Attention>) {
    items.work = kernels::build_forward_work(kernel_shape(model), blocks, mode);
  } else {
    items.work = kernels::build_backward_work(kernel_shape(model), blocks, mode);
  }
  for (const QueryBuffers& query : op.queries) items.queries.push_back(query_rows(program, query, arena));
  for (const KeyBuffers& key : op.keys) items.keys.push_back(key_rows(program, key, arena));
  items.order = kernels::longest_first(items.work);
  return PreparedOperation(std::move(items));
}

void run_task(const RowItems& items, const RowTask& task, kernels::Scratch& scratch) {
  std::visit(
      Overloaded{
          [](const CopyTask& t) {
            const auto copy = t.streamed ? kernels::stream_rows : kernels::copy_rows;
            copy(t.target, t.target_stride, t.source, t.source_stride, t.row_bytes, t.rows);
          },
          [](const AddTask& t) {
            kernels::add_rows(t.target, t.target_stride, t.source, kernels::Element::f32, t.source_stride,
                              t.columns, t.rows);
          },
          [](const ConvertTask& t) {
            kernels::convert_rows(t.target, t.target_element, t.columns, t.source, t.source_element,
                                  t.columns, t.columns, t.rows);
          },
          [](const FillTask& t) {
            const auto fill = t.streamed ? kernels::stream_fill : kernels::fill;
            fill(t.target, t.value, t.count);
          },
          [&](const MergeTask& t) {
            const std::span parts(items.parts.data() + t.part_begin, static_cast<std::size_t>(t.part_count));
            kernels::merge_partials(t.target, parts, t.rows, t.heads, t.dim);
          },
          [](const DeltaTask& t) {
            kernels::compute_delta(t.delta, t.grad_out, t.grad_out_element, t.out, t.out_element, t.rows,
                                   t.heads, t.dim);
          },
          [&](const SeedTask& t) {
            const std::span values(reinterpret_cast<float*>(scratch.data()), scratch.bytes() / sizeof(float));
            fill_rows(t.seed, t.tensor, t.span, t.shape, t.type, t.target, values);
          },
      },
      task);
}

}  // namespace

bool PreparedOperation::is_attention() const { return std::holds_alternative<AttentionItems>(items_); }

std::int64_t PreparedOperation::item_count() const {
  if (const auto* attention = std::get_if<AttentionItems>(&items_)) {
    return static_cast<std::int64_t>(attention->order.size());
  }
  if (const auto* rows = std::get_if<RowItems>(&items_)) {
    return static_cast<std::int64_t>(rows->item_begin.size()) - 1;
  }
  return 0;
}

std::size_t PreparedOperation::scratch_bytes() const {
  if (const auto* attention = std::get_if<AttentionItems>(&items_)) {
    return kernels::scratch_bytes(attention->work.shape);
  }
  std::size_t bytes = 0;
  if (const auto* rows = std::get_if<RowItems>(&items_)) {
    for (const RowTask& task : rows->tasks) {
      const auto* seed = std::get_if<SeedTask>(&task);
      if (seed == nullptr) continue;
      bytes = std::max(bytes, sizeof(float) * static_cast<std::size_t>(seed->shape.heads) *
                                  static_cast<std::size_t>(seed->shape.width));
    }
  }
  return bytes;
}

void PreparedOperation::run_item(std::int64_t item, kernels::Scratch& scratch) const {
  if (const auto* attention = std::get_if<AttentionItems>(&items_)) {
    const kernels::Operands operands{attention->queries, attention->keys};
    kernels::run_item(attention->work, operands, attention->order[static_cast<std::size_t>(item)], scratch);
    return;
  }
  const auto& rows = std::get<RowItems>(items_);
  const auto begin = static_cast<std::size_t>(rows.item_begin[static_cast<std::size_t>(item)]);
  const auto end = static_cast<std::size_t>(rows.item_begin[static_cast<std::size_t>(item) + 1]);
  for (std::size_t i = begin; i < end; ++i) run_task(rows, rows.tasks[i], scratch);
}

PreparedOperation prepare_operation(const RankProgram& program, const Operation& op, const ModelShape& model,
                                    std::byte* arena, bool stream) {
  return std::visit(
      Overloaded{
          [](const Exchange&) { return PreparedOperation(); },
          [](const Collective&) { return PreparedOperation(); },
          [&](const CopyRows& copy) { return PreparedOperation(copy_items(program, copy, arena, stream)); },
          [&](const Attention& attention) {
            check_blocks(program, attention);
            const auto mode = attention.merge ? kernels::OutputMode::merge : kernels::OutputMode::write;
            return prepare_attention(program, attention, model, mode, arena);
          },
          [&](const AttentionBackward& attention) {
            check_blocks(program, attention);
            return prepare_attention(program, attention, model, kernels::OutputMode::merge, arena);
          },
          [&](const MergePartials& merge) { return PreparedOperation(merge_items(program, merge, arena)); },
          [&](const AccumulateGradient& sum) { return PreparedOperation(sum_items(program, sum, arena)); },
          [&](const TokenWork& work) {
            if (work.kind == TokenWorkKind::linear) return PreparedOperation();
            return PreparedOperation(token_work_items(program, work, arena, stream));
          },
      },
      op);
}

PreparedOperation prepare_inputs(const RankProgram& program, std::span<const TokenSpan> spans,
                                 const ModelShape& model, std::uint64_t seed, std::byte* arena) {
  return PreparedOperation(input_items(program, spans, model, seed, arena));
}

PreparedOperation prepare_copy_out(const RankProgram& program, std::span<const std::int32_t> buffers,
                                   std::span<std::byte* const> targets, const std::byte* arena) {
  return PreparedOperation(copy_out_items(program, buffers, targets, arena));
}

}  // namespace strata
