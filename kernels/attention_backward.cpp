// SPDX-License-Identifier: Apache-2.0
// Backward attention, split so that nothing is shared between workers: query tiles produce grad_q, key tiles
// grad_kv. Both recompute P = exp(S - lse) from the final lse, then dP = dO V^T and dS = P * (dP - delta).
#include <cmath>
#include <limits>

#include "kernels/attention_tiles.hpp"
#include "kernels/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_backward.cpp"
#include <hwy/foreach_target.h>

#include "kernels/tile_context.inl"

HWY_BEFORE_NAMESPACE();
namespace strata::kernels::HWY_NAMESPACE {

/// The lse in base 2; a row that saw no key is masked everywhere, so any finite value will do.
HWY_INLINE float base2_lse(float lse) {
  constexpr double kLog2EExact = 1.44269504088896340736;
  return lse == -std::numeric_limits<float>::infinity()
             ? 0.0F
             : static_cast<float>(static_cast<double>(lse) * kLog2EExact);
}

/// Adds a block's products to the sums of a strip, or stores them when there are none yet.
template <int kVectors>
HWY_INLINE void add_products(const float* natural, const float* weights, std::int64_t rows, std::int64_t dim,
                             float* sums, bool started) {
  if (started) {
    column_products<Finish::add, kVectors>(natural, weights, rows, dim, sums, nullptr);
  } else {
    column_products<Finish::store, kVectors>(natural, weights, rows, dim, sums, nullptr);
  }
}

/// grad_q of one strip of queries against the keys of the block that it sees.
template <int kVectors>
void grad_q_strip(const AttentionShape& shape, const TileBuffers& buffers, const Strip& strip,
                  std::int64_t heads, const Band& band, std::int64_t keys, bool& started,
                  TilePrefetch& prefetch) {
  const KeyWindow window = key_window(band, strip, heads, keys);
  if (window.any.empty()) return;
  const std::int64_t count = window.any.end - window.any.begin;
  const std::int64_t skipped = window.any.begin * kRowStride;
  const std::int64_t k_first = strip.first * padded_dim(shape.k_dim);
  row_products<kVectors>(buffers.natural_k + skipped, buffers.lanes_k + k_first, shape.k_dim, count,
                         buffers.scores, &prefetch);
  row_products<kVectors>(buffers.natural_v + skipped, buffers.lanes_v + strip.first * padded_dim(shape.v_dim),
                         shape.v_dim, count, buffers.slopes);
  mask_keys<kVectors>(window, band, strip, heads, buffers.scores);
  const Floats d;
  for (int vector = 0; vector < kVectors; ++vector) {
    const std::int64_t lane = vector * vector_lanes();
    const auto lse = hn::Load(d, buffers.lane_lse + strip.first + lane);
    const auto delta = hn::Load(d, buffers.lane_delta + strip.first + lane);
    for (std::int64_t row = 0; row < count; ++row) {
      const std::int64_t place = row * strip.width + lane;
      const auto p = exp2_below(hn::Sub(hn::Load(d, buffers.scores + place), lse));
      hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, buffers.slopes + place), delta)), d, buffers.slopes + place);
    }
  }
  add_products<kVectors>(buffers.natural_k + skipped, buffers.slopes, count, shape.k_dim,
                         buffers.sums_k + k_first, started);
  started = true;
}

template <class T>
void load_query_strip(const AttentionShape& shape, const QueryLanes& queries, const TileBuffers& buffers,
                      const Strip& strip) {
  const std::int64_t k_first = strip.first * padded_dim(shape.k_dim);
  const auto row_of = [&](const void* base, std::int64_t lane, std::int64_t dim) HWY_ATTR {
    return static_cast<const T*>(base) + queries.place(strip.first + lane) * dim;
  };
  pack_strip<T>(strip.width, strip.valid, shape.k_dim, shape.scale * kLog2E, buffers.lanes_k + k_first,
                [&](std::int64_t lane) HWY_ATTR { return row_of(queries.rows.q, lane, shape.k_dim); });
  pack_strip<T>(strip.width, strip.valid, shape.v_dim, 1.0F,
                buffers.lanes_v + strip.first * padded_dim(shape.v_dim),
                [&](std::int64_t lane) HWY_ATTR { return row_of(queries.rows.grad_out, lane, shape.v_dim); });
  for (std::int64_t lane = 0; lane < strip.width; ++lane) {
    const bool valid = lane < strip.valid;
    const std::int64_t place = valid ? queries.place(strip.first + lane) : 0;
    buffers.lane_lse[strip.first + lane] = valid ? base2_lse(queries.rows.lse[place]) : 0.0F;
    buffers.lane_delta[strip.first + lane] = valid ? queries.rows.delta[place] : 0.0F;
  }
}

HWY_INLINE void store_gradient(OutputMode mode, float* target, const float* row, std::int64_t dim) {
  if (mode == OutputMode::write) {
    convert_row(target, row, dim);
  } else {
    add_row(target, row, dim);
  }
}

/// What follows the products of a query tile: its results, then the next tile's queries and first keys.
template <class T>
HWY_INLINE RowPrefetch after_query_tile(const AttentionWork& work, const AttentionTile& tile,
                                        const AttentionTile* next, const Operands& operands) {
  RowPrefetch ahead;
  const QueryRows& rows = operands.queries[static_cast<std::size_t>(tile.source)];
  ahead.add(query_tile_ahead<float>(tile, rows, rows.grad_q, work.shape.k_dim));
  if (next == nullptr) return ahead;
  const QueryRows& next_rows = operands.queries[static_cast<std::size_t>(next->source)];
  ahead.add(query_tile_ahead<T>(*next, next_rows, next_rows.q, work.shape.k_dim));
  ahead.add(query_tile_ahead<T>(*next, next_rows, next_rows.grad_out, work.shape.v_dim));
  ahead.add(key_block_ahead<T>(work, *next, operands, next->segment_begin, 0));
  return ahead;
}

template <class T>
void grad_q_rows(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                 const Operands& operands, const TileBuffers& buffers) {
  const AttentionShape& shape = work.shape;
  const QueryLanes queries{tile, operands.queries[static_cast<std::size_t>(tile.source)]};
  for_each_strip(queries.lanes(),
                 [&](const Strip& strip) HWY_ATTR { load_query_strip<T>(shape, queries, buffers, strip); });
  StartedStrips strips;
  TilePrefetch prefetch;
  prefetch.tile = after_query_tile<T>(work, tile, next, operands);
  for_each_key_block<T>(work, tile, operands, buffers, prefetch,
                        [&](const Band& band, std::int64_t count) HWY_ATTR {
                          for_each_strip(queries.lanes(), [&](const Strip& strip) HWY_ATTR {
                            with_vectors(strip.vectors, [&](auto vectors) HWY_ATTR {
                              grad_q_strip<vectors.value>(shape, buffers, strip, queries.heads(), band, count,
                                                          strips.started[strip.index], prefetch);
                            });
                          });
                        });
  HWY_ALIGN float scale[kMaxStripLanes];
  std::fill_n(scale, kMaxStripLanes, shape.scale);
  for_each_strip(queries.lanes(), [&](const Strip& strip) HWY_ATTR {
    if (!strips.started[strip.index]) clear_sums(buffers.sums_k, strip, shape.k_dim);
    unpack_strip(buffers.sums_k + strip.first * padded_dim(shape.k_dim), strip.width, strip.valid,
                 shape.k_dim, scale, buffers.row, [&](std::int64_t lane, const float* row) HWY_ATTR {
                   const std::int64_t place = queries.place(strip.first + lane);
                   store_gradient(work.mode, queries.rows.grad_q + place * shape.k_dim, row, shape.k_dim);
                 });
  });
}

/// The query rows of one segment as natural rows of a key tile: (row, head) pairs, row-major.
struct SegmentQueries {
  const QueryRows* rows = nullptr;
  std::int64_t begin = 0;
  std::int64_t head_begin = 0;
  std::int64_t heads = 0;

  [[nodiscard]] std::int64_t place(std::int64_t pair) const {
    return (begin + pair / heads) * rows->head_count + head_begin - rows->head_begin + pair % heads;
  }
};

template <class T>
HWY_INLINE void pack_queries(const AttentionShape& shape, const SegmentQueries& queries, std::int64_t first,
                             std::int64_t count, const TileBuffers& buffers) {
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t place = queries.place(first + r);
    pack_natural_row(static_cast<const T*>(queries.rows->q) + place * shape.k_dim, shape.k_dim,
                     buffers.natural_k, r);
    pack_natural_row(static_cast<const T*>(queries.rows->grad_out) + place * shape.v_dim, shape.v_dim,
                     buffers.natural_v, r);
    buffers.row_lse[r] = base2_lse(queries.rows->lse[place]);
    buffers.row_delta[r] = queries.rows->delta[place];
  }
}

/// The part of the tile's group that a segment covers.
HWY_INLINE SegmentQueries segment_queries(const AttentionShape& shape, const AttentionTile& tile,
                                          const TileSegment& segment, const Operands& operands) {
  const std::int32_t group_begin = tile.kv_head * shape.group();
  const std::int64_t head_begin = std::max(segment.head_begin, group_begin);
  const std::int64_t head_end =
      std::min(segment.head_begin + segment.head_count, group_begin + shape.group());
  return {&operands.queries[static_cast<std::size_t>(segment.source)], segment.begin, head_begin,
          head_end - head_begin};
}

/// Asks for the block of pairs of a key tile that starts at pair `first` of segment `s`, or for the next
/// segment's first; whole query rows at a time.
template <class T>
HWY_INLINE void add_pairs_ahead(const AttentionWork& work, const AttentionTile& tile,
                                const Operands& operands, std::int64_t s, std::int64_t first,
                                RowPrefetch& ahead) {
  if (s >= tile.segment_end) return;  // a tile whose rows no query sees
  const AttentionShape& shape = work.shape;
  const TileSegment* segment = &work.segments[static_cast<std::size_t>(s)];
  SegmentQueries queries = segment_queries(shape, tile, *segment, operands);
  if (first >= segment->count * queries.heads) {
    if (s + 1 >= tile.segment_end) return;
    first = 0;
    ++segment;
    queries = segment_queries(shape, tile, *segment, operands);
  }
  const std::int64_t count = std::min(kBlockRows, segment->count * queries.heads - first);
  const std::int64_t place = queries.place(first / queries.heads * queries.heads);
  const auto add = [&](const void* array, std::int64_t dim) HWY_ATTR {
    const std::int64_t bytes = dim * static_cast<std::int64_t>(sizeof(T));
    ahead.add({static_cast<const std::byte*>(array) + place * bytes, queries.rows->head_count * bytes,
               queries.heads * bytes, count / queries.heads});
  };
  add(queries.rows->q, shape.k_dim);
  add(queries.rows->grad_out, shape.v_dim);
}

/// grad_k and grad_v of one strip of keys against pairs [first, first + pairs) of a segment.
template <int kVectors>
void grad_kv_strip(const AttentionShape& shape, const TileBuffers& buffers, const Strip& strip,
                   std::int64_t heads, const Band& band, std::int64_t first, std::int64_t pairs,
                   bool& started, TilePrefetch& prefetch) {
  const std::int64_t last_key = strip.first + strip.valid - 1;
  const RowRange any = band.queries_seeing_any(strip.first, last_key);
  const RowRange all = band.queries_seeing_all(strip.first, last_key);
  const RowRange rows = RowRange{any.begin * heads - first, any.end * heads - first}.clipped(0, pairs);
  if (rows.empty()) return;
  const std::int64_t count = rows.end - rows.begin;
  const std::int64_t skipped = rows.begin * kRowStride;
  const std::int64_t k_first = strip.first * padded_dim(shape.k_dim);
  const std::int64_t v_first = strip.first * padded_dim(shape.v_dim);
  row_products<kVectors>(buffers.natural_k + skipped, buffers.lanes_k + k_first, shape.k_dim, count,
                         buffers.scores, &prefetch);
  row_products<kVectors>(buffers.natural_v + skipped, buffers.lanes_v + v_first, shape.v_dim, count,
                         buffers.slopes);
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    const std::int64_t query = (first + r) / heads;
    if (query >= all.begin && query < all.end) {
      r = std::min(rows.end, all.end * heads - first) - 1;
      continue;
    }
    const RowRange keys = band.keys_seen_by_any(query, query);
    mask_row<kVectors>(buffers.scores + (r - rows.begin) * strip.width,
                       {keys.begin - strip.first, keys.end - strip.first});
  }
  const Floats d;
  for (std::int64_t row = 0; row < count; ++row) {
    const auto lse = hn::Set(d, buffers.row_lse[rows.begin + row]);
    const auto delta = hn::Set(d, buffers.row_delta[rows.begin + row]);
    for (int vector = 0; vector < kVectors; ++vector) {
      const std::int64_t place = row * strip.width + vector * vector_lanes();
      const auto p = exp2_below(hn::Sub(hn::Load(d, buffers.scores + place), lse));
      hn::Store(p, d, buffers.scores + place);
      hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, buffers.slopes + place), delta)), d, buffers.slopes + place);
    }
  }
  add_products<kVectors>(buffers.natural_v + skipped, buffers.scores, count, shape.v_dim,
                         buffers.sums_v + v_first, started);
  add_products<kVectors>(buffers.natural_k + skipped, buffers.slopes, count, shape.k_dim,
                         buffers.sums_k + k_first, started);
  started = true;
}

template <class T>
void load_key_strip(const AttentionShape& shape, const AttentionTile& tile, const KeyRows& keys,
                    const TileBuffers& buffers, const Strip& strip) {
  const std::int64_t k_first = strip.first * padded_dim(shape.k_dim);
  const std::int64_t v_first = strip.first * padded_dim(shape.v_dim);
  const auto row_of = [&](std::int64_t lane) HWY_ATTR {
    return kv_row<T>(keys, shape, tile.begin + strip.first + lane, tile.kv_head);
  };
  pack_strip<T>(strip.width, strip.valid, shape.k_dim, shape.scale * kLog2E, buffers.lanes_k + k_first,
                row_of);
  pack_strip<T>(strip.width, strip.valid, shape.v_dim, 1.0F, buffers.lanes_v + v_first,
                [&](std::int64_t lane) HWY_ATTR { return row_of(lane) + shape.k_dim; });
}

void store_key_strip(const AttentionWork& work, const AttentionTile& tile, const KeyRows& keys,
                     const TileBuffers& buffers, const Strip& strip) {
  const AttentionShape& shape = work.shape;
  const std::int64_t dim = shape.k_dim + shape.v_dim;
  float* base =
      keys.grad_kv + ((tile.begin + strip.first) * keys.head_count + tile.kv_head - keys.head_begin) * dim;
  const std::int64_t stride = keys.head_count * dim;
  HWY_ALIGN float scale[kMaxStripLanes];
  std::fill_n(scale, kMaxStripLanes, shape.scale);
  unpack_strip(buffers.sums_k + strip.first * padded_dim(shape.k_dim), strip.width, strip.valid, shape.k_dim,
               scale, buffers.row, [&](std::int64_t lane, const float* row) HWY_ATTR {
                 store_gradient(work.mode, base + lane * stride, row, shape.k_dim);
               });
  std::fill_n(scale, kMaxStripLanes, 1.0F);
  unpack_strip(buffers.sums_v + strip.first * padded_dim(shape.v_dim), strip.width, strip.valid, shape.v_dim,
               scale, buffers.row, [&](std::int64_t lane, const float* row) HWY_ATTR {
                 store_gradient(work.mode, base + lane * stride + shape.k_dim, row, shape.v_dim);
               });
}

/// What follows the products of a key tile: its results, then the next tile's keys and first queries.
template <class T>
HWY_INLINE RowPrefetch after_key_tile(const AttentionWork& work, const AttentionTile& tile,
                                      const AttentionTile* next, const Operands& operands) {
  RowPrefetch ahead;
  const KeyRows& keys = operands.keys[static_cast<std::size_t>(tile.source)];
  const std::int64_t dim = work.shape.k_dim + work.shape.v_dim;
  const std::int64_t bytes = dim * static_cast<std::int64_t>(sizeof(float));
  const float* results = keys.grad_kv + (tile.begin * keys.head_count + tile.kv_head - keys.head_begin) * dim;
  ahead.add({reinterpret_cast<const std::byte*>(results), keys.head_count * bytes, bytes, tile.count});
  if (next == nullptr) return ahead;
  const KeyRows& next_keys = operands.keys[static_cast<std::size_t>(next->source)];
  ahead.add(keys_ahead<T>(work.shape, next_keys, next->begin, next->count, next->kv_head));
  if (next->segment_begin < next->segment_end) {
    add_pairs_ahead<T>(work, *next, operands, next->segment_begin, 0, ahead);
  }
  return ahead;
}

template <class T>
void grad_kv_rows(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                  const Operands& operands, const TileBuffers& buffers) {
  const AttentionShape& shape = work.shape;
  const KeyRows& keys = operands.keys[static_cast<std::size_t>(tile.source)];
  for_each_strip(tile.count,
                 [&](const Strip& strip) HWY_ATTR { load_key_strip<T>(shape, tile, keys, buffers, strip); });
  StartedStrips strips;
  TilePrefetch prefetch;
  prefetch.tile = after_key_tile<T>(work, tile, next, operands);
  std::int64_t blocks = block_count(work, tile, shape.group());
  for (std::int64_t s = tile.segment_begin; s < tile.segment_end; ++s) {
    const TileSegment& segment = work.segments[static_cast<std::size_t>(s)];
    const SegmentQueries queries = segment_queries(shape, tile, segment, operands);
    const Band band{segment.lo, segment.hi, segment.key_stride};
    const std::int64_t pairs = segment.count * queries.heads;
    for (std::int64_t first = 0; first < pairs; first += kBlockRows, --blocks) {
      const std::int64_t count = std::min(kBlockRows, pairs - first);
      pack_queries<T>(shape, queries, first, count, buffers);
      prefetch.block = RowPrefetch();
      add_pairs_ahead<T>(work, tile, operands, s, first + count, prefetch.block);
      prefetch.start_block(micro_tiles(tile.count, count), std::max<std::int64_t>(blocks, 1));
      for_each_strip(tile.count, [&](const Strip& strip) HWY_ATTR {
        with_vectors(strip.vectors, [&](auto vectors) HWY_ATTR {
          grad_kv_strip<vectors.value>(shape, buffers, strip, queries.heads, band, first, count,
                                       strips.started[strip.index], prefetch);
        });
      });
    }
  }
  for_each_strip(tile.count, [&](const Strip& strip) HWY_ATTR {
    if (!strips.started[strip.index]) {
      clear_sums(buffers.sums_k, strip, shape.k_dim);
      clear_sums(buffers.sums_v, strip, shape.v_dim);
    }
    store_key_strip(work, tile, keys, buffers, strip);
  });
}

void grad_q_target(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                   const Operands& operands, const TileBuffers& buffers) {
  with_storage(work.shape.element, [&](auto storage) HWY_ATTR {
    grad_q_rows<typename decltype(storage)::Type>(work, tile, next, operands, buffers);
  });
}

void grad_kv_target(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                    const Operands& operands, const TileBuffers& buffers) {
  with_storage(work.shape.element, [&](auto storage) HWY_ATTR {
    grad_kv_rows<typename decltype(storage)::Type>(work, tile, next, operands, buffers);
  });
}

}  // namespace strata::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace strata::kernels {

HWY_EXPORT(grad_q_target);
HWY_EXPORT(grad_kv_target);

void grad_q_tile(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                 const Operands& operands, const TileBuffers& buffers) {
  HWY_DYNAMIC_DISPATCH(grad_q_target)(work, tile, next, operands, buffers);
}

void grad_kv_tile(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                  const Operands& operands, const TileBuffers& buffers) {
  HWY_DYNAMIC_DISPATCH(grad_kv_target)(work, tile, next, operands, buffers);
}

}  // namespace strata::kernels
#endif
