// SPDX-License-Identifier: Apache-2.0
// Forward attention of one query tile: online softmax (Milakov and Gimelshein 2018; the tiling of
// FlashAttention, Dao et al. 2022) in base 2, over every segment of keys that the tile sees.
#include <cmath>
#include <limits>

#include "kernels/attention_tiles.hpp"
#include "kernels/targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_forward.cpp"
#include <hwy/foreach_target.h>

#include "kernels/tile_context.inl"

HWY_BEFORE_NAMESPACE();
namespace strata::kernels::HWY_NAMESPACE {

/// Below every score, and finite: a lane that has seen no key yet needs no special case.
inline constexpr float kNoMaximum = -1.0e30F;

/// Turns one vector column of scores into exp2(score - maximum), updates the lane statistics and leaves in
/// `decay` the factor for what was accumulated under the old maximum.
HWY_INLINE void softmax_column(float* scores, std::int64_t width, std::int64_t rows, float* maximum,
                               float* total, float* decay) {
  const Floats d;
  const auto old_maximum = hn::Load(d, maximum);
  auto m0 = old_maximum;
  auto m1 = old_maximum;
  std::int64_t row = 0;
  for (; row + 2 <= rows; row += 2) {
    m0 = hn::Max(m0, hn::Load(d, scores + row * width));
    m1 = hn::Max(m1, hn::Load(d, scores + (row + 1) * width));
  }
  if (row < rows) m0 = hn::Max(m0, hn::Load(d, scores + row * width));
  const auto peak = hn::Max(m0, m1);
  auto s0 = hn::Zero(d);
  auto s1 = hn::Zero(d);
  for (row = 0; row + 2 <= rows; row += 2) {
    const auto p0 = exp2_below(hn::Sub(hn::Load(d, scores + row * width), peak));
    const auto p1 = exp2_below(hn::Sub(hn::Load(d, scores + (row + 1) * width), peak));
    hn::Store(p0, d, scores + row * width);
    hn::Store(p1, d, scores + (row + 1) * width);
    s0 = hn::Add(s0, p0);
    s1 = hn::Add(s1, p1);
  }
  if (row < rows) {
    const auto p0 = exp2_below(hn::Sub(hn::Load(d, scores + row * width), peak));
    hn::Store(p0, d, scores + row * width);
    s0 = hn::Add(s0, p0);
  }
  const auto factor = exp2_below(hn::Sub(old_maximum, peak));
  hn::Store(factor, d, decay);
  hn::Store(peak, d, maximum);
  hn::Store(hn::MulAdd(hn::Load(d, total), factor, hn::Add(s0, s1)), d, total);
}

/// One strip of queries against the keys of the block that it sees.
template <int kVectors>
void forward_strip(const AttentionShape& shape, const TileBuffers& buffers, const Strip& strip,
                   std::int64_t heads, const Band& band, std::int64_t keys, bool& started,
                   TilePrefetch& prefetch) {
  const KeyWindow window = key_window(band, strip, heads, keys);
  if (window.any.empty()) return;
  const std::int64_t count = window.any.end - window.any.begin;
  const std::int64_t skipped = window.any.begin * kRowStride;
  row_products<kVectors>(buffers.natural_k + skipped, buffers.lanes_k + strip.first * padded_dim(shape.k_dim),
                         shape.k_dim, count, buffers.scores, &prefetch);
  mask_keys<kVectors>(window, band, strip, heads, buffers.scores);
  HWY_ALIGN float decay[kMaxStripLanes];
  for (int vector = 0; vector < kVectors; ++vector) {
    const std::int64_t lane = vector * vector_lanes();
    softmax_column(buffers.scores + lane, strip.width, count, buffers.maximum + strip.first + lane,
                   buffers.total + strip.first + lane, decay + lane);
  }
  float* sums = buffers.sums_v + strip.first * padded_dim(shape.v_dim);
  if (started) {
    column_products<Finish::scale_add, kVectors>(buffers.natural_v + skipped, buffers.scores, count,
                                                 shape.v_dim, sums, decay);
  } else {
    column_products<Finish::store, kVectors>(buffers.natural_v + skipped, buffers.scores, count, shape.v_dim,
                                             sums, nullptr);
    started = true;
  }
}

/// Natural logarithm of the sum of exponentials from base-2 statistics.
HWY_INLINE float natural_lse(float maximum, float total) {
  constexpr double kLn2 = 0.69314718055994530942;
  return static_cast<float>((static_cast<double>(maximum) + std::log2(static_cast<double>(total))) * kLn2);
}

/// Merges a finished row into what is there: out' = (e^old out + e^lse row) / (e^old + e^lse).
HWY_INLINE void merge_row(float* out, float* lse, const float* row, float row_lse, std::int64_t dim) {
  const double old_lse = static_cast<double>(*lse);
  const double new_lse = static_cast<double>(row_lse);
  if (old_lse == -std::numeric_limits<double>::infinity()) {
    convert_row(out, row, dim);
    *lse = row_lse;
    return;
  }
  const double peak = std::max(old_lse, new_lse);
  const double merged = peak + std::log1p(std::exp(-std::abs(old_lse - new_lse)));
  blend_row(out, static_cast<float>(std::exp(old_lse - merged)), row,
            static_cast<float>(std::exp(new_lse - merged)), dim);
  *lse = static_cast<float>(merged);
}

template <class T>
void store_strip(const AttentionWork& work, const QueryLanes& queries, const TileBuffers& buffers,
                 const Strip& strip) {
  const std::int64_t dim = work.shape.v_dim;
  HWY_ALIGN float inverse[kMaxStripLanes];
  for (std::int64_t lane = 0; lane < strip.width; ++lane) {
    const float total = buffers.total[strip.first + lane];
    inverse[lane] = total == 0.0F ? 0.0F : 1.0F / total;
  }
  const auto sink = [&](std::int64_t lane, const float* row) HWY_ATTR {
    const std::int64_t place = queries.place(strip.first + lane);
    const float total = buffers.total[strip.first + lane];
    const bool empty = total == 0.0F;
    const float lse = empty ? -std::numeric_limits<float>::infinity()
                            : natural_lse(buffers.maximum[strip.first + lane], total);
    if (work.mode == OutputMode::write) {
      convert_row(static_cast<T*>(queries.rows.out) + place * dim, row, dim);
      queries.rows.lse[place] = lse;
    } else if (!empty) {
      merge_row(static_cast<float*>(queries.rows.out) + place * dim, queries.rows.lse + place, row, lse, dim);
    }
  };
  unpack_strip(buffers.sums_v + strip.first * padded_dim(dim), strip.width, strip.valid, dim, inverse,
               buffers.row, sink);
}

template <class T>
void load_strip(const AttentionShape& shape, const QueryLanes& queries, const TileBuffers& buffers,
                const Strip& strip) {
  pack_strip<T>(strip.width, strip.valid, shape.k_dim, shape.scale * kLog2E,
                buffers.lanes_k + strip.first * padded_dim(shape.k_dim), [&](std::int64_t lane) HWY_ATTR {
                  return static_cast<const T*>(queries.rows.q) +
                         queries.place(strip.first + lane) * shape.k_dim;
                });
  std::fill_n(buffers.maximum + strip.first, strip.width, kNoMaximum);
  std::fill_n(buffers.total + strip.first, strip.width, 0.0F);
}

/// What follows the products of a tile: its results, then the next tile's queries and first keys.
template <class T>
HWY_INLINE RowPrefetch after_tile(const AttentionWork& work, const AttentionTile& tile,
                                  const AttentionTile* next, const Operands& operands) {
  RowPrefetch ahead;
  const QueryRows& rows = operands.queries[static_cast<std::size_t>(tile.source)];
  ahead.add(work.mode == OutputMode::write ? query_tile_ahead<T>(tile, rows, rows.out, work.shape.v_dim)
                                           : query_tile_ahead<float>(tile, rows, rows.out, work.shape.v_dim));
  if (next == nullptr) return ahead;
  const QueryRows& next_rows = operands.queries[static_cast<std::size_t>(next->source)];
  ahead.add(query_tile_ahead<T>(*next, next_rows, next_rows.q, work.shape.k_dim));
  ahead.add(key_block_ahead<T>(work, *next, operands, next->segment_begin, 0));
  return ahead;
}

template <class T>
void forward_rows(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                  const Operands& operands, const TileBuffers& buffers) {
  const AttentionShape& shape = work.shape;
  const QueryLanes queries{tile, operands.queries[static_cast<std::size_t>(tile.source)]};
  for_each_strip(queries.lanes(),
                 [&](const Strip& strip) HWY_ATTR { load_strip<T>(shape, queries, buffers, strip); });
  StartedStrips strips;
  TilePrefetch prefetch;
  prefetch.tile = after_tile<T>(work, tile, next, operands);
  for_each_key_block<T>(work, tile, operands, buffers, prefetch,
                        [&](const Band& band, std::int64_t count) HWY_ATTR {
                          for_each_strip(queries.lanes(), [&](const Strip& strip) HWY_ATTR {
                            with_vectors(strip.vectors, [&](auto vectors) HWY_ATTR {
                              forward_strip<vectors.value>(shape, buffers, strip, queries.heads(), band,
                                                           count, strips.started[strip.index], prefetch);
                            });
                          });
                        });
  for_each_strip(queries.lanes(), [&](const Strip& strip) HWY_ATTR {
    if (!strips.started[strip.index]) clear_sums(buffers.sums_v, strip, shape.v_dim);
    store_strip<T>(work, queries, buffers, strip);
  });
}

void forward_target(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                    const Operands& operands, const TileBuffers& buffers) {
  with_storage(work.shape.element, [&](auto storage) HWY_ATTR {
    forward_rows<typename decltype(storage)::Type>(work, tile, next, operands, buffers);
  });
}

}  // namespace strata::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace strata::kernels {

HWY_EXPORT(forward_target);

void forward_tile(const AttentionWork& work, const AttentionTile& tile, const AttentionTile* next,
                  const Operands& operands, const TileBuffers& buffers) {
  HWY_DYNAMIC_DISPATCH(forward_target)(work, tile, next, operands, buffers);
}

}  // namespace strata::kernels
#endif
