// SPDX-License-Identifier: Apache-2.0
// Attention in plain fp32, forward and backward: one thread computes one output row and head from the
// attention blocks themselves, in the order listed. Slow and obvious: on a GPU it is the oracle of the
// tensor-core kernels, and tests on the host run the same functions against the float64 oracle.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/attention_types.hpp"
#include "kernels/functors/row_chunks.hpp"
#include "kernels/host_device.hpp"

namespace strata::kernels {

/// Largest k_dim and v_dim: a thread's sums are an array of its own.
inline constexpr std::int32_t kReferenceMaxDim = 256;

/// One launch. `queries` and `keys` are indexed by the blocks' source numbers. Everything is in the memory of
/// who runs it.
struct ReferenceAttention {
  AttentionShape shape;
  OutputMode mode = OutputMode::write;
  const AttentionBlock* blocks = nullptr;
  std::int32_t block_count = 0;
  const QueryRows* queries = nullptr;
  const KeyRows* keys = nullptr;
};

namespace reference {

struct Interval {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

STRATA_HOST_DEVICE inline std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
  return a / b - ((a % b != 0 && a < 0) ? 1 : 0);
}

/// Keys of the block that query row i sees: lo <= j * stride - i <= hi.
STRATA_HOST_DEVICE inline Interval keys_of(const AttentionBlock& block, std::int64_t i) {
  const std::int64_t begin = -floor_quotient(-(block.lo + i), block.key_stride);
  const std::int64_t end = floor_quotient(block.hi + i, block.key_stride) + 1;
  return {begin > 0 ? begin : 0, end < block.key_count ? end : block.key_count};
}

/// Query rows of the block that see key row j.
STRATA_HOST_DEVICE inline Interval queries_of(const AttentionBlock& block, std::int64_t j) {
  const std::int64_t begin = j * block.key_stride - block.hi;
  const std::int64_t end = j * block.key_stride - block.lo + 1;
  return {begin > 0 ? begin : 0, end < block.query_count ? end : block.query_count};
}

STRATA_HOST_DEVICE inline bool names(const AttentionBlock& block, std::int32_t source, std::int64_t row,
                                     std::int32_t head) {
  return block.query_source == source && row >= block.query_begin &&
         row < block.query_begin + block.query_count && head >= block.head_begin && head < block.head_end;
}

/// Element `column` of row `cell` of a dense [cells, width] array.
STRATA_HOST_DEVICE inline float element_at(const void* data, Element element, std::int64_t cell,
                                           std::int64_t width, std::int64_t column) {
  return load_element(at_byte(data, (cell * width + column) * bytes_of(element)), element);
}

STRATA_HOST_DEVICE inline std::int64_t query_cell(const QueryRows& rows, std::int64_t row,
                                                  std::int32_t head) {
  return row * rows.head_count + head - rows.head_begin;
}
STRATA_HOST_DEVICE inline std::int64_t key_cell(const KeyRows& rows, std::int64_t row, std::int32_t head) {
  return row * rows.head_count + head - rows.head_begin;
}

/// One pair of a query row and head with a key row and its head.
struct Pair {
  const AttentionShape& shape;
  const QueryRows& query;
  const KeyRows& key;
  std::int64_t query_at;  // cells
  std::int64_t key_at;

  STRATA_HOST_DEVICE float k(std::int64_t column) const {
    return element_at(key.kv, shape.element, key_at, shape.k_dim + shape.v_dim, column);
  }
  STRATA_HOST_DEVICE float v(std::int64_t column) const { return k(shape.k_dim + column); }
  STRATA_HOST_DEVICE float q(std::int64_t column) const {
    return element_at(query.q, shape.element, query_at, shape.k_dim, column);
  }
  STRATA_HOST_DEVICE float grad_out(std::int64_t column) const {
    return element_at(query.grad_out, shape.element, query_at, shape.v_dim, column);
  }
  STRATA_HOST_DEVICE float score() const {
    float sum = 0.0F;
    for (std::int32_t c = 0; c < shape.k_dim; ++c) sum += q(c) * k(c);
    return sum * shape.scale;
  }
  /// P and dS of the backward pass; both 0 for a row without keys.
  STRATA_HOST_DEVICE float probability() const {
    const float lse = query.lse[query_at];
    return lse == -INFINITY ? 0.0F : expf(score() - lse);
  }
  STRATA_HOST_DEVICE float score_gradient(float probability) const {
    float sum = 0.0F;
    for (std::int32_t c = 0; c < shape.v_dim; ++c) sum += grad_out(c) * v(c);
    return probability == 0.0F ? 0.0F : probability * (sum - query.delta[query_at]);
  }
};

STRATA_HOST_DEVICE inline void put(float* target, OutputMode mode, float value) {
  *target = mode == OutputMode::write ? value : *target + value;
}

/// Ends forward of one row: `sum` is the weighted sum of values with weights relative to `peak`.
STRATA_HOST_DEVICE inline void finish_forward(const ReferenceAttention& work, const QueryRows& query,
                                              std::int64_t cell, const float* sum, float peak, float total) {
  const std::int32_t dim = work.shape.v_dim;
  float* const lse = query.lse + cell;
  if (work.mode == OutputMode::write) {
    const std::int64_t bytes = bytes_of(work.shape.element);
    for (std::int32_t c = 0; c < dim; ++c) {
      store_element(at_byte(query.out, (cell * dim + c) * bytes), work.shape.element,
                    total == 0.0F ? 0.0F : sum[c] / total);
    }
    *lse = total == 0.0F ? -INFINITY : peak + logf(total);
    return;
  }
  if (total == 0.0F) return;
  float* const out = static_cast<float*>(query.out) + cell * dim;
  const float before = *lse;
  const float top = before > peak ? before : peak;
  const float old_weight = before == -INFINITY ? 0.0F : expf(before - top);
  const float factor = expf(peak - top);
  const float both = old_weight + total * factor;
  for (std::int32_t c = 0; c < dim; ++c) {
    const float old = old_weight == 0.0F ? 0.0F : old_weight * out[c];
    out[c] = (old + sum[c] * factor) / both;
  }
  *lse = top + logf(both);
}

}  // namespace reference

/// out and lse of row `row` and (absolute) query head `head` of query source `source`.
STRATA_HOST_DEVICE inline void reference_forward_row(const ReferenceAttention& work, std::int32_t source,
                                                     std::int64_t row, std::int32_t head) {
  const AttentionShape& shape = work.shape;
  const QueryRows& query = work.queries[source];
  const std::int64_t cell = reference::query_cell(query, row, head);
  const std::int32_t kv_head = head / (shape.query_heads / shape.kv_heads);
  float sum[kReferenceMaxDim] = {};
  float peak = -INFINITY;
  float total = 0.0F;
  bool named = false;
  for (std::int32_t b = 0; b < work.block_count; ++b) {
    const AttentionBlock& block = work.blocks[b];
    if (!reference::names(block, source, row, head)) continue;
    named = true;
    const KeyRows& key = work.keys[block.key_source];
    const reference::Interval seen = reference::keys_of(block, row - block.query_begin);
    for (std::int64_t j = seen.begin; j < seen.end; ++j) {
      const reference::Pair pair{shape, query, key, cell,
                                 reference::key_cell(key, block.key_begin + j, kv_head)};
      const float score = pair.score();
      if (!(score <= peak)) {  // also a NaN becomes the peak, and so reaches the result
        const float factor = total == 0.0F ? 0.0F : expf(peak - score);
        for (std::int32_t c = 0; c < shape.v_dim; ++c) sum[c] *= factor;
        total *= factor;
        peak = score;
      }
      const float weight = expf(score - peak);
      for (std::int32_t c = 0; c < shape.v_dim; ++c) sum[c] += weight * pair.v(c);
      total += weight;
    }
  }
  if (named) reference::finish_forward(work, query, cell, sum, peak, total);
}

/// grad_q of one row and head. The final lse and delta are read.
STRATA_HOST_DEVICE inline void reference_grad_q_row(const ReferenceAttention& work, std::int32_t source,
                                                    std::int64_t row, std::int32_t head) {
  const AttentionShape& shape = work.shape;
  const QueryRows& query = work.queries[source];
  const std::int64_t cell = reference::query_cell(query, row, head);
  const std::int32_t kv_head = head / (shape.query_heads / shape.kv_heads);
  float sum[kReferenceMaxDim] = {};
  bool named = false;
  for (std::int32_t b = 0; b < work.block_count; ++b) {
    const AttentionBlock& block = work.blocks[b];
    if (!reference::names(block, source, row, head)) continue;
    named = true;
    const KeyRows& key = work.keys[block.key_source];
    const reference::Interval seen = reference::keys_of(block, row - block.query_begin);
    for (std::int64_t j = seen.begin; j < seen.end; ++j) {
      const reference::Pair pair{shape, query, key, cell,
                                 reference::key_cell(key, block.key_begin + j, kv_head)};
      const float slope = pair.score_gradient(pair.probability());
      for (std::int32_t c = 0; c < shape.k_dim; ++c) sum[c] += slope * pair.k(c);
    }
  }
  if (!named) return;
  for (std::int32_t c = 0; c < shape.k_dim; ++c) {
    reference::put(query.grad_q + cell * shape.k_dim + c, work.mode, sum[c] * shape.scale);
  }
}

/// grad_kv of row `row` and (absolute) key/value head `kv_head` of key source `source`: for each block the
/// query heads of the group in ascending order.
STRATA_HOST_DEVICE inline void reference_grad_kv_row(const ReferenceAttention& work, std::int32_t source,
                                                     std::int64_t row, std::int32_t kv_head) {
  const AttentionShape& shape = work.shape;
  const KeyRows& key = work.keys[source];
  const std::int64_t cell = reference::key_cell(key, row, kv_head);
  const std::int32_t group = shape.query_heads / shape.kv_heads;
  float sum_k[kReferenceMaxDim] = {};
  float sum_v[kReferenceMaxDim] = {};
  bool named = false;
  for (std::int32_t b = 0; b < work.block_count; ++b) {
    const AttentionBlock& block = work.blocks[b];
    if (block.key_source != source || row < block.key_begin || row >= block.key_begin + block.key_count)
      continue;
    const QueryRows& query = work.queries[block.query_source];
    const reference::Interval seen = reference::queries_of(block, row - block.key_begin);
    for (std::int32_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      if (head < block.head_begin || head >= block.head_end) continue;
      named = true;
      for (std::int64_t i = seen.begin; i < seen.end; ++i) {
        const reference::Pair pair{shape, query, key,
                                   reference::query_cell(query, block.query_begin + i, head), cell};
        const float probability = pair.probability();
        const float slope = pair.score_gradient(probability);
        for (std::int32_t c = 0; c < shape.k_dim; ++c) sum_k[c] += slope * pair.q(c);
        for (std::int32_t c = 0; c < shape.v_dim; ++c) sum_v[c] += probability * pair.grad_out(c);
      }
    }
  }
  if (!named) return;
  float* const target = key.grad_kv + cell * (shape.k_dim + shape.v_dim);
  for (std::int32_t c = 0; c < shape.k_dim; ++c)
    reference::put(target + c, work.mode, sum_k[c] * shape.scale);
  for (std::int32_t c = 0; c < shape.v_dim; ++c)
    reference::put(target + shape.k_dim + c, work.mode, sum_v[c]);
}

}  // namespace strata::kernels
