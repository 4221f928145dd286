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
  }
}

/// Rows to prefetch after each micro-tile so that one block's worth is done when all strips are.
HWY_INLINE std::int64_t prefetch_pace(std::int64_t lanes) {
  const std::int64_t strips = (lanes + kMaxVectors * vector_lanes() - 1) / (kMaxVectors * vector_lanes());
  return (kMicroRows + strips - 1) / strips;
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

/// The block of keys that follows [row, row + count), as far as it lies before `end`.
template <class T>
HWY_INLINE RowPrefetch prefetch_keys(const AttentionShape& shape, const KeyRows& keys, std::int64_t row,
                                     std::int64_t end, std::int32_t kv_head, std::int64_t lanes) {
  RowPrefetch prefetch;
  prefetch.rows = std::min(kBlockRows, end - row);
  if (prefetch.rows <= 0) return prefetch;
  prefetch.next[0] = reinterpret_cast<const std::byte*>(kv_row<T>(keys, shape, row, kv_head));
  prefetch.bytes[0] = (shape.k_dim + shape.v_dim) * static_cast<std::int64_t>(sizeof(T));
  prefetch.stride[0] = keys.head_count * prefetch.bytes[0];
  prefetch.rows_at_a_time = prefetch_pace(lanes);
  return prefetch;
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
