// SPDX-License-Identifier: Apache-2.0
// What an instruction does to the arena: every operation that computes or moves rows inside one rank,
// compiled before the run into items that any threads may run in any order. This knows neither schedulers nor
// transports; exchanges between ranks belong to those.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "core/problem/model_shape.hpp"
#include "core/program/rank_program.hpp"
#include "core/schedule/sequence_layout.hpp"
#include "executor/seeded_tensors.hpp"
#include "kernels/attention_work.hpp"
#include "kernels/row_kernels.hpp"

namespace strata {

/// Payload of one item of a row operation, and of one piece of a copy between ranks. It is large enough to
/// hide the hand-over, and small enough to share a core fairly.
inline constexpr std::int64_t kItemBytes = 256 * 1024;

/// Attention or AttentionBackward: a compiled work list, its arrays in the arena, and its items longest
/// first.
struct AttentionItems {
  kernels::AttentionWork work;
  std::vector<kernels::QueryRows> queries;
  std::vector<kernels::KeyRows> keys;
  std::vector<std::int64_t> order;
};

/// One call of a row kernel.
struct CopyTask {
  std::byte* target = nullptr;
  const std::byte* source = nullptr;
  std::int64_t target_stride = 0, source_stride = 0;  ///< bytes
  std::int64_t row_bytes = 0, rows = 0;
  bool streamed = false;  ///< see kernels::stream_rows
};
struct AddTask {
  float* target = nullptr;
  const float* source = nullptr;
  std::int64_t target_stride = 0, source_stride = 0;  ///< elements
  std::int64_t columns = 0, rows = 0;
};
struct ConvertTask {
  std::byte* target = nullptr;
  const std::byte* source = nullptr;
  kernels::Element target_element = kernels::Element::f32, source_element = kernels::Element::f32;
  std::int64_t columns = 0, rows = 0;  ///< dense
};
struct FillTask {
  float* target = nullptr;
  float value = 0;
  std::int64_t count = 0;
  bool streamed = false;  ///< see kernels::stream_fill
};
struct MergeTask {
  kernels::MergedOutput target;
  std::int64_t part_begin = 0, part_count = 0;  ///< of RowItems::parts
  std::int64_t rows = 0, heads = 0, dim = 0;
};
struct DeltaTask {
  float* delta = nullptr;
  const std::byte* grad_out = nullptr;
  const std::byte* out = nullptr;
  kernels::Element grad_out_element = kernels::Element::f32, out_element = kernels::Element::f32;
  std::int64_t rows = 0, heads = 0, dim = 0;
};
struct SeedTask {
  std::uint64_t seed = 0;
  InputTensor tensor = InputTensor::q;
  TokenSpan span;
  InputShape shape;
  ElementType type = ElementType::f32;
  std::byte* target = nullptr;
};
using RowTask = std::variant<CopyTask, AddTask, ConvertTask, FillTask, MergeTask, DeltaTask, SeedTask>;

/// Row kernels; item i runs tasks [item_begin[i], item_begin[i + 1]) in order. Items write disjoint rows.
struct RowItems {
  std::vector<RowTask> tasks;
  std::vector<std::int64_t> item_begin{0};
  std::vector<kernels::PartialOutput> parts;
};

class PreparedOperation {
 public:
  /// Nothing to do: exchanges, TokenWork.linear and empty operations.
  PreparedOperation() = default;
  explicit PreparedOperation(AttentionItems items) : items_(std::move(items)) {}
  explicit PreparedOperation(RowItems items) : items_(std::move(items)) {}

  std::int64_t item_count() const;
  bool is_attention() const;
  std::size_t scratch_bytes() const;
  /// Runs item `item` (0 is the longest). Allocates nothing. Items of one operation may run concurrently,
  /// each with its own scratch of at least scratch_bytes().
  void run_item(std::int64_t item, kernels::Scratch& scratch) const;

 private:
  std::variant<std::monostate, AttentionItems, RowItems> items_;
};

/// Compiles `op` for the arena that starts at `arena` and stays there. `stream`: rows are copied and
/// cleared past the caches.
PreparedOperation prepare_operation(const RankProgram& program, const Operation& op, const ModelShape& model,
                                    std::byte* arena, bool stream);

/// Fills the rank's own q, kv and d_o with seeded values; `spans` are its rows in order.
PreparedOperation prepare_inputs(const RankProgram& program, std::span<const TokenSpan> spans,
                                 const ModelShape& model, std::uint64_t seed, std::byte* arena);

/// Copies whole buffers of the arena (index -1: none) to `targets`, one each.
PreparedOperation prepare_copy_out(const RankProgram& program, std::span<const std::int32_t> buffers,
                                   std::span<std::byte* const> targets, const std::byte* arena);

}  // namespace strata
