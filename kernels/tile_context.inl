// SPDX-License-Identifier: Apache-2.0
// What the forward and backward tiles share: resolving a tile to memory, walking its strips of lanes, filling
// blocks of natural rows. Compiled once per instruction set.
// clang-format off
#if defined(STRATA_KERNELS_TILE_CONTEXT_INL_) == defined(HWY_TARGET_TOGGLE)
#ifdef STRATA_KERNELS_TILE_CONTEXT_INL_
#undef STRATA_KERNELS_TILE_CONTEXT_INL_
#else
#define STRATA_KERNELS_TILE_CONTEXT_INL_
#endif
// clang-format on

#include "kernels/attention_work.hpp"
#include "kernels/rows.inl"

HWY_BEFORE_NAMESPACE();
namespace strata::kernels::HWY_NAMESPACE {

inline constexpr float kLog2E = 1.44269504088896341F;

/// Up to three vectors of lanes that are computed together. In strip-after-strip buffers it starts at first *
/// dim.
struct Strip {
  std::int64_t first = 0;
  std::int64_t width = 0;  // lanes including padding
  std::int64_t valid = 0;  // lanes that hold a row
  int vectors = 0;
  int index = 0;
};

/// The most strips that a tile has: where a vector is one lane.
inline constexpr std::int64_t kMaxStrips = kTileLanes / kMaxVectors;

/// Which strips of a tile have sums already. The first block stores them, so that nobody has to clear them.
struct StartedStrips {
  bool started[kMaxStrips] = {};
};

/// Calls body(strip) for strips of as equal a width as possible, at most kMaxVectors vectors each.
template <class Body>
HWY_INLINE void for_each_strip(std::int64_t lanes, const Body& body) {
  const std::int64_t n = vector_lanes();
  const std::int64_t vectors = (lanes + n - 1) / n;
  const std::int64_t strips = (vectors + kMaxVectors - 1) / kMaxVectors;
  Strip strip;
  for (std::int64_t i = 0; i < strips; ++i) {
    strip.vectors = static_cast<int>(vectors / strips + (i < vectors % strips ? 1 : 0));
    strip.width = strip.vectors * n;
    strip.valid = std::min(strip.width, lanes - strip.first);
    body(strip);
    strip.first += strip.width;
    ++strip.index;
  }
}

/// The sums of a strip that no block has touched.
HWY_INLINE void clear_sums(float* sums, const Strip& strip, std::int64_t dim) {
  std::fill_n(sums + strip.first * padded_dim(dim), strip.width * padded_dim(dim), 0.0F);
}

/// The rows of a query tile as lanes: row-major, the heads of one row adjacent, exactly as they lie in
/// memory.
struct QueryLanes {
  const AttentionTile& tile;
  const QueryRows& rows;

  [[nodiscard]] std::int64_t heads() const { return tile.head_count; }
  [[nodiscard]] std::int64_t lanes() const { return std::int64_t{tile.count} * tile.head_count; }
  /// Index of the lane's (row, head) in a [rows, head_count] array.
  [[nodiscard]] std::int64_t place(std::int64_t lane) const {
    return (tile.begin + lane / heads()) * rows.head_count + tile.head_begin - rows.head_begin +
           lane % heads();
  }
};

/// One (row, KV head) of a fused K, V array.
template <class T>
HWY_INLINE const T* kv_row(const KeyRows& keys, const AttentionShape& shape, std::int64_t row,
                           std::int32_t kv_head) {
  return static_cast<const T*>(keys.kv) +
         (row * keys.head_count + kv_head - keys.head_begin) * (shape.k_dim + shape.v_dim);
}

/// Widens keys [row, row + count) into natural_k and natural_v.
template <class T>
HWY_INLINE void pack_keys(const AttentionShape& shape, const KeyRows& keys, std::int64_t row,
                          std::int64_t count, std::int32_t kv_head, const TileBuffers& buffers) {
  for (std::int64_t r = 0; r < count; ++r) {
    const T* from = kv_row<T>(keys, shape, row + r, kv_head);
    pack_natural_row(from, shape.k_dim, buffers.natural_k, r);
    pack_natural_row(from + shape.k_dim, shape.v_dim, buffers.natural_v, r);
  }
}

/// Micro-tiles of a block of `rows` natural rows against `lanes` lanes: so often a prefetch is advanced.
HWY_INLINE std::int64_t micro_tiles(std::int64_t lanes, std::int64_t rows) {
  const std::int64_t strip = kMaxVectors * vector_lanes();
  return (lanes + strip - 1) / strip * ((rows + kMicroRows - 1) / kMicroRows);
}

/// `dim` elements of T of every (row, head) of a query tile in one of the arrays of its source.
template <class T>
HWY_INLINE RowsAhead query_tile_ahead(const AttentionTile& tile, const QueryRows& rows, const void* array,
                                      std::int64_t dim) {
  const std::int64_t bytes = dim * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t place = tile.begin * rows.head_count + tile.head_begin - rows.head_begin;
  return {static_cast<const std::byte*>(array) + place * bytes, rows.head_count * bytes,
          tile.head_count * bytes, tile.count};
}

/// Rows [row, row + count) of a key source.
template <class T>
HWY_INLINE RowsAhead keys_ahead(const AttentionShape& shape, const KeyRows& keys, std::int64_t row,
                                std::int64_t count, std::int32_t kv_head) {
  const std::int64_t bytes = (shape.k_dim + shape.v_dim) * static_cast<std::int64_t>(sizeof(T));
  return {reinterpret_cast<const std::byte*>(kv_row<T>(keys, shape, row, kv_head)), keys.head_count * bytes,
          bytes, count};
}

/// The block of keys of a query tile that starts at row `first` of segment `s`, or the next segment's first.
template <class T>
HWY_INLINE RowsAhead key_block_ahead(const AttentionWork& work, const AttentionTile& tile,
                                     const Operands& operands, std::int64_t s, std::int64_t first) {
  if (s < tile.segment_end && first >= work.segments[static_cast<std::size_t>(s)].count) {
    ++s;
    first = 0;
  }
  if (s >= tile.segment_end) return {};  // the last block, or a tile whose rows see no key
  const TileSegment& segment = work.segments[static_cast<std::size_t>(s)];
  return keys_ahead<T>(work.shape, operands.keys[static_cast<std::size_t>(segment.source)],
                       segment.begin + first, std::min(kBlockRows, segment.count - first), tile.kv_head);
}

/// Blocks of natural rows that a tile meets, with `heads` natural rows for every row of a segment.
HWY_INLINE std::int64_t block_count(const AttentionWork& work, const AttentionTile& tile,
                                    std::int64_t heads) {
  std::int64_t blocks = 0;
  for (std::int64_t s = tile.segment_begin; s < tile.segment_end; ++s) {
    blocks += (work.segments[static_cast<std::size_t>(s)].count * heads + kBlockRows - 1) / kBlockRows;
  }
  return blocks;
}

/// Widens the blocks of keys that a query tile meets, one after the other, and calls body(band, count).
template <class T, class Body>
HWY_INLINE void for_each_key_block(const AttentionWork& work, const AttentionTile& tile,
                                   const Operands& operands, const TileBuffers& buffers,
                                   TilePrefetch& prefetch, const Body& body) {
  const std::int64_t lanes = std::int64_t{tile.count} * tile.head_count;
  std::int64_t blocks = block_count(work, tile, 1);
  for (std::int64_t s = tile.segment_begin; s < tile.segment_end; ++s) {
    const TileSegment& segment = work.segments[static_cast<std::size_t>(s)];
    const KeyRows& keys = operands.keys[static_cast<std::size_t>(segment.source)];
    for (std::int64_t first = 0; first < segment.count; first += kBlockRows, --blocks) {
      const std::int64_t count = std::min(kBlockRows, segment.count - first);
      const std::int64_t shift = first * segment.key_stride;
      pack_keys<T>(work.shape, keys, segment.begin + first, count, tile.kv_head, buffers);
      prefetch.block = RowPrefetch();
      prefetch.block.add(key_block_ahead<T>(work, tile, operands, s, first + count));
      prefetch.start_block(micro_tiles(lanes, count), blocks);
      body(Band{segment.lo - shift, segment.hi - shift, segment.key_stride}, count);
    }
  }
}

/// A strip of query lanes against one block of keys: which keys take part, and which of them need no mask.
struct KeyWindow {
  RowRange any;
  RowRange all;
};

HWY_INLINE KeyWindow key_window(const Band& band, const Strip& strip, std::int64_t heads, std::int64_t keys) {
  const std::int64_t first = strip.first / heads;
  const std::int64_t last = (strip.first + strip.valid - 1) / heads;
  return {band.keys_seen_by_any(first, last).clipped(0, keys), band.keys_seen_by_all(first, last)};
}

/// Masks the scores of a strip of query lanes; scores start at key window.any.begin.
template <int kVectors>
HWY_INLINE void mask_keys(const KeyWindow& window, const Band& band, const Strip& strip, std::int64_t heads,
                          float* scores) {
  for (std::int64_t key = window.any.begin; key < window.any.end; ++key) {
    if (key >= window.all.begin && key < window.all.end) {
      key = std::min(window.any.end, window.all.end) - 1;
      continue;
    }
    const RowRange queries = band.queries_seeing_any(key, key);
    mask_row<kVectors>(scores + (key - window.any.begin) * strip.width,
                       {queries.begin * heads - strip.first, queries.end * heads - strip.first});
  }
}

/// Calls fn with the strip's number of vectors as a compile-time constant.
template <class Fn>
HWY_INLINE void with_vectors(int vectors, const Fn& fn) {
  if (vectors == 3) {
    fn(std::integral_constant<int, 3>());
  } else if (vectors == 2) {
    fn(std::integral_constant<int, 2>());
  } else {
    fn(std::integral_constant<int, 1>());
  }
}

}  // namespace strata::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
