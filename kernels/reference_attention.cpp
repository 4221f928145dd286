// SPDX-License-Identifier: Apache-2.0
// Plain loops over doubles. Every gradient comes with its absolute sum; see reference_attention.hpp.
#include "kernels/reference_attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace strata::kernels {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

/// Row (row, head) of a [rows, heads, dim] array.
const double* row_of(std::span<const double> values, std::int64_t row, std::int64_t heads, std::int64_t head,
                     std::int64_t dim) {
  return values.data() + (row * heads + head) * dim;
}

struct DotProducts {
  double value = 0;
  double absolute = 0;
};

/// Four running sums let the compiler use vectors without being allowed to reorder a sum.
DotProducts dot(const double* a, const double* b, std::int64_t count) {
  double sum[4] = {0, 0, 0, 0};
  double absolute[4] = {0, 0, 0, 0};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::int64_t l = 0; l < 4; ++l) {
      const double product = a[i + l] * b[i + l];
      sum[l] += product;
      absolute[l] += std::abs(product);
    }
  }
  for (; i < count; ++i) {
    sum[0] += a[i] * b[i];
    absolute[0] += std::abs(a[i] * b[i]);
  }
  return {sum[0] + sum[1] + sum[2] + sum[3], absolute[0] + absolute[1] + absolute[2] + absolute[3]};
}

/// target += weight * source.
void accumulate(double* target, double weight, const double* source, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) target[i] += weight * source[i];
}
void accumulate_absolute(double* target, double weight, const double* source, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) target[i] += weight * std::abs(source[i]);
}

bool allowed(const ReferenceMask& mask, std::int64_t i, std::int64_t j) {
  return j >= mask.begin[index(i)] && j < mask.end[index(i)] && (!mask.allowed || mask.allowed(i, j));
}

/// Calls visit(j) for every key that query i sees.
template <class Visit>
void for_each_key(const ReferenceMask& mask, std::int64_t i, const Visit& visit) {
  for (std::int64_t j = mask.begin[index(i)]; j < mask.end[index(i)]; ++j) {
    if (!mask.allowed || mask.allowed(i, j)) visit(j);
  }
}

/// One query row and head as the oracle sees it.
struct QueryView {
  const ReferenceInput& input;
  std::int64_t i;
  std::int64_t head;

  [[nodiscard]] std::int64_t kv_head() const { return head / (input.query_heads / input.kv_heads); }
  [[nodiscard]] const double* q() const { return row_of(input.q, i, input.query_heads, head, input.k_dim); }
  [[nodiscard]] const double* grad_out() const {
    return row_of(input.grad_out, i, input.query_heads, head, input.v_dim);
  }
  [[nodiscard]] const double* k(std::int64_t j) const {
    return row_of(input.k, j, input.kv_heads, kv_head(), input.k_dim);
  }
  [[nodiscard]] const double* v(std::int64_t j) const {
    return row_of(input.v, j, input.kv_heads, kv_head(), input.v_dim);
  }
  [[nodiscard]] double score(std::int64_t j) const { return input.scale * dot(q(), k(j), input.k_dim).value; }
};

/// Softmax of one row: out[v_dim] and the natural lse. `scores` is working memory of input.keys values.
double forward_row(const QueryView& query, const ReferenceMask& mask, std::vector<double>& scores,
                   double* out) {
  double peak = kMinusInfinity;
  for_each_key(mask, query.i, [&](std::int64_t j) {
    scores[index(j)] = query.score(j);
    peak = std::max(peak, scores[index(j)]);
  });
  std::fill_n(out, query.input.v_dim, 0.0);
  if (peak == kMinusInfinity) return kMinusInfinity;
  double total = 0;
  for_each_key(mask, query.i, [&](std::int64_t j) {
    const double weight = std::exp(scores[index(j)] - peak);
    total += weight;
    accumulate(out, weight, query.v(j), query.input.v_dim);
  });
  for (std::int32_t c = 0; c < query.input.v_dim; ++c) out[c] /= total;
  return peak + std::log(total);
}

/// P, dP and their derived terms of one pair.
struct PairTerms {
  double probability;
  double slope;           // P * (dP - delta)
  double absolute_slope;  // P * (|dP| + |delta|) with |.| inside both sums
};

PairTerms pair_terms(const QueryView& query, std::int64_t j, double lse, double delta,
                     double absolute_delta) {
  const double probability = std::exp(query.score(j) - lse);
  const DotProducts dp = dot(query.grad_out(), query.v(j), query.input.v_dim);
  return {probability, probability * (dp.value - delta), probability * (dp.absolute + absolute_delta)};
}

/// The sum over keys of P * sum |dO V|: delta with absolute values in both of its sums.
double absolute_delta_of(const QueryView& query, const ReferenceMask& mask, double lse) {
  double sum = 0;
  for_each_key(mask, query.i, [&](std::int64_t j) {
    sum += std::exp(query.score(j) - lse) * dot(query.grad_out(), query.v(j), query.input.v_dim).absolute;
  });
  return sum;
}

std::vector<std::int64_t> every_row(std::int64_t rows) {
  std::vector<std::int64_t> all(index(rows));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return all;
}

/// grad_q of one row into target and scale; calls visit(j, terms) for the caller's own sums.
template <class Visit>
void backward_row(const QueryView& query, const ReferenceMask& mask, double lse, const double* out,
                  double* grad_q, double* scale_q, const Visit& visit) {
  const ReferenceInput& input = query.input;
  const double delta = dot(query.grad_out(), out, input.v_dim).value;
  const double absolute_delta = absolute_delta_of(query, mask, lse);
  for_each_key(mask, query.i, [&](std::int64_t j) {
    const PairTerms terms = pair_terms(query, j, lse, delta, absolute_delta);
    accumulate(grad_q, terms.slope * input.scale, query.k(j), input.k_dim);
    accumulate_absolute(scale_q, terms.absolute_slope * std::abs(input.scale), query.k(j), input.k_dim);
    visit(j, terms);
  });
}

}  // namespace

ReferenceMask band_mask(std::int64_t queries, std::int64_t keys, std::int64_t lo, std::int64_t hi) {
  ReferenceMask mask;
  for (std::int64_t i = 0; i < queries; ++i) {
    mask.begin.push_back(std::clamp<std::int64_t>(i + lo, 0, keys));
    mask.end.push_back(std::clamp<std::int64_t>(i + hi + 1, 0, keys));
  }
  return mask;
}

ReferenceMask causal_mask(std::int64_t queries, std::int64_t keys) {
  return band_mask(queries, keys, -queries, keys - queries);
}

ReferenceMask full_mask(std::int64_t queries, std::int64_t keys) {
  return band_mask(queries, keys, -queries, keys);
}

ReferenceMask predicate_mask(std::int64_t queries, std::int64_t keys,
                             std::function<bool(std::int64_t, std::int64_t)> allowed) {
  ReferenceMask mask = full_mask(queries, keys);
  mask.allowed = std::move(allowed);
  return mask;
}

ReferenceOutput reference_forward_rows(const ReferenceInput& input, const ReferenceMask& mask,
                                       std::span<const std::int64_t> rows) {
  ReferenceOutput output;
  output.out.resize(rows.size() * index(input.query_heads) * index(input.v_dim));
  output.lse.resize(rows.size() * index(input.query_heads));
  std::vector<double> scores(index(input.keys));
  std::size_t place = 0;
  for (const std::int64_t i : rows) {
    for (std::int64_t head = 0; head < input.query_heads; ++head, ++place) {
      output.lse[place] =
          forward_row({input, i, head}, mask, scores, output.out.data() + place * index(input.v_dim));
    }
  }
  return output;
}

ReferenceOutput reference_forward(const ReferenceInput& input, const ReferenceMask& mask) {
  return reference_forward_rows(input, mask, every_row(input.queries));
}

ReferenceGradients reference_backward(const ReferenceInput& input, const ReferenceMask& mask,
                                      const ReferenceOutput& output) {
  ReferenceGradients result;
  result.grad_q.resize(input.q.size());
  result.scale_q.resize(input.q.size());
  result.grad_k.resize(input.k.size());
  result.scale_k.resize(input.k.size());
  result.grad_v.resize(input.v.size());
  result.scale_v.resize(input.v.size());
  for (std::int64_t i = 0; i < input.queries; ++i) {
    for (std::int64_t head = 0; head < input.query_heads; ++head) {
      const QueryView query{input, i, head};
      const std::int64_t place = i * input.query_heads + head;
      const double* out = output.out.data() + place * input.v_dim;
      double* grad_q = result.grad_q.data() + place * input.k_dim;
      double* scale_q = result.scale_q.data() + place * input.k_dim;
      const auto visit = [&](std::int64_t j, const PairTerms& terms) {
        const std::int64_t key = j * input.kv_heads + query.kv_head();
        const double scale = std::abs(input.scale);
        accumulate(result.grad_k.data() + key * input.k_dim, terms.slope * input.scale, query.q(),
                   input.k_dim);
        accumulate_absolute(result.scale_k.data() + key * input.k_dim, terms.absolute_slope * scale,
                            query.q(), input.k_dim);
        accumulate(result.grad_v.data() + key * input.v_dim, terms.probability, query.grad_out(),
                   input.v_dim);
        accumulate_absolute(result.scale_v.data() + key * input.v_dim, terms.probability, query.grad_out(),
                            input.v_dim);
      };
      backward_row(query, mask, output.lse[index(place)], out, grad_q, scale_q, visit);
    }
  }
  return result;
}

ReferenceGradients reference_grad_query_rows(const ReferenceInput& input, const ReferenceMask& mask,
                                             std::span<const std::int64_t> rows,
                                             const ReferenceOutput& output) {
  ReferenceGradients result;
  result.grad_q.resize(rows.size() * index(input.query_heads) * index(input.k_dim));
  result.scale_q.resize(result.grad_q.size());
  std::int64_t place = 0;
  for (const std::int64_t i : rows) {
    for (std::int64_t head = 0; head < input.query_heads; ++head, ++place) {
      backward_row({input, i, head}, mask, output.lse[index(place)], output.out.data() + place * input.v_dim,
                   result.grad_q.data() + place * input.k_dim, result.scale_q.data() + place * input.k_dim,
                   [](std::int64_t, const PairTerms&) {});
    }
  }
  return result;
}

ReferenceGradients reference_grad_key_rows(const ReferenceInput& input, const ReferenceMask& mask,
                                           std::span<const std::int64_t> rows, std::span<const double> lse,
                                           std::span<const double> delta) {
  ReferenceGradients result;
  const std::size_t heads = rows.size() * index(input.kv_heads);
  result.grad_k.resize(heads * index(input.k_dim));
  result.scale_k.resize(heads * index(input.k_dim));
  result.grad_v.resize(heads * index(input.v_dim));
  result.scale_v.resize(heads * index(input.v_dim));
  for (std::int64_t i = 0; i < input.queries; ++i) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (!allowed(mask, i, rows[r])) continue;
      for (std::int64_t head = 0; head < input.query_heads; ++head) {
        const QueryView query{input, i, head};
        const std::size_t place = index(i * input.query_heads + head);
        const PairTerms terms = pair_terms(query, rows[r], lse[place], delta[place], std::abs(delta[place]));
        const std::int64_t key = static_cast<std::int64_t>(r) * input.kv_heads + query.kv_head();
        accumulate(result.grad_k.data() + key * input.k_dim, terms.slope * input.scale, query.q(),
                   input.k_dim);
        accumulate_absolute(result.scale_k.data() + key * input.k_dim,
                            terms.absolute_slope * std::abs(input.scale), query.q(), input.k_dim);
        accumulate(result.grad_v.data() + key * input.v_dim, terms.probability, query.grad_out(),
                   input.v_dim);
        accumulate_absolute(result.scale_v.data() + key * input.v_dim, terms.probability, query.grad_out(),
                            input.v_dim);
      }
    }
  }
  return result;
}

double tile_error(std::span<const double> x, std::span<const double> reference, double scale_norm) {
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    // Both at minus infinity agree: the lse of a row that sees no key.
    const bool same = x[i] == reference[i];
    const double d = same ? 0.0 : x[i] - reference[i];
    difference += d * d;
    norm += std::isfinite(reference[i]) ? reference[i] * reference[i] : 0.0;
  }
  if (difference == 0) return 0;  // also where nothing contributes and every norm is zero
  return std::sqrt(difference) / std::max(std::sqrt(norm), scale_norm);
}

}  // namespace strata::kernels
