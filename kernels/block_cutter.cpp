// SPDX-License-Identifier: Apache-2.0
#include "kernels/block_cutter.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/band.hpp"

namespace strata::kernels {
namespace {

enum class Side { query, key };

struct Interval {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// A maximal interval over which the set of covering intervals does not change, and that set in ascending
/// order.
struct Piece {
  Interval range;
  std::vector<std::size_t> covering;
};

/// Cuts intervals at all their ends. `intervals[i]` belongs to entry i of the caller; uncovered gaps are left
/// out.
std::vector<Piece> cut_at_boundaries(const std::vector<Interval>& intervals) {
  std::vector<std::size_t> by_begin(intervals.size());
  std::vector<std::int64_t> bounds;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    by_begin[i] = i;
    bounds.push_back(intervals[i].begin);
    bounds.push_back(intervals[i].end);
  }
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  std::stable_sort(by_begin.begin(), by_begin.end(),
                   [&](std::size_t a, std::size_t b) { return intervals[a].begin < intervals[b].begin; });
  std::vector<Piece> pieces;
  std::vector<std::size_t> active;
  std::size_t next = 0;
  for (std::size_t b = 0; b + 1 < bounds.size(); ++b) {
    std::erase_if(active, [&](std::size_t i) { return intervals[i].end <= bounds[b]; });
    while (next < by_begin.size() && intervals[by_begin[next]].begin == bounds[b])
      active.push_back(by_begin[next++]);
    if (active.empty()) continue;
    std::sort(active.begin(), active.end());
    pieces.push_back({{bounds[b], bounds[b + 1]}, active});
  }
  return pieces;
}

class Cutter {
 public:
  Cutter(const AttentionShape& shape, std::span<const AttentionBlock> blocks, Side side,
         const TileLimits& limits)
      : shape_(shape), blocks_(blocks), side_(side), limits_(limits) {
    check_shape();
    for (std::size_t i = 0; i < blocks.size(); ++i) check_block(i);
  }

  CutBlocks cut() {
    std::vector<std::int32_t> sources;
    for (const AttentionBlock& block : blocks_) sources.push_back(source_of(block));
    std::sort(sources.begin(), sources.end());
    sources.erase(std::unique(sources.begin(), sources.end()), sources.end());
    for (const std::int32_t source : sources) add_source(source);
    return std::move(cut_);
  }

 private:
  void check_shape() const {
    const AttentionShape& s = shape_;
    if (s.query_heads < 1 || s.kv_heads < 1 || s.query_heads % s.kv_heads != 0 || s.k_dim < 1 ||
        s.v_dim < 1) {
      throw std::invalid_argument(
          "attention shape: heads and dimensions must be positive, and query heads (" +
          std::to_string(s.query_heads) + ") a multiple of KV heads (" + std::to_string(s.kv_heads) + ")");
    }
  }

  void check_block(std::size_t index) const {
    const AttentionBlock& b = blocks_[index];
    const bool rows = b.query_begin >= 0 && b.query_count >= 0 && b.key_begin >= 0 && b.key_count >= 0;
    const bool heads = b.head_begin >= 0 && b.head_begin <= b.head_end && b.head_end <= shape_.query_heads;
    if (!rows || !heads || b.query_source < 0 || b.key_source < 0 || b.key_stride < 1) {
      throw std::invalid_argument(
          "attention block " + std::to_string(index) +
          ": sources, rows and heads must be non-negative and in range, key_stride at least 1");
    }
  }

  [[nodiscard]] std::int32_t source_of(const AttentionBlock& block) const {
    return side_ == Side::query ? block.query_source : block.key_source;
  }
  [[nodiscard]] Interval rows_of(const AttentionBlock& block) const {
    return side_ == Side::query ? Interval{block.query_begin, block.query_begin + block.query_count}
                                : Interval{block.key_begin, block.key_begin + block.key_count};
  }
  /// In heads of the owned side.
  [[nodiscard]] Interval heads_of(const AttentionBlock& block) const {
    const std::int32_t group = shape_.group();
    return side_ == Side::query ? Interval{block.head_begin, block.head_end}
                                : Interval{block.head_begin / group, (block.head_end - 1) / group + 1};
  }

  void add_source(std::int32_t source) {
    std::vector<std::size_t> members;
    std::vector<Interval> heads;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const AttentionBlock& block = blocks_[i];
      if (source_of(block) != source || block.head_begin == block.head_end) continue;
      if (rows_of(block).begin == rows_of(block).end) continue;
      members.push_back(i);
      heads.push_back(heads_of(block));
    }
    for (const Piece& head_piece : cut_at_boundaries(heads)) {
      std::vector<std::size_t> covering;
      std::vector<Interval> rows;
      for (const std::size_t member : head_piece.covering) {
        covering.push_back(members[member]);
        rows.push_back(rows_of(blocks_[members[member]]));
      }
      add_heads(source, head_piece.range, covering, cut_at_boundaries(rows));
    }
  }

  /// All row pieces of one range of heads: per KV head, since lanes of one tile share their keys.
  void add_heads(std::int32_t source, Interval heads, const std::vector<std::size_t>& covering,
                 const std::vector<Piece>& pieces) {
    const std::int64_t group = side_ == Side::query ? shape_.group() : 1;
    std::int64_t cut_rows = 0;
    std::vector<AttentionTile> cut;
    for (std::int64_t head = heads.begin; head < heads.end;) {
      const std::int64_t kv_head = head / group;
      const std::int64_t end = std::min({heads.end, (kv_head + 1) * group, head + limits_.heads});
      const std::int64_t rows = limits_.lanes / (end - head);
      if (rows != cut_rows) {
        cut = cut_tiles(source, rows, covering, pieces);
        cut_rows = rows;
      }
      for (AttentionTile& tile : cut) {
        tile.kv_head = static_cast<std::int32_t>(kv_head);
        tile.head_begin = static_cast<std::int32_t>(head);
        tile.head_count = static_cast<std::int32_t>(end - head);
      }
      cut_.tiles.insert(cut_.tiles.end(), cut.begin(), cut.end());
      head = end;
    }
  }

  /// Tiles of at most `rows_per_tile` rows with their segments; heads are filled in by the caller, which
  /// reuses the segments for every KV head.
  std::vector<AttentionTile> cut_tiles(std::int32_t source, std::int64_t rows_per_tile,
                                       const std::vector<std::size_t>& covering,
                                       const std::vector<Piece>& pieces) {
    std::vector<AttentionTile> tiles;
    for (const Piece& piece : pieces) {
      for (std::int64_t begin = piece.range.begin; begin < piece.range.end; begin += rows_per_tile) {
        AttentionTile tile;
        tile.begin = begin;
        tile.count = static_cast<std::int32_t>(std::min(rows_per_tile, piece.range.end - begin));
        tile.source = source;
        tile.segment_begin = static_cast<std::int64_t>(cut_.segments.size());
        for (const std::size_t member : piece.covering) add_segment(tile, blocks_[covering[member]]);
        tile.segment_end = static_cast<std::int64_t>(cut_.segments.size());
        tiles.push_back(tile);
      }
    }
    return tiles;
  }

  void add_segment(const AttentionTile& tile, const AttentionBlock& block) {
    TileSegment segment;
    segment.key_stride = block.key_stride;
    segment.head_begin = block.head_begin;
    segment.head_count = block.head_end - block.head_begin;
    // Origin of the band: first the tile's first row, then the first row of the other side that any tile row
    // meets.
    if (side_ == Side::query) {
      const std::int64_t shift = tile.begin - block.query_begin;
      const Band band{block.lo + shift, block.hi + shift, block.key_stride};
      const RowRange keys = band.keys_seen_by_any(0, tile.count - 1).clipped(0, block.key_count);
      if (keys.empty()) return;
      segment.source = block.key_source;
      segment.begin = block.key_begin + keys.begin;
      segment.count = keys.end - keys.begin;
      segment.lo = band.lo - keys.begin * band.stride;
      segment.hi = band.hi - keys.begin * band.stride;
    } else {
      const std::int64_t shift = (tile.begin - block.key_begin) * block.key_stride;
      const Band band{block.lo - shift, block.hi - shift, block.key_stride};
      const RowRange queries = band.queries_seeing_any(0, tile.count - 1).clipped(0, block.query_count);
      if (queries.empty()) return;
      segment.source = block.query_source;
      segment.begin = block.query_begin + queries.begin;
      segment.count = queries.end - queries.begin;
      segment.lo = band.lo + queries.begin;
      segment.hi = band.hi + queries.begin;
    }
    cut_.segments.push_back(segment);
  }

  const AttentionShape& shape_;
  std::span<const AttentionBlock> blocks_;
  Side side_;
  TileLimits limits_;
  CutBlocks cut_;
};

Side side_of(WorkKind kind) { return kind == WorkKind::grad_kv ? Side::key : Side::query; }

}  // namespace

CutBlocks cut_blocks(const AttentionShape& shape, std::span<const AttentionBlock> blocks, WorkKind kind,
                     const TileLimits& limits) {
  return Cutter(shape, blocks, side_of(kind), limits).cut();
}

std::int64_t tile_pairs(const AttentionShape& shape, WorkKind kind, const AttentionTile& tile,
                        std::span<const TileSegment> segments) {
  const bool query_side = side_of(kind) == Side::query;
  const std::int32_t group = shape.group();
  std::int64_t pairs = 0;
  for (std::int64_t s = tile.segment_begin; s < tile.segment_end; ++s) {
    const TileSegment& segment = segments[static_cast<std::size_t>(s)];
    AttentionBlock band;
    band.lo = segment.lo;
    band.hi = segment.hi;
    band.key_stride = segment.key_stride;
    band.query_count = query_side ? tile.count : segment.count;
    band.key_count = query_side ? segment.count : tile.count;
    const std::int32_t low = std::max(segment.head_begin, tile.kv_head * group);
    const std::int32_t high = std::min(segment.head_begin + segment.head_count, (tile.kv_head + 1) * group);
    pairs += allowed_pairs(band) * (query_side ? tile.head_count : high - low);
  }
  return pairs;
}

}  // namespace strata::kernels
