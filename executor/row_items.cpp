// SPDX-License-Identifier: Apache-2.0
#include "executor/row_items.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/base/check.hpp"
#include "core/program/messages.hpp"
#include "core/verify/verify_schedule.hpp"
#include "executor/kernel_arguments.hpp"

namespace strata {

namespace {

static_assert(kMaxPartialOutputs < kernels::kMaxMergeParts, "what lint accepts can be merged");

/// Collects tasks with the grid cell they write, then turns runs of cells into items.
class ItemBuilder {
 public:
  explicit ItemBuilder(const RankProgram& program) : program_(program) {}

  /// Calls `make(offset, rows)` for every piece of rows [row, row + count) of `buffer` between grid lines;
  /// `make` returns the task for `rows` rows that start `offset` rows into the range.
  template <typename Make>
  void add(std::int32_t buffer, std::int64_t row, std::int64_t count, const Make& make) {
    add_wide(buffer, row, count, 1, make);
  }

  /// The same for `count` units of `width` rows each, which stay whole.
  template <typename Make>
  void add_wide(std::int32_t buffer, std::int64_t row, std::int64_t count, std::int64_t width,
                const Make& make) {
    const Buffer& target = buffer_of(program_, buffer);
    check_rows(program_, buffer, row, count * width);
    const std::int64_t cell_rows =
        std::max<std::int64_t>(1, kItemBytes / std::max<std::int64_t>(1, target.row_bytes()));
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t at = row + done * width;
      const std::int64_t cell = at / cell_rows;
      const std::int64_t units = std::min(count - done, ((cell + 1) * cell_rows - at + width - 1) / width);
      cells_.push_back({buffer, cell, units * width * target.row_bytes()});
      items_.tasks.push_back(make(done, units));
      done += units;
    }
  }

  std::vector<kernels::PartialOutput>& parts() { return items_.parts; }

  RowItems finish() {
    std::vector<std::size_t> order(cells_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return cells_[a].key() < cells_[b].key(); });
    RowItems result;
    result.parts = std::move(items_.parts);
    result.tasks.reserve(order.size());
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const Cell& cell = cells_[order[i]];
      const bool new_cell = i == 0 || cells_[order[i - 1]].key() != cell.key();
      if (new_cell && bytes >= kItemBytes / 2) {
        result.item_begin.push_back(static_cast<std::int64_t>(i));
        bytes = 0;
      }
      result.tasks.push_back(items_.tasks[order[i]]);
      bytes += cell.bytes;
    }
    if (!order.empty()) result.item_begin.push_back(static_cast<std::int64_t>(order.size()));
    return result;
  }

 private:
  struct Cell {
    std::int32_t buffer = 0;
    std::int64_t index = 0;
    std::int64_t bytes = 0;
    std::pair<std::int32_t, std::int64_t> key() const { return {buffer, index}; }
  };
  const RankProgram& program_;
  RowItems items_;
  std::vector<Cell> cells_;
};

}  // namespace

RowItems copy_items(const RankProgram& program, const CopyRows& copy, std::byte* arena, bool streamed) {
  ItemBuilder builder(program);
  for (const RowCopy& range : copy.copies) {
    check_copy(program, range);
    const CopyBytes bytes = copy_bytes(program, range);
    std::byte* const target = slice_data(program, range.target, range.target_row, range.heads, arena);
    const std::byte* const source = slice_data(program, range.source, range.source_row, range.heads, arena);
    const auto make = [&](std::int64_t offset, std::int64_t rows) {
      CopyTask task;
      task.target = target + offset * bytes.target_stride;
      task.source = source + offset * bytes.source_stride;
      task.target_stride = bytes.target_stride;
      task.source_stride = bytes.source_stride;
      task.row_bytes = bytes.row_bytes;
      task.streamed = streamed;
      task.rows = rows;
      return task;
    };
    const bool into_message = buffer_of(program, range.target).is_message();
    builder.add_wide(range.target, range.target_row, range.row_count, into_message ? bytes.row_bytes : 1,
                     make);
  }
  return builder.finish();
}

RowItems sum_items(const RankProgram& program, const AccumulateGradient& sum, std::byte* arena) {
  ItemBuilder builder(program);
  for (const RowCopy& range : sum.additions) {
    check_copy(program, range);
    const Buffer& source = buffer_of(program, range.source);
    const Buffer& target = buffer_of(program, range.target);
    STRATA_CHECK(target.type == ElementType::f32, "rank {}: sum into b{}, which is not f32", program.rank,
                 range.target);
    builder.add(range.target, range.target_row, range.row_count, [&](std::int64_t offset, std::int64_t rows) {
      AddTask task;
      task.target = reinterpret_cast<float*>(
          slice_data(program, range.target, range.target_row + offset, range.heads, arena));
      task.source = reinterpret_cast<const float*>(
          slice_data(program, range.source, range.source_row + offset, range.heads, arena));
      task.target_stride = target.heads.count() * target.width;
      task.source_stride = source.heads.count() * source.width;
      task.columns = range.heads.count() * target.width;
      task.rows = rows;
      return task;
    });
  }
  return builder.finish();
}

RowItems merge_items(const RankProgram& program, const MergePartials& merge, std::byte* arena) {
  ItemBuilder builder(program);
  const Buffer& out = buffer_of(program, merge.out);
  for (const MergeRange& range : merge.ranges) {
    STRATA_CHECK(!range.parts.empty() && std::ssize(range.parts) <= kernels::kMaxMergeParts,
                 "rank {}: merge of {} parts", program.rank, range.parts.size());
    builder.add(merge.out, range.row, range.row_count, [&](std::int64_t offset, std::int64_t rows) {
      MergeTask task;
      task.target.out = slice_data(program, merge.out, range.row + offset, range.heads, arena);
      task.target.lse =
          reinterpret_cast<float*>(slice_data(program, merge.lse, range.row + offset, range.heads, arena));
      task.target.element = kernel_element(out.type);
      task.target.out_stride = out.heads.count() * out.width;
      task.target.lse_stride = buffer_of(program, merge.lse).heads.count();
      task.part_begin = std::ssize(builder.parts());
      task.part_count = std::ssize(range.parts);
      task.rows = rows;
      task.heads = range.heads.count();
      task.dim = out.width;
      for (const MergeRange::Part& part : range.parts) {
        const Buffer& source = buffer_of(program, part.out);
        kernels::PartialOutput& entry = builder.parts().emplace_back();
        entry.out = slice_data(program, part.out, part.row + offset, range.heads, arena);
        entry.lse = reinterpret_cast<const float*>(
            slice_data(program, part.lse, part.row + offset, range.heads, arena));
        entry.element = kernel_element(source.type);
        entry.out_stride = source.heads.count() * source.width;
        entry.lse_stride = buffer_of(program, part.lse).heads.count();
      }
      return task;
    });
  }
  return builder.finish();
}

RowItems token_work_items(const RankProgram& program, const TokenWork& work, std::byte* arena,
                          bool streamed) {
  ItemBuilder builder(program);
  const Buffer& target = buffer_of(program, work.target);
  const auto row_of = [&](std::int32_t index, std::int64_t row) {
    const Buffer& buffer = buffer_of(program, index);
    STRATA_CHECK(buffer.rows == target.rows && buffer.heads == target.heads,
                 "rank {}: b{} and b{} differ in rows", program.rank, index, work.target);
    return arena + buffer.arena_offset + row * buffer.row_bytes();
  };
  builder.add(work.target, 0, target.rows, [&](std::int64_t row, std::int64_t rows) -> RowTask {
    std::byte* const data = row_of(work.target, row);
    if (work.kind == TokenWorkKind::zero) {
      const bool is_lse = target.role == BufferRole::lse_acc;
      const float value = is_lse ? -std::numeric_limits<float>::infinity() : 0.0F;
      return FillTask{reinterpret_cast<float*>(data), value,
                      rows * target.row_bytes() / static_cast<std::int64_t>(sizeof(float)), streamed};
    }
    const Buffer& source = buffer_of(program, work.source);
    if (work.kind == TokenWorkKind::cast) {
      return ConvertTask{data,
                         row_of(work.source, row),
                         kernel_element(target.type),
                         kernel_element(source.type),
                         static_cast<std::int64_t>(target.heads.count()) * target.width,
                         rows};
    }
    STRATA_CHECK(work.kind == TokenWorkKind::delta, "rank {}: token work that rows cannot express",
                 program.rank);
    return DeltaTask{reinterpret_cast<float*>(data),
                     row_of(work.source, row),
                     row_of(work.other, row),
                     kernel_element(source.type),
                     kernel_element(buffer_of(program, work.other).type),
                     rows,
                     source.heads.count(),
                     source.width};
  });
  return builder.finish();
}

RowItems input_items(const RankProgram& program, std::span<const TokenSpan> spans, const ModelShape& model,
                     std::uint64_t seed, std::byte* arena) {
  ItemBuilder builder(program);
  const auto fill = [&](InputTensor tensor, std::int32_t index) {
    if (index < 0) return;
    const Buffer& buffer = buffer_of(program, index);
    const InputShape shape = input_shape(model, tensor);
    STRATA_CHECK(buffer.heads == (HeadRange{0, shape.heads}) && buffer.width == shape.width,
                 "rank {}: input b{} does not have the model's shape", program.rank, index);
    std::int64_t row = 0;
    for (const TokenSpan& span : spans) {
      builder.add(index, row, span.length(), [&](std::int64_t offset, std::int64_t rows) {
        const TokenSpan piece{span.document, span.begin + offset, span.begin + offset + rows};
        std::byte* const target = arena + buffer.arena_offset + (row + offset) * buffer.row_bytes();
        return SeedTask{seed, tensor, piece, shape, buffer.type, target};
      });
      row += span.length();
    }
    STRATA_CHECK(row == buffer.rows, "rank {}: {} tokens placed, {} rows held", program.rank, row,
                 buffer.rows);
  };
  fill(InputTensor::q, program.local.q);
  fill(InputTensor::kv, program.local.kv);
  fill(InputTensor::d_o, program.local.d_o);
  return builder.finish();
}

RowItems copy_out_items(const RankProgram& program, std::span<const std::int32_t> buffers,
                        std::span<std::byte* const> targets, const std::byte* arena) {
  ItemBuilder builder(program);
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i] < 0) continue;
    const Buffer& buffer = buffer_of(program, buffers[i]);
    const std::int64_t row_bytes = buffer.row_bytes();
    builder.add(buffers[i], 0, buffer.rows, [&](std::int64_t row, std::int64_t rows) {
      return CopyTask{targets[i] + row * row_bytes,
                      arena + buffer.arena_offset + row * row_bytes,
                      row_bytes,
                      row_bytes,
                      row_bytes,
                      rows};
    });
  }
  return builder.finish();
}

}  // namespace strata
