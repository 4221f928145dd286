// SPDX-License-Identifier: Apache-2.0
// The float64 oracle: dense attention of one document, forward and backward, written to be obviously right.
// It knows nothing of tiles, blocks or ranks; masks are a half-open interval of keys per query row, or an
// arbitrary predicate.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace strata::kernels {

/// One document. Arrays are token-major and dense, values already rounded to the storage type under test:
///   q [queries, query_heads, k_dim], k [keys, kv_heads, k_dim], v [keys, kv_heads, v_dim],
///   grad_out [queries, query_heads, v_dim] (may be empty for forward).
struct ReferenceInput {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int32_t query_heads = 1;
  std::int32_t kv_heads = 1;
  std::int32_t k_dim = 1;
  std::int32_t v_dim = 1;
  double scale = 1.0;
  std::span<const double> q;
  std::span<const double> k;
  std::span<const double> v;
  std::span<const double> grad_out;
};

/// Which keys each query row sees: `begin[i] <= j < end[i]` and, when `allowed` is set, allowed(i, j) too.
struct ReferenceMask {
  std::vector<std::int64_t> begin;
  std::vector<std::int64_t> end;
  std::function<bool(std::int64_t, std::int64_t)> allowed;
};

/// Query i of `queries` sees keys [0, i + keys - queries]; the usual causal mask when both counts are equal.
ReferenceMask causal_mask(std::int64_t queries, std::int64_t keys);
/// lo <= j - i <= hi.
ReferenceMask band_mask(std::int64_t queries, std::int64_t keys, std::int64_t lo, std::int64_t hi);
ReferenceMask full_mask(std::int64_t queries, std::int64_t keys);
/// Exactly the pairs for which the predicate holds.
ReferenceMask predicate_mask(std::int64_t queries, std::int64_t keys,
                             std::function<bool(std::int64_t, std::int64_t)> allowed);

/// out [queries, query_heads, v_dim] and lse [queries, query_heads] (natural; -inf and out = 0 without any
/// key).
struct ReferenceOutput {
  std::vector<double> out;
  std::vector<double> lse;
};

/// Gradients in the shapes of q, k and v, and the same sums with the absolute value of every term: the scale
/// against which an error in the gradient is judged, since cancellation may make the gradient itself
/// arbitrarily small.
struct ReferenceGradients {
  std::vector<double> grad_q, grad_k, grad_v;
  std::vector<double> scale_q, scale_k, scale_v;
};

ReferenceOutput reference_forward(const ReferenceInput& input, const ReferenceMask& mask);
ReferenceGradients reference_backward(const ReferenceInput& input, const ReferenceMask& mask,
                                      const ReferenceOutput& output);

/// Forward of chosen query rows only: result rows follow the order of `rows`.
ReferenceOutput reference_forward_rows(const ReferenceInput& input, const ReferenceMask& mask,
                                       std::span<const std::int64_t> rows);

/// grad_q and scale_q of chosen query rows (grad_k, grad_v stay empty). `output` is reference_forward_rows of
/// the same rows.
ReferenceGradients reference_grad_query_rows(const ReferenceInput& input, const ReferenceMask& mask,
                                             std::span<const std::int64_t> rows,
                                             const ReferenceOutput& output);

/// grad_k, grad_v and their scales of chosen key rows (grad_q stays empty). Needs the final lse and
/// delta = sum(grad_out * out) of every query row, [queries, query_heads] each, from whatever source.
ReferenceGradients reference_grad_key_rows(const ReferenceInput& input, const ReferenceMask& mask,
                                           std::span<const std::int64_t> rows, std::span<const double> lse,
                                           std::span<const double> delta);

/// norm(x - reference) / max(norm(reference), scale_norm), the project's error figure for one tile. NaN stays
/// NaN; equal tiles have error 0 even where every norm is 0.
double tile_error(std::span<const double> x, std::span<const double> reference, double scale_norm);

}  // namespace strata::kernels
