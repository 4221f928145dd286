// SPDX-License-Identifier: Apache-2.0
// Work lists: attention blocks compiled once into independent items that any number of threads may run in any
// order without allocating. Every output row and head has exactly one writer and every sum a fixed order, so
// results are bitwise the same for every thread count and execution order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/attention_types.hpp"

namespace strata::kernels {

/// What one item produces: out and lse of a query tile, grad_q of a query tile, or grad_kv of a key tile.
enum class WorkKind : std::uint8_t { forward, grad_q, grad_kv };

/// A band as one tile sees it: rows of the *other* side, with the bounds shifted so that tile row 0 and
/// `begin` are the origins. Query heads apply to both sides.
struct TileSegment {
  std::int64_t begin = 0;
  std::int64_t count = 0;
  std::int64_t lo = 0;
  std::int64_t hi = 0;
  std::int64_t key_stride = 1;
  std::int32_t source = 0;
  std::int32_t head_begin = 0;
  std::int32_t head_count = 0;
};

/// Rows of one source that one worker owns for the duration of an item, for one key/value head.
struct AttentionTile {
  std::int64_t begin = 0;
  std::int64_t segment_begin = 0;
  std::int64_t segment_end = 0;
  std::int32_t count = 0;
  std::int32_t source = 0;
  std::int32_t kv_head = 0;
  std::int32_t head_begin = 0;  // query heads; unused for grad_kv tiles, whose segments carry their own
  std::int32_t head_count = 0;
};

/// The unit of scheduling: a run of tiles of one kind. `pairs` is its cost, allowed pairs times query heads.
struct WorkItem {
  std::int64_t tile_begin = 0;
  std::int64_t tile_end = 0;
  std::int64_t pairs = 0;
  WorkKind kind = WorkKind::forward;
};

struct AttentionWork {
  AttentionShape shape;
  OutputMode mode = OutputMode::write;
  std::vector<WorkItem> items;
  std::vector<AttentionTile> tiles;
  std::vector<TileSegment> segments;
};

/// The arrays that a work list runs on, indexed by the blocks' source numbers; bound anew at every execution.
struct Operands {
  std::span<const QueryRows> queries;
  std::span<const KeyRows> keys;
};

/// Compiles blocks into forward items. Blocks that share query rows and heads feed the same tile, in the
/// order given, whatever source their keys come from. Throws std::invalid_argument for a malformed shape or
/// block.
AttentionWork build_forward_work(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                                 OutputMode mode);

/// Compiles blocks into grad_q items (query tiles) and grad_kv items (key tiles; the query heads of a group
/// in ascending order). Each direction recomputes the scores: 7 matrix products in all, and no shared
/// accumulator.
AttentionWork build_backward_work(const AttentionShape& shape, std::span<const AttentionBlock> blocks,
                                  OutputMode mode);

inline std::int64_t item_count(const AttentionWork& work) {
  return static_cast<std::int64_t>(work.items.size());
}

/// Item numbers by descending cost, the order in which a pool with a shared counter balances best.
std::vector<std::int64_t> longest_first(const AttentionWork& work);

/// Sum over forward items, or over grad_q items, of allowed pairs times query heads.
std::int64_t total_pairs(const AttentionWork& work);

/// Working memory of one thread; one item uses it at a time. It is enough for every shape whose scratch_bytes
/// is at most `bytes`.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes);
  explicit Scratch(const AttentionShape& shape);

  [[nodiscard]] std::byte* data() const { return data_.get(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Release {
    void operator()(std::byte* data) const;
  };
  std::unique_ptr<std::byte, Release> data_;
  std::size_t bytes_ = 0;
};

/// Bytes that run_item needs for this shape, on the instruction set of this machine.
std::size_t scratch_bytes(const AttentionShape& shape);

/// Runs one item. Allocates nothing, never throws; the scratch must hold scratch_bytes(work.shape).
void run_item(const AttentionWork& work, const Operands& operands, std::int64_t item, Scratch& scratch);

}  // namespace strata::kernels
